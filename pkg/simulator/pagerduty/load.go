package pagerduty

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// LoadOrg replaces the account by PagerDuty's side of the organisation.
func (s *Server) LoadOrg(o *org.Org) error {
	from, a := o.Observed(), newAccount()
	for _, u := range from.Users {
		loaded := &user{id: u.ID, role: u.Role, teams: map[string]bool{}}
		loaded.rename(squeeze(u.Name), u.Email)
		a.users[u.ID] = loaded
		a.emails[strings.ToLower(u.Email)] = u.ID
		a.userOrder = append(a.userOrder, u.ID)
	}
	for _, t := range from.Teams {
		loaded := &team{id: t.ID, name: squeeze(t.Name), description: t.Description, defaultRole: "manager"}
		for _, m := range t.Members {
			loaded.members = append(loaded.members, member{m.UserID, m.Role})
			a.users[m.UserID].teams[t.ID] = true
		}
		a.teams[t.ID] = loaded
		a.teamOrder = append(a.teamOrder, t.ID)
	}
	for _, v := range from.Schedules {
		a.schedules[v.ID] = &schedule{id: v.ID, name: v.Name, users: v.Users}
		a.schedIDs = append(a.schedIDs, v.ID)
	}
	for _, p := range from.Policies {
		a.policies[p.ID] = &policy{id: p.ID, name: p.Name, teamID: p.TeamID, users: p.Users, schedules: p.Schedules}
		a.policyIDs = append(a.policyIDs, p.ID)
	}
	for _, order := range [][]string{a.userOrder, a.teamOrder, a.schedIDs, a.policyIDs} {
		slices.Sort(order)
	}
	for _, id := range a.policyIDs {
		for _, schedule := range a.policies[id].schedules {
			a.schedules[schedule].policies = append(a.schedules[schedule].policies, a.policies[id])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account = a
	return nil
}

// State is the whole account as it is, stale reads or not.
type State struct {
	Teams     []TeamState     `json:"teams"`
	Users     []UserState     `json:"users"`
	Policies  []PolicyState   `json:"escalation_policies"`
	Schedules []ScheduleState `json:"schedules"`
}

// TeamState is a team with its members, in the order in which they joined.
type TeamState struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Members     []MemberState `json:"members"`
}

// MemberState is a membership.
type MemberState struct {
	UserID string `json:"user_id"`
	Email  string `json:"email"`
	Role   string `json:"role"`
}

// UserState is an account; Role is its base role.
type UserState struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
	Role  string `json:"role"`
}

// PolicyState is an escalation policy; what it pages is given by ids.
type PolicyState struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	TeamID    string   `json:"team_id"`
	Users     []string `json:"users"`
	Schedules []string `json:"schedules"`
}

// ScheduleState is a schedule with the ids of its users.
type ScheduleState struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Users []string `json:"users"`
}

// State is the account now.
func (s *Server) State() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account
	all := State{Teams: []TeamState{}, Users: []UserState{}, Policies: []PolicyState{}, Schedules: []ScheduleState{}}
	for _, id := range a.teamOrder {
		t := a.teams[id]
		shown := TeamState{ID: t.id, Name: t.name, Description: t.description, Members: []MemberState{}}
		for _, m := range t.members {
			shown.Members = append(shown.Members, MemberState{m.userID, a.users[m.userID].email, m.role})
		}
		all.Teams = append(all.Teams, shown)
	}
	for _, id := range a.userOrder {
		u := a.users[id]
		all.Users = append(all.Users, UserState{u.id, u.name, u.email, u.role})
	}
	for _, id := range a.policyIDs {
		p := a.policies[id]
		all.Policies = append(all.Policies, PolicyState{p.id, p.name, p.teamID, list(p.users), list(p.schedules)})
	}
	for _, id := range a.schedIDs {
		v := a.schedules[id]
		all.Schedules = append(all.Schedules, ScheduleState{v.id, v.name, list(v.users)})
	}
	return all
}

// list is a copy that JSON shows as a list even when it is empty.
func list(ids []string) []string { return append([]string{}, ids...) }

// Refuse answers as PagerDuty does for a status.
func (s *Server) Refuse(w http.ResponseWriter, status int) {
	words := map[int]object{
		http.StatusUnauthorized:        failure(2006, "The request was not authenticated"),
		http.StatusPaymentRequired:     failure(2014, "Account does not have the abilities to perform the action"),
		http.StatusForbidden:           failure(2010, "Access Denied"),
		http.StatusNotFound:            failure(2100, "Not Found"),
		http.StatusRequestTimeout:      failure(2016, "Request Timeout"),
		http.StatusTooManyRequests:     failure(2020, "Rate Limit Exceeded"),
		http.StatusBadRequest:          failure(2001, "Invalid Input Provided"),
		http.StatusInternalServerError: failure(2000, "Internal Error"),
	}
	if status == http.StatusTooManyRequests && s.control.Limits().PerMinute > 0 {
		w.Header().Set("ratelimit-remaining", "0")
		w.Header().Set("ratelimit-reset", "1")
	}
	if known, ok := words[status]; ok {
		reply(w, status, known)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html><body><h1>%d %s</h1></body></html>", status, http.StatusText(status)) // a proxy in front
}
