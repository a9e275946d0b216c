package rules

import (
	"cmp"
	_ "embed"
	"slices"
	"time"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Schema is the JSON schema of Input. Rules are type-checked against it: a misspelt field is an error when a bundle is
// loaded, and not a rule that never finds anything.
//
//go:embed input.schema.json
var Schema []byte

// Input is what rules are given: a plan, its team before and after it, and who asks for it. No field is ever missing: what is
// not there is empty, so that a rule cannot fail to find something because it looked at a field that was left out.
type Input struct {
	Team    Team      `json:"team"`
	Plan    Changes   `json:"plan"`
	Before  Members   `json:"before"` // as observed
	After   Members   `json:"after"`  // as the plan would leave them
	Request Request   `json:"request"`
	Recent  Recent    `json:"recent"`
	Freezes []Freeze  `json:"freezes"` // that last at Now; the engine works them out
	Now     time.Time `json:"now"`
}

// Request is what was asked for, and by whom.
type Request struct {
	Kind           string   `json:"kind"`  // Reconcile or Rollback
	By             string   `json:"by"`    // the principal
	Roles          []string `json:"roles"` // which the principal held on the team when asking
	Reason         string   `json:"reason"`
	OverrideFreeze string   `json:"override_freeze"` // why the plan shall be applied although changes are frozen; empty: it shall not
	DryRun         bool     `json:"dry_run"`
}

// The kinds of requests.
const (
	Reconcile = "reconcile"
	Rollback  = "rollback"
)

// Recent is what happened to the team in the hours before.
type Recent struct {
	Removed int `json:"removed"` // people whom runs removed that nobody approved, and who are not back
	Hours   int `json:"hours"`
}

// Freeze is one freeze window that lasts.
type Freeze struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
}

// Team is the team that the plan is about.
type Team struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Groups []string `json:"groups"` // which the source puts it in
}

// Changes is the plan.
type Changes struct {
	TargetID string                 `json:"target_id"` // empty where the team is to be created
	Count    map[ownership.Kind]int `json:"count"`     // of each kind, also of those that are not there
	Changes  []Change               `json:"changes"`
}

// Change is one step of the plan.
type Change struct {
	ID        string         `json:"id"`
	Kind      ownership.Kind `json:"kind"`
	EntityRef string         `json:"entity_ref"`
	UserID    string         `json:"user_id"`
	Before    Entity         `json:"before"`
	After     Entity         `json:"after"`
}

// Entity is the part of a team or a membership that a change is about.
type Entity struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Email       string         `json:"email"`
	Role        ownership.Role `json:"role"`
}

// Members are the team's members at one time.
type Members struct {
	Count   Count    `json:"count"`
	Members []Member `json:"members"`
}

// Count is how many there are, together and of each role.
type Count struct {
	Members    int `json:"members"`
	Managers   int `json:"managers"`
	Responders int `json:"responders"`
	Observers  int `json:"observers"`
}

// Member is one member of the team.
type Member struct {
	UserID string         `json:"user_id"`
	Email  string         `json:"email"`
	Role   ownership.Role `json:"role"`
}

// Question is what a plan is judged by.
type Question struct {
	Plan     ownership.Plan
	Desired  ownership.Desired   // as the source declares the team
	Observed *ownership.Observed // as the target shows it; nil: the target has no such team
	Request  Request
	Removed  []string      // the users whom runs removed of late that nobody approved
	Of       time.Duration // how late: whole hours
	Now      time.Time
}

// Ask is the input for a question.
func Ask(q Question) Input {
	var members []Member
	here := map[string]bool{}
	if q.Observed != nil {
		for _, m := range q.Observed.Members {
			here[m.User.ID] = true
			members = append(members, Member{UserID: m.User.ID, Email: m.User.Email, Role: m.Role})
		}
	}
	changes := Changes{TargetID: q.Plan.TargetID, Count: map[ownership.Kind]int{}, Changes: []Change{}}
	for _, kind := range ownership.Kinds() {
		changes.Count[kind] = q.Plan.Count(kind)
	}
	for _, c := range q.Plan.Changes {
		changes.Changes = append(changes.Changes, Change{
			ID: c.ID, Kind: c.Kind, EntityRef: c.EntityRef, UserID: c.UserID, Before: asEntity(c.Before), After: asEntity(c.After),
		})
	}
	recent := Recent{Hours: int(q.Of.Hours())}
	for _, user := range q.Removed {
		if !here[user] {
			recent.Removed++
		}
	}
	request := q.Request
	request.Kind = cmp.Or(request.Kind, Reconcile)
	request.Roles = append([]string{}, request.Roles...)
	return Input{
		Team:    Team{ID: q.Plan.TeamID, Name: cmp.Or(q.Desired.Name, q.Plan.TeamName), Groups: append([]string{}, q.Desired.Groups...)},
		Plan:    changes,
		Before:  count(members),
		After:   count(after(members, q.Plan.Changes)),
		Request: request, Recent: recent, Freezes: []Freeze{}, Now: q.Now.UTC().Truncate(time.Second),
	}
}

func asEntity(e *ownership.Entity) Entity {
	if e == nil {
		return Entity{}
	}
	return Entity(*e)
}

// after is who is a member once the changes are made.
func after(before []Member, changes []ownership.Change) []Member {
	members := slices.Clone(before)
	at := make(map[string]int, len(members)+len(changes))
	for i, m := range members {
		at[m.UserID] = i
	}
	gone := map[string]bool{}
	for _, c := range changes {
		switch c.Kind {
		case ownership.AddMember:
			at[c.UserID] = len(members)
			members = append(members, Member{UserID: c.UserID, Email: c.After.Email, Role: c.After.Role})
		case ownership.ChangeRole:
			if i, ok := at[c.UserID]; ok {
				members[i].Role = c.After.Role
			}
		case ownership.RemoveMember:
			gone[c.UserID] = true
		}
	}
	return slices.DeleteFunc(members, func(m Member) bool { return gone[m.UserID] })
}

func count(members []Member) Members {
	c := Count{Members: len(members)}
	for _, m := range members {
		switch m.Role {
		case ownership.Manager:
			c.Managers++
		case ownership.Responder:
			c.Responders++
		case ownership.Observer:
			c.Observers++
		}
	}
	return Members{Count: c, Members: append([]Member{}, members...)}
}
