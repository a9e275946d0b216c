package ownership_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

var anyRole = rapid.SampledFrom([]ownership.Role{ownership.Manager, ownership.Responder, ownership.Observer})

func person(i int) ownership.User {
	return ownership.User{ID: fmt.Sprintf("P%d", i), Email: fmt.Sprintf("p%d@example.org", i)}
}

// anyTeam is a team with some of ten people.
func anyTeam(t *rapid.T, label string) ownership.Observed {
	o := ownership.Observed{
		TargetID: "T", Name: rapid.SampledFrom([]string{"payments", "billing"}).Draw(t, label+" name"),
		Description: rapid.SampledFrom([]string{"", "pays", "bills"}).Draw(t, label+" description"),
	}
	for i := range 10 {
		if rapid.Bool().Draw(t, fmt.Sprintf("%s has %d", label, i)) {
			o.Members = append(o.Members, ownership.ObservedMember{User: person(i), Role: anyRole.Draw(t, "role")})
		}
	}
	return o
}

// towards is the plan that makes one team the other.
func towards(from, to ownership.Observed) ownership.Plan {
	d := ownership.Desired{TeamID: "payments", Name: to.Name, Description: to.Description}
	var wanted []ownership.Wanted
	for _, m := range to.Members {
		d.Members = append(d.Members, ownership.Member{Email: m.User.Email})
		wanted = append(wanted, ownership.Wanted(m))
	}
	return ownership.Diff(d, from, wanted)
}

// applied is the team after changes.
func applied(o ownership.Observed, changes []ownership.Change) ownership.Observed {
	o.Members = slices.Clone(o.Members)
	for _, c := range changes {
		at := slices.IndexFunc(o.Members, func(m ownership.ObservedMember) bool { return m.User.ID == c.UserID })
		switch c.Kind {
		case ownership.UpdateTeam:
			if c.After.Name != "" {
				o.Name = c.After.Name
			}
			if c.After.Description != "" {
				o.Description = c.After.Description
			}
		case ownership.AddMember:
			o.Members = append(o.Members, ownership.ObservedMember{User: ownership.User{ID: c.UserID, Email: c.After.Email}, Role: c.After.Role})
		case ownership.ChangeRole:
			o.Members[at].Role = c.After.Role
		case ownership.RemoveMember:
			o.Members = slices.Delete(o.Members, at, at+1)
		}
	}
	return o
}

func roles(o ownership.Observed) map[string]ownership.Role {
	found := map[string]ownership.Role{}
	for _, m := range o.Members {
		found[m.User.ID] = m.Role
	}
	return found
}

// What was done, in one round or two, is undone: everybody is what they were. Then nothing is left to undo.
func TestInvert_WhatWasDone_IsUndone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, between, after := anyTeam(t, "before"), anyTeam(t, "between"), anyTeam(t, "after")
		first := towards(before, between)
		middle := applied(before, first.Changes)
		second := towards(middle, after)
		now := applied(middle, second.Changes)
		done := slices.Concat(first.Changes, second.Changes)

		undo := ownership.Invert("payments", now, done)
		if len(undo.Issues) > 0 {
			t.Fatalf("issues: %v", undo.Issues)
		}
		back := applied(now, undo.Changes)
		require.Equal(t, roles(before), roles(back))
		require.Equal(t, before.Name, back.Name)
		if before.Description != "" {
			require.Equal(t, before.Description, back.Description)
		}
		require.Empty(t, ownership.Invert("payments", back, done).Changes)
	})
}

// Whatever was changed since stays as it is, and is named.
func TestInvert_WhatWasChangedSince_IsLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after, since := anyTeam(t, "before"), anyTeam(t, "after"), anyTeam(t, "since")
		plan := towards(before, after)
		left := roles(applied(before, plan.Changes))
		was, now := roles(before), roles(since)
		undo := ownership.Invert("payments", since, plan.Changes)
		back := roles(applied(since, undo.Changes))
		touched := map[string]bool{}
		for _, c := range plan.Changes {
			touched[c.UserID] = true
		}
		for i := range 10 {
			id := person(i).ID
			switch {
			case !touched[id] || now[id] != left[id]:
				require.Equal(t, now[id], back[id], "%s was not the run's to undo", id)
			default:
				require.Equal(t, was[id], back[id], id)
			}
			conflict := touched[id] && now[id] != left[id] && now[id] != was[id]
			require.Equal(t, conflict, slices.ContainsFunc(undo.Issues, func(i ownership.Issue) bool {
				return i.Kind == ownership.ChangedSince && i.EntityRef == "person:"+person(int(id[1]-'0')).Email
			}), id)
		}
	})
}

