package org

import (
	"maps"
	"slices"
	"strconv"
)

// DeclaredTeam is a team as Cortex has it.
type DeclaredTeam struct {
	ID           string // 18 characters
	Tag          string
	Name         string // <org>/<name>
	Description  string
	Parent       string // a tag, or ""
	Archived     bool
	IDP          *IDP
	CustomData   map[string]any
	SlackChannel string
	Groups       []string
	Members      []DeclaredMember
}

// DeclaredMember is a person in a Cortex team.
type DeclaredMember struct {
	ID    string // the identity provider's id of the person: the handle
	Email string // may be empty
	Name  string
	Roles []string // role tags
}

// Declared is Cortex's side, in the order of the document.
func (o *Org) Declared() []DeclaredTeam {
	people := o.byHandle()
	teams := make([]DeclaredTeam, len(o.Teams))
	for i, t := range o.Teams {
		members := make([]DeclaredMember, 0, len(t.Maintainers)+len(t.Members))
		add := func(handle string, roles []string) {
			p := people[handle]
			m := DeclaredMember{ID: p.Handle, Email: p.Address(), Name: p.DisplayName(), Roles: roles}
			if p.NoCortexEmail {
				m.Email = ""
			}
			members = append(members, m)
		}
		for _, handle := range t.Maintainers {
			add(handle, []string{"manager"})
		}
		for _, handle := range t.Members {
			add(handle, nil)
		}
		teams[i] = DeclaredTeam{
			ID: cortexID(t.Tag), Tag: t.Tag, Name: t.FullName(), Description: t.Description, Parent: t.Parent,
			Archived: t.Archived, IDP: t.IDP, CustomData: maps.Clone(t.CustomData), SlackChannel: t.SlackChannel,
			Groups: slices.Clone(t.Groups), Members: members,
		}
	}
	return teams
}

// PagerDutyState is PagerDuty's side.
type PagerDutyState struct {
	Users     []PagerDutyUser
	Teams     []PagerDutyTeam
	Policies  []PagerDutyPolicy
	Schedules []PagerDutySchedule
}

// PagerDutyUser is an account.
type PagerDutyUser struct {
	ID, Name, Email string
	Role            string // base role
}

// PagerDutyTeam is a team with its members.
type PagerDutyTeam struct {
	ID, Name, Description string
	Tag                   string // of the declared team, or "": for tests; PagerDuty does not know it
	Members               []PagerDutyMember
}

// PagerDutyMember is a person's place in a team.
type PagerDutyMember struct {
	UserID string
	Role   string // manager, responder, observer
}

// PagerDutyPolicy is an escalation policy on a team.
type PagerDutyPolicy struct {
	ID, Name  string
	TeamID    string
	Users     []string // ids of users it pages directly
	Schedules []string // ids
}

// PagerDutySchedule is a rotation.
type PagerDutySchedule struct {
	ID, Name string
	Users    []string // ids
}

// Observed is PagerDuty's side: the declared teams with their drift, then the teams that only PagerDuty has. What
// PagerDuty itself forbids does not get in: declared people without an account and declared stakeholders are no
// members, and admins are managers wherever they are.
func (o *Org) Observed() PagerDutyState {
	b := &builder{people: o.byHandle(), accounts: map[string]string{}, ids: targetIDs{}}
	for _, d := range o.PagerDuty.Teams {
		b.ids[d.ID] = true
	}
	for _, t := range o.PagerDuty.Extra {
		b.ids[t.ID] = true
	}
	for _, p := range o.People {
		b.user(p)
	}
	for _, t := range o.Teams {
		if d := o.PagerDuty.Teams[t.Tag]; !d.Absent {
			b.declared(t, d)
		}
	}
	for i, t := range o.PagerDuty.Extra {
		id := t.ID
		if id == "" {
			id = b.ids.of("extra team", strconv.Itoa(i)+" "+t.Name)
		}
		team := PagerDutyTeam{ID: id, Name: t.Name, Description: t.Description}
		for _, handle := range slices.Sorted(maps.Keys(t.Members)) {
			b.join(&team, handle, t.Members[handle])
		}
		b.state.Teams = append(b.state.Teams, team)
		b.policies(id, t.Policies)
	}
	return b.state
}

