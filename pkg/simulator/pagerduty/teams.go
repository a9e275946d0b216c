package pagerduty

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
)

const (
	maxTeamName        = 100
	maxTeamDescription = 1024
)

func (s *Server) listAbilities(*http.Request) (int, any) {
	return http.StatusOK, object{"abilities": []string{"advanced_permissions", "read_only_users", "sso", "teams"}}
}

func (s *Server) testAbility(r *http.Request) (int, any) {
	if slices.Contains([]string{"advanced_permissions", "read_only_users", "sso", "teams"}, r.PathValue("ability")) {
		return http.StatusNoContent, nil
	}
	return notFound()
}

func (s *Server) showTeam(t *team) object {
	v := t.seen(s.now(), s.stale())
	var description any
	if v.description != "" {
		description = v.description
	}
	return object{
		"id": t.id, "type": "team", "name": v.name, "summary": v.name, "description": description,
		"default_role": t.defaultRole, "parent": nil, "self": "https://api.pagerduty.com/teams/" + t.id,
		"html_url": "https://example.pagerduty.com/teams/" + t.id,
	}
}

func (s *Server) listTeams(r *http.Request) (int, any) {
	query := strings.ToLower(r.URL.Query().Get("query"))
	var rows []*team
	for _, id := range s.account.teamOrder {
		t := s.account.teams[id]
		if !t.listed(s.now(), s.stale()) {
			continue
		}
		if query == "" || strings.Contains(strings.ToLower(t.seen(s.now(), s.stale()).name), query) {
			rows = append(rows, t)
		}
	}
	return page(r, "teams", rows, func(t *team) any { return s.showTeam(t) })
}

// teamBody is what may be written; nil fields are left alone.
type teamBody struct {
	Name        *string `json:"name"`
	Description *string `json:"description"`
	DefaultRole *string `json:"default_role"`
}

// readTeam wants the team wrapped. A body without it is refused the way PagerDuty does for limited tokens: access
// denied, which is what go-pagerduty's users met (terraform-provider-pagerduty issue 1085).
func readTeam(r *http.Request) (body teamBody, status int, answer any) {
	var wrapped struct {
		Team *teamBody `json:"team"`
	}
	if err := json.NewDecoder(r.Body).Decode(&wrapped); err != nil {
		status, answer = http.StatusBadRequest, failure(2001, "Invalid Input Provided", "Body is not JSON")
		return body, status, answer
	}
	if wrapped.Team == nil {
		status, answer = denied()
		return body, status, answer
	}
	body = *wrapped.Team
	switch {
	case body.Name != nil && (squeeze(*body.Name) == "" || len(*body.Name) > maxTeamName):
		status, answer = invalid("Name must be between 1 and 100 characters.")
	case body.Description != nil && len([]rune(*body.Description)) > maxTeamDescription:
		status, answer = invalid("Description is too long (maximum is 1024 characters)")
	case body.DefaultRole != nil && *body.DefaultRole != "manager" && *body.DefaultRole != "none":
		status, answer = invalid("Default role must be manager or none")
	}
	return body, status, answer
}

func (b teamBody) applyTo(t *team) {
	if b.Name != nil {
		t.name = squeeze(*b.Name)
	}
	if b.Description != nil {
		t.description = strings.TrimSpace(*b.Description)
	}
	if b.DefaultRole != nil {
		t.defaultRole = *b.DefaultRole
	}
}

// createTeam makes the user whose key it is a manager of the new team. The account's key has no user, and makes an empty
// team.
func (s *Server) createTeam(r *http.Request) (int, any) {
	if !s.mayMakeTeams(r) {
		return denied()
	}
	body, status, answer := readTeam(r)
	if status != 0 {
		return status, answer
	}
	if body.Name == nil {
		return invalid("Name can't be blank")
	}
	t := &team{id: s.account.newID("team"), defaultRole: "manager", createdAt: s.now()}
	body.applyTo(t)
	s.account.addTeam(t)
	s.record(r, change{action: actionCreate, root: teamReference(t), fields: t.fields(nil)})
	if u := s.account.users[callerID(r)]; u != nil {
		t.write(s.now(), s.stale(), func() { t.put(u, "manager") })
		s.record(r, joining(t, u))
	}
	control.Effect(r.Context(), "create_team "+t.id+" "+t.name)
	return http.StatusCreated, object{"team": s.showTeam(t)}
}

func (s *Server) getTeam(r *http.Request) (int, any) {
	t := s.account.teams[r.PathValue("id")]
	if t == nil {
		return notFound()
	}
	return http.StatusOK, object{"team": s.showTeam(t)}
}

func (s *Server) updateTeam(r *http.Request) (int, any) {
	t := s.account.teams[r.PathValue("id")]
	if t == nil {
		return notFound()
	}
	if !s.mayManage(r, t) {
		return denied()
	}
	body, status, answer := readTeam(r)
	if status != 0 {
		return status, answer
	}
	t.write(s.now(), s.stale(), func() {
		before := *t
		body.applyTo(t)
		if changed := t.fields(&before); len(changed) > 0 {
			control.Effect(r.Context(), "update_team "+t.id)
			s.record(r, change{action: actionUpdate, root: teamReference(t), fields: changed})
		}
	})
	return http.StatusOK, object{"team": s.showTeam(t)}
}

func (s *Server) deleteTeam(r *http.Request) (int, any) {
	id := r.PathValue("id")
	t := s.account.teams[id]
	if t == nil {
		return notFound()
	}
	if !s.mayMakeTeams(r) {
		return denied()
	}
	for _, p := range s.account.policies {
		if p.teamID == id {
			return http.StatusBadRequest, failure(6006, "Cannot delete team with existing Escalation Policies association(s)")
		}
	}
	s.account.deleteTeam(id)
	s.record(r, change{action: actionDelete, root: teamReference(t)})
	control.Effect(r.Context(), "delete_team "+id)
	return http.StatusNoContent, nil
}
