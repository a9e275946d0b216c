package pagerduty

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
)

func (s *Server) listMembers(r *http.Request) (int, any) {
	t := s.account.teams[r.PathValue("id")]
	if t == nil {
		return notFound()
	}
	whole := slices.Contains(r.URL.Query()["include[]"], "users")
	return page(r, "members", t.seen(s.now(), s.stale()).members, func(m member) any {
		u := s.account.users[m.userID]
		shown := reference(u)
		if whole {
			shown = s.showUser(u)
		}
		return object{"user": shown, "role": m.role}
	})
}

func (s *Server) putMember(r *http.Request) (int, any) {
	t, u := s.account.teams[r.PathValue("id")], s.account.users[r.PathValue("user")]
	if t == nil || u == nil {
		return notFound()
	}
	if !s.mayManage(r, t) {
		return denied()
	}
	var body struct {
		Role string `json:"role"`
	}
	// The body and the role in it are optional.
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return invalid("Body is not JSON")
	}
	if !slices.Contains([]string{"", "manager", "responder", "observer"}, body.Role) {
		return invalid("Role is not included in the list")
	}
	if stakeholder(u.role) {
		return invalid("User cannot be added to a team: read only users cannot join teams")
	}
	was := t.index(u.id) >= 0
	t.write(s.now(), s.stale(), func() {
		effect := t.put(u, body.Role)
		if effect == "" {
			return
		}
		control.Effect(r.Context(), effect)
		if was {
			s.record(r, roleChange(t, u))
		} else {
			s.record(r, joining(t, u))
		}
	})
	return http.StatusNoContent, nil
}

func (s *Server) removeMember(r *http.Request) (int, any) {
	t := s.account.teams[r.PathValue("id")]
	if t == nil {
		return notFound()
	}
	if !s.mayManage(r, t) {
		return denied()
	}
	i := t.index(r.PathValue("user"))
	if i < 0 {
		return notFound()
	}
	if s.account.holding(t.id, t.members[i].userID) != "" {
		return invalid("User cannot be removed as they belong to an escalation policy on this team")
	}
	u := s.account.users[t.members[i].userID]
	control.Effect(r.Context(), "remove_member "+t.id+" "+u.id)
	s.record(r, leaving(t, u))
	t.write(s.now(), s.stale(), func() {
		delete(u.teams, t.id)
		t.members = slices.Delete(t.members, i, i+1)
	})
	return http.StatusNoContent, nil
}