// builder collects PagerDuty's side.
type builder struct {
	people   map[string]Person
	accounts map[string]string // handle → id of the first account
	ids      targetIDs
	state    PagerDutyState
}

func (b *builder) user(p Person) {
	if p.PagerDuty.Absent {
		return
	}
	u := PagerDutyUser{ID: b.ids.of("user", p.Handle), Name: p.DisplayName(), Email: p.Address(), Role: "user"}
	if p.PagerDuty.Email != "" {
		u.Email = p.PagerDuty.Email
	}
	if p.PagerDuty.Role != "" {
		u.Role = p.PagerDuty.Role
	}
	b.accounts[p.Handle] = u.ID
	b.state.Users = append(b.state.Users, u)
	if p.PagerDuty.SecondEmail != "" {
		u.ID, u.Email = b.ids.of("second user", p.Handle), p.PagerDuty.SecondEmail
		b.state.Users = append(b.state.Users, u)
	}
}

func (b *builder) declared(t Team, d TeamDrift) {
	team := PagerDutyTeam{ID: d.ID, Tag: t.Tag, Name: t.FullName(), Description: t.Description}
	if team.ID == "" {
		team.ID = b.ids.of("team", t.Tag)
	}
	if d.Name != "" {
		team.Name = d.Name
	}
	if d.Description != nil {
		team.Description = *d.Description
	}
	missing := map[string]bool{}
	for _, handle := range d.Missing {
		missing[handle] = true
	}
	add := func(handle, role string) {
		if missing[handle] || stakeholder(b.people[handle]) {
			return
		}
		if other := d.Roles[handle]; other != "" {
			role = other
		}
		b.join(&team, handle, role)
	}
	for _, handle := range t.Maintainers {
		add(handle, "manager")
	}
	for _, handle := range t.Members {
		add(handle, "responder")
	}
	for _, handle := range slices.Sorted(maps.Keys(d.Extra)) {
		b.join(&team, handle, d.Extra[handle])
	}
	b.state.Teams = append(b.state.Teams, team)
	b.policies(team.ID, d.Policies)
}

// join makes a person a member, in the role that PagerDuty would leave the person with.
func (b *builder) join(team *PagerDutyTeam, handle, role string) {
	id, known := b.accounts[handle]
	if !known {
		return
	}
	switch p := b.people[handle]; {
	case p.PagerDuty.Role == "admin" || p.PagerDuty.Role == "owner":
		role = "manager"
	case stakeholder(p):
		role = "observer"
	}
	team.Members = append(team.Members, PagerDutyMember{UserID: id, Role: role})
}

func (b *builder) policies(teamID string, policies []Policy) {
	for i, p := range policies {
		key := teamID + " " + strconv.Itoa(i) + " " + p.Name
		policy := PagerDutyPolicy{ID: b.ids.of("policy", key), Name: p.Name, TeamID: teamID, Users: b.userIDs(p.Users)}
		for j, s := range p.Schedules {
			schedule := PagerDutySchedule{ID: b.ids.of("schedule", key+" "+strconv.Itoa(j)+" "+s.Name), Name: s.Name, Users: b.userIDs(s.Users)}
			policy.Schedules = append(policy.Schedules, schedule.ID)
			b.state.Schedules = append(b.state.Schedules, schedule)
		}
		b.state.Policies = append(b.state.Policies, policy)
	}
}

func (b *builder) userIDs(handles []string) []string {
	var ids []string
	for _, handle := range handles {
		if id, known := b.accounts[handle]; known {
			ids = append(ids, id)
		}
	}
	return ids
}

// stakeholder reports whether PagerDuty refuses the person as a new team member.
func stakeholder(p Person) bool {
	return p.PagerDuty.Role == "read_only_user" || p.PagerDuty.Role == "read_only_limited_user"
}

func (o *Org) byHandle() map[string]Person {
	people := make(map[string]Person, len(o.People))
	for _, p := range o.People {
		people[p.Handle] = p
	}
	return people
}
