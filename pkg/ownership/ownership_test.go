package ownership_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

func user(name string) ownership.User {
	return ownership.User{ID: "P" + name, Email: name + "@example.org", Base: ownership.BaseUser}
}

func observed(members ...ownership.ObservedMember) ownership.Observed {
	return ownership.Observed{TargetID: "PTEAM", Name: "acme/payments", Members: members}
}

func in(name string, role ownership.Role) ownership.ObservedMember {
	return ownership.ObservedMember{User: user(name), Role: role}
}

func desired(members ...ownership.Member) ownership.Desired {
	return ownership.Desired{TeamID: "payments", Name: "acme/payments", Members: members}
}

func declared(name string, roles ...string) ownership.Member {
	return ownership.Member{Email: name + "@example.org", Name: name, Roles: roles}
}

func planOf(d ownership.Desired, o ownership.Observed, found ...ownership.User) ownership.Plan {
	wanted, issues := ownership.Match(d, o, found, ownership.DefaultRoleMap())
	p := ownership.Diff(d, o, wanted)
	p.Issues = issues
	return p.HoldRemovals(nil)
}

func changeIDs(p ownership.Plan) []string {
	ids := []string{}
	for _, c := range p.Changes {
		ids = append(ids, c.ID)
	}
	return ids
}

func issueKinds(p ownership.Plan) []ownership.IssueKind {
	var kinds []ownership.IssueKind
	for _, i := range p.Issues {
		kinds = append(kinds, i.Kind)
	}
	return kinds
}

func TestDiff_AddsAndRaisesComeBeforeLowersAndRemovals(t *testing.T) {
	d := desired(declared("new"), declared("up", "manager"), declared("down"), declared("same"))
	o := observed(in("gone", ownership.Manager), in("up", ownership.Responder), in("down", ownership.Manager), in("same", ownership.Responder))
	o.Name = "acme / payments"

	p := planOf(d, o, user("new"))

	require.Equal(t, []string{
		"update_team:team:payments",
		"add_member:person:new@example.org",
		"change_role:person:up@example.org",
		"change_role:person:down@example.org",
		"remove_member:person:gone@example.org",
	}, changeIDs(p))
	require.Equal(t, 1, p.Unchanged)
	require.Equal(t, 4, p.Remaining())
	require.Equal(t, ownership.OutOfSync, p.SyncStatus())
}

func TestMatch(t *testing.T) {
	second := ownership.User{ID: "PSECOND", Email: "ANN@example.org", Base: ownership.BaseUser}
	stakeholder := ownership.User{ID: "Pann", Email: "ann@example.org", Base: ownership.BaseReadOnlyUser}
	admin := ownership.User{ID: "Pann", Email: "ann@example.org", Base: ownership.BaseAdmin}
	cases := []struct {
		name    string
		members []ownership.Member
		present []ownership.ObservedMember
		found   []ownership.User
		changes []string
		issues  []ownership.IssueKind
	}{
		{
			name:    "addresses differ in case and blanks only",
			members: []ownership.Member{{Email: " Ann@Example.ORG "}}, present: []ownership.ObservedMember{in("ann", ownership.Responder)},
			changes: []string{},
		},
		{
			name:    "listed twice, the strongest role counts",
			members: []ownership.Member{declared("ann"), declared("ann", "Manager")}, present: []ownership.ObservedMember{in("ann", ownership.Manager)},
			changes: []string{},
		},
		{
			name:    "no e-mail address holds removals",
			members: []ownership.Member{{Name: "Bob"}, declared("ann")}, present: []ownership.ObservedMember{in("ann", ownership.Responder), in("eve", ownership.Responder)},
			changes: []string{}, issues: []ownership.IssueKind{ownership.MissingEmail, ownership.RemovalHeld},
		},
		{
			name:    "unknown to the target holds removals, not adds",
			members: []ownership.Member{declared("ann"), declared("bob")}, present: []ownership.ObservedMember{in("eve", ownership.Responder)}, found: []ownership.User{user("ann")},
			changes: []string{"add_member:person:ann@example.org"}, issues: []ownership.IssueKind{ownership.UserNotFound, ownership.RemovalHeld},
		},
		{
			name:    "two accounts with the address",
			members: []ownership.Member{declared("ann")}, present: nil, found: []ownership.User{user("ann"), second},
			changes: []string{}, issues: []ownership.IssueKind{ownership.AmbiguousUser},
		},
		{
			name:    "a stakeholder cannot join",
			members: []ownership.Member{declared("ann")}, found: []ownership.User{stakeholder},
			changes: []string{}, issues: []ownership.IssueKind{ownership.CannotJoin},
		},
		{
			name:    "an admin is manager whatever is declared",
			members: []ownership.Member{declared("ann")}, present: []ownership.ObservedMember{{User: admin, Role: ownership.Manager}},
			changes: []string{}, issues: []ownership.IssueKind{ownership.FixedRole},
		},
		{
			name:    "an empty list on both sides",
			changes: []string{},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := planOf(desired(c.members...), observed(c.present...), c.found...)
			require.Equal(t, c.changes, changeIDs(p))
			require.Equal(t, c.issues, issueKinds(p))
		})
	}
}

func TestHoldRemovals_WhoIsPagedStaysAndTheReasonIsNamed(t *testing.T) {
	d, o := desired(declared("ann")), observed(in("ann", ownership.Responder), in("bob", ownership.Responder), in("eve", ownership.Responder))
	wanted, _ := ownership.Match(d, o, nil, ownership.DefaultRoleMap())

	p := ownership.Diff(d, o, wanted).HoldRemovals(ownership.Rotation{"Pbob": {"Payments primary"}})

	require.Equal(t, []string{"remove_member:person:eve@example.org"}, changeIDs(p))
	require.Equal(t, []ownership.IssueKind{ownership.OnEscalationPolicy}, issueKinds(p))
	require.Contains(t, p.Issues[0].Message, "Payments primary")
	require.Equal(t, ownership.OutOfSync, ownership.Plan{Issues: p.Issues}.SyncStatus())
}

