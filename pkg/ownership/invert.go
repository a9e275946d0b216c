package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Invert is the plan that undoes what was done, in the order in which it was done, as far as the target still shows it.
// What was changed again since is an issue and left alone; what is as it was before needs nothing.
func Invert(teamID string, o Observed, done []Change) Plan {
	p := Plan{TeamID: teamID, TargetID: o.TargetID, TeamName: cmp.Or(o.Name, teamID), Changes: []Change{}, Members: len(o.Members)}
	var team, adds, raises, lowers, removals []Change
	for _, net := range netOf(done) {
		var undo *Change
		var problem string
		switch net.Kind {
		case CreateTeam:
			p.Issues = append(p.Issues, Issue{
				Kind: NotUndone, EntityRef: net.EntityRef,
				Message: "the run created the team; NthLayer deletes no teams: delete it on the target if it is not wanted",
			})
			continue
		case UpdateTeam:
			undo, problem = undoTeam(o, net)
		default:
			undo, problem = undoMember(o, net)
		}
		switch {
		case problem != "":
			// Nobody leaves where somebody is not put back.
			back := net.Kind != UpdateTeam && roleOf(net.Before).rank() > roleOf(net.After).rank()
			p.Issues = append(p.Issues, Issue{Kind: ChangedSince, EntityRef: net.EntityRef, Message: problem, BlocksRemovals: back})
		case undo == nil:
			p.Unchanged++
		case undo.Kind == UpdateTeam:
			team = append(team, *undo)
		case undo.Kind == AddMember:
			adds = append(adds, *undo)
		case undo.Kind == RemoveMember:
			removals = append(removals, *undo)
		case undo.After.Role.rank() > undo.Before.Role.rank():
			raises = append(raises, *undo)
		default:
			lowers = append(lowers, *undo)
		}
	}
	for _, group := range [][]Change{team, adds, raises, lowers, removals} {
		slices.SortFunc(group, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
		p.Changes = append(p.Changes, group...)
	}
	return p
}

// netOf sums the changes of each entity up: a run that was planned anew may have changed one twice.
func netOf(done []Change) []Change {
	var net []Change
	at := map[string]int{}
	for _, c := range done {
		key := cmp.Or(c.UserID, c.EntityRef)
		if c.Kind == CreateTeam {
			key = c.ID
		}
		i, again := at[key]
		if !again {
			at[key] = len(net)
			net = append(net, c)
			continue
		}
		if c.Kind == UpdateTeam { // each may have been about another field
			first := net[i]
			before, after := *first.Before, *first.After
			before.Name, before.Description = cmp.Or(before.Name, c.Before.Name), cmp.Or(before.Description, c.Before.Description)
			after.Name, after.Description = cmp.Or(c.After.Name, after.Name), cmp.Or(c.After.Description, after.Description)
			net[i].Before, net[i].After = &before, &after
			continue
		}
		net[i].After = c.After
	}
	return net
}

func undoMember(o Observed, net Change) (*Change, string) {
	was, left := roleOf(net.Before), roleOf(net.After)
	now, user := Role(""), User{ID: net.UserID, Email: net.Email()}
	for _, m := range o.Members {
		if m.User.ID == net.UserID {
			now, user = m.Role, m.User
		}
	}
	switch {
	case now == was:
		return nil, ""
	case now != left:
		return nil, fmt.Sprintf("changed since: the run left %s %s, now it is %s; left alone", net.Email(), membership(left), membership(now))
	}
	kind := ChangeRole
	switch {
	case now == "":
		kind = AddMember
	case was == "":
		kind = RemoveMember
	}
	undo := memberChange(kind, user, now, was)
	return &undo, ""
}

// roleOf is the role of a membership; empty: there is none.
func roleOf(e *Entity) Role {
	if e == nil {
		return ""
	}
	return e.Role
}

func membership(r Role) string { return cmp.Or(string(r), "no member") }

// Email is the address of the person that a change is about; empty: it is about the team.
func (c Change) Email() string {
	for _, e := range []*Entity{c.After, c.Before} {
		if e != nil && e.Email != "" {
			return e.Email
		}
	}
	person, _ := strings.CutPrefix(c.EntityRef, "person:")
	if person == c.EntityRef {
		return ""
	}
	return person
}

// undoTeam puts back what the run changed of the name and the description. A description that was empty stays: an empty
// one means that none is declared.
func undoTeam(o Observed, net Change) (*Change, string) {
	before, after := Entity{}, Entity{}
	if net.After.Name != "" && NormalizeName(o.Name) != NormalizeName(net.Before.Name) {
		if NormalizeName(o.Name) != NormalizeName(net.After.Name) {
			return nil, fmt.Sprintf("changed since: the run named the team %q, now it is %q; left alone", net.After.Name, o.Name)
		}
		before.Name, after.Name = o.Name, net.Before.Name
	}
	if net.Before.Description != "" && strings.TrimSpace(o.Description) != strings.TrimSpace(net.Before.Description) {
		if strings.TrimSpace(o.Description) != strings.TrimSpace(net.After.Description) {
			return nil, "changed since: the description is not the one that the run wrote; left alone"
		}
		before.Description, after.Description = o.Description, net.Before.Description
	}
	if after == (Entity{}) {
		return nil, ""
	}
	return &Change{ID: net.ID, Kind: UpdateTeam, EntityRef: net.EntityRef, Before: &before, After: &after}, ""
}
