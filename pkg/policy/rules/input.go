package rules

import (
	"cmp"
	_ "embed"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Schema is the JSON schema of Input. Rules are type-checked against it: a misspelt field is an error when a bundle is
// loaded, and not a rule that never finds anything.
//
//go:embed input.schema.json
var Schema []byte

// Input is what rules are given: a plan, and its team before and after it. No field is ever missing: what is not there is
// empty, so that a rule cannot fail to find something because it looked at a field that was left out.
type Input struct {
	Team   Team    `json:"team"`
	Plan   Changes `json:"plan"`
	Before Members `json:"before"` // as observed
	After  Members `json:"after"`  // as the plan would leave them
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

// Ask is the input for a plan, for a team that the source declares as desired and the target shows as observed; nil: the
// target has no such team.
func Ask(p ownership.Plan, desired ownership.Desired, observed *ownership.Observed) Input {
	var members []Member
	if observed != nil {
		for _, m := range observed.Members {
			members = append(members, Member{UserID: m.User.ID, Email: m.User.Email, Role: m.Role})
		}
	}
	changes := Changes{TargetID: p.TargetID, Count: map[ownership.Kind]int{}, Changes: []Change{}}
	for _, kind := range ownership.Kinds() {
		changes.Count[kind] = p.Count(kind)
	}
	for _, c := range p.Changes {
		changes.Changes = append(changes.Changes, Change{
			ID: c.ID, Kind: c.Kind, EntityRef: c.EntityRef, UserID: c.UserID, Before: asEntity(c.Before), After: asEntity(c.After),
		})
	}
	return Input{
		Team:   Team{ID: p.TeamID, Name: cmp.Or(desired.Name, p.TeamName), Groups: append([]string{}, desired.Groups...)},
		Plan:   changes,
		Before: count(members),
		After:  count(after(members, p.Changes)),
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

// value is the input as the evaluator takes it. Members and changes are converted only where a rule looks at them: most
// rules need no more than the counts, and a team may have thousands.
func (in Input) value() ast.Value {
	kinds := make(map[string]any, len(in.Plan.Count))
	for kind, n := range in.Plan.Count {
		kinds[string(kind)] = n
	}
	changes := make([]any, 0, len(in.Plan.Changes))
	for _, c := range in.Plan.Changes {
		changes = append(changes, map[string]any{
			"id": c.ID, "kind": string(c.Kind), "entity_ref": c.EntityRef, "user_id": c.UserID,
			"before": c.Before.value(), "after": c.After.value(),
		})
	}
	return ast.LazyObject(map[string]any{
		"team":   map[string]any{"id": in.Team.ID, "name": in.Team.Name, "groups": in.Team.Groups},
		"plan":   ast.LazyObject(map[string]any{"target_id": in.Plan.TargetID, "count": kinds, "changes": changes}),
		"before": in.Before.value(),
		"after":  in.After.value(),
	})
}

func (m Members) value() ast.Value {
	members := make([]any, 0, len(m.Members))
	for _, one := range m.Members {
		members = append(members, map[string]any{"user_id": one.UserID, "email": one.Email, "role": string(one.Role)})
	}
	return ast.LazyObject(map[string]any{"members": members, "count": map[string]any{
		"members": m.Count.Members, "managers": m.Count.Managers, "responders": m.Count.Responders, "observers": m.Count.Observers,
	}})
}

func (e Entity) value() map[string]any {
	return map[string]any{"name": e.Name, "description": e.Description, "email": e.Email, "role": string(e.Role)}
}