func TestDiff_NoTargetTeam_CreatesItFirst(t *testing.T) {
	p := planOf(desired(declared("ann")), ownership.Observed{}, user("ann"))
	require.Equal(t, []string{"create_team:team:payments", "add_member:person:ann@example.org"}, changeIDs(p))
}

func TestHash_SaysWhetherPlansDoTheSame(t *testing.T) {
	a := planOf(desired(declared("ann")), observed(), user("ann"))
	b := planOf(desired(declared("ann")), observed(), user("ann"))
	c := planOf(desired(declared("ann", "manager")), observed(), user("ann"))
	require.Equal(t, a.Hash(), b.Hash())
	require.NotEqual(t, a.Hash(), c.Hash())
}

func TestRoleMap_RefusesWhatItCannotUse(t *testing.T) {
	var m ownership.RoleMap
	require.NoError(t, m.UnmarshalText([]byte("lead=manager, *=observer")))
	require.Equal(t, ownership.Manager, m.Of([]string{"dev", "LEAD"}))
	require.Equal(t, ownership.Observer, m.Of(nil))
	for _, bad := range []string{"", "lead", "lead=boss,*=responder", "=manager", "lead=manager"} {
		require.Error(t, m.UnmarshalText([]byte(bad)), bad)
	}
}

// apply is what a target does with a change.
func apply(o ownership.Observed, c ownership.Change, accounts map[string]ownership.User) ownership.Observed {
	members := []ownership.ObservedMember{}
	for _, m := range o.Members {
		if m.User.ID != c.UserID {
			members = append(members, m)
		}
	}
	switch c.Kind {
	case ownership.CreateTeam:
		o.TargetID, o.Name = "PNEW", c.After.Name
	case ownership.UpdateTeam:
		if c.After.Name != "" {
			o.Name = c.After.Name
		}
		if c.After.Description != "" {
			o.Description = c.After.Description
		}
	case ownership.AddMember, ownership.ChangeRole:
		o.Members = append(members, ownership.ObservedMember{User: accounts[c.UserID], Role: c.After.Role})
	case ownership.RemoveMember:
		o.Members = members
	}
	return o
}

func genTeam(t *rapid.T) (ownership.Desired, ownership.Observed, []ownership.User, map[string]ownership.User) {
	bases := []ownership.BaseRole{ownership.BaseUser, ownership.BaseAdmin, ownership.BaseLimitedUser, ownership.BaseReadOnlyUser, ownership.BaseObserver}
	d := ownership.Desired{TeamID: "t", Name: rapid.SampledFrom([]string{"", "a/t", "a/u"}).Draw(t, "name")}
	o := ownership.Observed{}
	if rapid.Bool().Draw(t, "exists") {
		o = ownership.Observed{TargetID: "PTEAM", Name: "a/t"}
	}
	accounts := map[string]ownership.User{}
	var directory []ownership.User
	for i := range rapid.IntRange(0, 12).Draw(t, "people") {
		u := ownership.User{ID: fmt.Sprintf("P%02d", i), Email: fmt.Sprintf("p%02d@example.org", i), Base: rapid.SampledFrom(bases).Draw(t, "base")}
		accounts[u.ID] = u
		if rapid.Bool().Draw(t, "declared") {
			m := ownership.Member{Email: u.Email}
			if rapid.Bool().Draw(t, "leads") {
				m.Roles = []string{"manager"}
			}
			d.Members = append(d.Members, m)
		}
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			directory = append(directory, u)
		}
		if o.TargetID != "" && rapid.Bool().Draw(t, "present") {
			role := rapid.SampledFrom([]ownership.Role{ownership.Manager, ownership.Responder, ownership.Observer}).Draw(t, "role")
			o.Members = append(o.Members, ownership.ObservedMember{User: u, Role: role})
		}
	}
	return d, o, directory, accounts
}

// Applying a plan leaves nothing to change, every change shows, nobody unmatched loses a place, and a prefix of the plan
// never has fewer members than it began with until the removals start.
func TestPlan_AppliedConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o, directory, accounts := genTeam(t)
		p := planOf(d, o, directory...)
		now := o
		removing := false
		for _, c := range p.Changes {
			before := len(now.Members)
			now = apply(now, c, accounts)
			if !now.Shows(c) {
				t.Fatalf("%s does not show after it was applied", c.ID)
			}
			removing = removing || c.Kind == ownership.RemoveMember
			if !removing && len(now.Members) < before {
				t.Fatalf("%s removed somebody before the removals", c.ID)
			}
			if removing && c.Kind != ownership.RemoveMember {
				t.Fatalf("%s comes after a removal", c.ID)
			}
		}
		if len(now.Members) != p.Remaining() {
			t.Fatalf("plan says %d remain, %d do", p.Remaining(), len(now.Members))
		}
		again := planOf(d, now, directory...)
		if !again.Empty() {
			t.Fatalf("not converged: %s", cmp.Diff([]string{}, changeIDs(again)))
		}
		for _, i := range p.Issues {
			if i.BlocksRemovals && p.Count(ownership.RemoveMember) > 0 {
				t.Fatalf("removes although %s %s", i.Kind, i.EntityRef)
			}
		}
	})
}

func TestPlan_SameInput_SamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o, directory, _ := genTeam(t)
		if diff := cmp.Diff(planOf(d, o, directory...), planOf(d, o, directory...)); diff != "" {
			t.Fatal(diff)
		}
	})
}
