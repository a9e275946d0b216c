package pagerduty

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

func reference(u *user) object {
	return object{"id": u.id, "type": "user_reference", "summary": u.name, "self": "https://api.pagerduty.com/users/" + u.id}
}

func (s *Server) showUser(u *user) object {
	teams := []object{} // references, without the role
	for _, id := range slices.Sorted(maps.Keys(u.teams)) {
		t := s.account.teams[id]
		teams = append(teams, object{"id": t.id, "type": "team_reference", "summary": t.name})
	}
	return object{
		"teams": teams,
		"id":    u.id, "type": "user", "name": u.name, "summary": u.name, "email": u.email, "role": u.role,
		"time_zone": "Etc/UTC", "job_title": nil, "description": nil, "invitation_sent": false,
		"contact_methods": []any{}, "notification_rules": []any{},
		"self": "https://api.pagerduty.com/users/" + u.id,
	}
}

func (s *Server) listUsers(r *http.Request) (int, any) {
	query := strings.ToLower(r.URL.Query().Get("query"))
	teams := r.URL.Query()["team_ids[]"]
	if query == "" && len(teams) == 0 { // the whole list is walked page by page, and may be long
		return page(r, "users", s.account.userOrder, func(id string) any { return s.showUser(s.account.users[id]) })
	}
	var rows []*user
	for _, id := range s.account.userOrder {
		u := s.account.users[id]
		if len(teams) > 0 && !slices.ContainsFunc(teams, func(id string) bool { return u.teams[id] }) {
			continue
		}
		if query == "" || strings.Contains(u.words, query) {
			rows = append(rows, u)
		}
	}
	return page(r, "users", rows, func(u *user) any { return s.showUser(u) })
}

func (s *Server) getUser(r *http.Request) (int, any) {
	u := s.account.users[r.PathValue("id")]
	if u == nil {
		return notFound()
	}
	return http.StatusOK, object{"user": s.showUser(u)}
}

type userBody struct {
	Name  *string `json:"name"`
	Email *string `json:"email"`
	Role  *string `json:"role"`
}

var baseRoles = []string{
	"admin", "user", "limited_user", "observer", "restricted_access", "read_only_user", "read_only_limited_user",
}

func (s *Server) readUser(r *http.Request, self string) (body userBody, status int, answer any) {
	var wrapped struct {
		User *userBody `json:"user"`
	}
	if err := json.NewDecoder(r.Body).Decode(&wrapped); err != nil || wrapped.User == nil {
		status, answer = invalid("Body must hold a user")
		return body, status, answer
	}
	body = *wrapped.User
	switch {
	case body.Role != nil && !slices.Contains(baseRoles, *body.Role):
		status, answer = invalid("Role is not included in the list")
	case body.Email != nil && !strings.Contains(*body.Email, "@"):
		status, answer = invalid("Email is invalid")
	case body.Email != nil && s.account.emails[strings.ToLower(*body.Email)] != "" && s.account.emails[strings.ToLower(*body.Email)] != self:
		status, answer = invalid("Email has already been taken")
	}
	return body, status, answer
}

func (s *Server) createUser(r *http.Request) (int, any) {
	if !s.mayManageUsers(r, "") {
		return denied()
	}
	if r.Header.Get("From") == "" {
		return invalid("From header must be the e-mail address of a user")
	}
	body, status, answer := s.readUser(r, "")
	if status != 0 {
		return status, answer
	}
	if body.Name == nil || body.Email == nil {
		return invalid("Name and Email can't be blank")
	}
	u := &user{id: s.account.newID("user"), role: "user", teams: map[string]bool{}}
	u.rename(*body.Name, *body.Email)
	if body.Role != nil {
		u.role = *body.Role
	}
	s.account.addUser(u)
	s.record(r, change{action: actionCreate, root: reference(u), fields: u.fields(nil)})
	return http.StatusCreated, object{"user": s.showUser(u)}
}

func (s *Server) updateUser(r *http.Request) (int, any) {
	u := s.account.users[r.PathValue("id")]
	if u == nil {
		return notFound()
	}
	if !s.mayManageUsers(r, u.id) {
		return denied()
	}
	body, status, answer := s.readUser(r, u.id)
	if status != 0 {
		return status, answer
	}
	before := *u
	if body.Name != nil {
		u.rename(*body.Name, u.email)
	}
	if body.Email != nil {
		delete(s.account.emails, strings.ToLower(u.email))
		u.rename(u.name, *body.Email)
		s.account.emails[strings.ToLower(u.email)] = u.id
	}
	if body.Role != nil {
		u.role = *body.Role
	}
	if changed := u.fields(&before); len(changed) > 0 {
		s.record(r, change{action: actionUpdate, root: reference(u), fields: changed})
	}
	return http.StatusOK, object{"user": s.showUser(u)}
}

func (s *Server) deleteUser(r *http.Request) (int, any) {
	u := s.account.users[r.PathValue("id")]
	if u == nil {
		return notFound()
	}
	if !s.mayManageUsers(r, "") {
		return denied()
	}
	for _, t := range s.account.teams {
		t.past = nil // who is gone must not show in a stale read
		if i := t.index(u.id); i >= 0 {
			t.members = slices.Delete(t.members, i, i+1)
		}
	}
	gone := func(id string) bool { return id == u.id }
	for _, p := range s.account.policies {
		p.users = slices.DeleteFunc(p.users, gone)
	}
	for _, v := range s.account.schedules {
		v.users = slices.DeleteFunc(v.users, gone)
	}
	delete(s.account.users, u.id)
	delete(s.account.emails, strings.ToLower(u.email))
	if i, found := slices.BinarySearch(s.account.userOrder, u.id); found {
		s.account.userOrder = slices.Delete(s.account.userOrder, i, i+1)
	}
	s.record(r, change{action: actionDelete, root: reference(u)})
	return http.StatusNoContent, nil
}
