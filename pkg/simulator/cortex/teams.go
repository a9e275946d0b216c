package cortex

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
)

// listTeams leaves out teams without members unless it is told not to, as Cortex does. With teamTag it answers with that
// team, not with a list.
func (s *Server) listTeams(r *http.Request) (int, any) {
	query := r.URL.Query()
	if tag := query.Get("teamTag"); tag != "" {
		t := s.teams.find(tag)
		if t == nil {
			return notFound(tag)
		}
		return http.StatusOK, t.show()
	}
	shown := []any{}
	for _, t := range s.teams.order {
		if len(t.Members) > 0 || query.Get("includeTeamsWithoutMembers") == "true" {
			shown = append(shown, t.show())
		}
	}
	return http.StatusOK, object{"teams": shown}
}

func (s *Server) getTeam(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	return http.StatusOK, t.show()
}

func (s *Server) relationships(*http.Request) (int, any) {
	edges := []any{}
	for _, t := range s.teams.order {
		if t.Parent != "" {
			edges = append(edges, object{"parentTeamTag": t.Parent, "childTeamTag": t.Tag})
		}
	}
	return http.StatusOK, object{"edges": edges}
}

// memberBody is a member as it is written; role tags, not role objects.
type memberBody struct {
	Email    string   `json:"email"`
	Name     string   `json:"name"`
	RoleTags []string `json:"roleTags"`
}

func readMembers(bodies []memberBody) ([]member, string) {
	members := []member{}
	for _, m := range bodies {
		if !strings.Contains(m.Email, "@") {
			return nil, "members must have an email"
		}
		members = append(members, member{ID: m.Email, Email: m.Email, Name: m.Name, Roles: m.RoleTags})
	}
	return members, ""
}

func (s *Server) createTeam(r *http.Request) (int, any) {
	var body struct {
		TeamTag  string `json:"teamTag"`
		Metadata struct {
			Name        string `json:"name"`
			Description string `json:"description"`
		} `json:"metadata"`
		CortexTeam struct {
			Members []memberBody `json:"members"`
		} `json:"cortexTeam"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return badRequest("Body is not JSON")
	}
	members, problem := readMembers(body.CortexTeam.Members)
	switch {
	case body.TeamTag == "" || body.Metadata.Name == "":
		return badRequest("teamTag and metadata.name are required")
	case s.teams.find(body.TeamTag) != nil:
		return failure(http.StatusConflict, "CONFLICT", "An entity with this tag exists")
	case problem != "":
		return badRequest(problem)
	}
	sum := sha256.Sum256([]byte(body.TeamTag))
	t := &team{
		ID: "en2" + hex.EncodeToString(sum[:])[:15], Tag: body.TeamTag, Name: body.Metadata.Name, Description: body.Metadata.Description,
		Custom: map[string]any{}, Members: members, Updated: s.now(),
	}
	s.teams.add(t)
	return http.StatusOK, t.show()
}

func (s *Server) deleteTeam(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	s.teams.remove(t)
	return http.StatusNoContent, nil
}

// putMembers replaces all members; only Cortex-managed teams have members that can be written.
func (s *Server) putMembers(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	if t.IDP != nil {
		return badRequest("Members of a team behind an identity provider cannot be changed")
	}
	var body struct {
		Members []memberBody `json:"members"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return badRequest("Body is not JSON")
	}
	members, problem := readMembers(body.Members)
	if problem != "" {
		return badRequest(problem)
	}
	t.Members, t.Updated = members, s.now()
	return http.StatusOK, t.show()
}

func (s *Server) archive(r *http.Request) (int, any)   { return s.setArchived(r, true) }
func (s *Server) unarchive(r *http.Request) (int, any) { return s.setArchived(r, false) }

func (s *Server) setArchived(r *http.Request, archived bool) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	t.Archived, t.Updated = archived, s.now()
	return http.StatusOK, t.show()
}