func TestInvert_CreatedTeam_IsNotDeleted(t *testing.T) {
	create := ownership.Change{ID: "create_team:team:payments", Kind: ownership.CreateTeam, EntityRef: "team:payments", After: &ownership.Entity{Name: "payments"}}
	undo := ownership.Invert("payments", ownership.Observed{TargetID: "T", Name: "payments"}, []ownership.Change{create})
	require.Empty(t, undo.Changes)
	require.Equal(t, ownership.NotUndone, undo.Issues[0].Kind)
}

func TestSelect_KeepsWhatWasChosen_AndLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := towards(anyTeam(t, "before"), anyTeam(t, "after"))
		words := []string{"add_member", "change_role", "remove_member", "update_team"}
		for _, c := range plan.Changes {
			words = append(words, c.ID)
		}
		some := rapid.SliceOfN(rapid.SampledFrom(words), 0, 4)
		s := ownership.Selection{Only: some.Draw(t, "only"), Exclude: some.Draw(t, "exclude")}
		require.NoError(t, s.Check())
		chosen, err := plan.Select(s)
		require.NoError(t, err)
		require.ElementsMatch(t, plan.Changes, slices.Concat(chosen.Changes, chosen.LeftOut))
		names := func(words []string, c ownership.Change) bool {
			return slices.Contains(words, c.ID) || slices.Contains(words, string(c.Kind))
		}
		for _, c := range chosen.Changes {
			require.True(t, (len(s.Only) == 0 || names(s.Only, c)) && !names(s.Exclude, c))
		}
		if len(chosen.LeftOut) > 0 {
			require.Equal(t, ownership.OutOfSync, chosen.SyncStatus())
		}
	})
}

func TestSelect_WrongWords_AreRefused(t *testing.T) {
	for _, word := range []string{"", "adds", "remove", "person:ann@example.org", "ADD_MEMBER"} {
		require.Error(t, ownership.Selection{Only: []string{word}}.Check(), word)
		require.Error(t, ownership.Selection{Exclude: []string{word}}.Check(), word)
	}
	plan := towards(ownership.Observed{}, ownership.Observed{Name: "payments", Members: []ownership.ObservedMember{{User: person(1), Role: ownership.Responder}}})
	_, err := plan.Select(ownership.Selection{Only: []string{"add_member"}})
	require.ErrorContains(t, err, "create_team")
	_, err = plan.Select(ownership.Selection{Exclude: []string{"remove_member:person:x@example.org"}})
	require.ErrorContains(t, err, "the plan has no change remove_member:person:x@example.org")
}

// The hash is of the states too: nobody's approval of removing 1 of 10 is one of removing 1 of 2.
func TestHash_OtherMembersBeside_IsAnother(t *testing.T) {
	observed := ownership.Observed{TargetID: "T", Members: []ownership.ObservedMember{{User: person(1), Role: ownership.Responder}, {User: person(2), Role: ownership.Responder}}}
	d := ownership.Desired{TeamID: "payments", Members: []ownership.Member{{Email: "p1@example.org"}}}
	basis := ownership.Basis(d, observed)
	swapped := observed
	swapped.Members = []ownership.ObservedMember{observed.Members[1], observed.Members[0]}
	require.Equal(t, basis, ownership.Basis(d, swapped), "the order tells nothing")
	more := observed
	more.Members = append(slices.Clone(observed.Members), ownership.ObservedMember{User: person(3), Role: ownership.Responder})
	require.NotEqual(t, basis, ownership.Basis(d, more))
	require.NotEqual(t, basis, ownership.Basis(ownership.Desired{TeamID: "payments"}, observed))
	require.NotEqual(t, ownership.Plan{Basis: basis}.Hash(), ownership.Plan{Basis: "x"}.Hash())
}
