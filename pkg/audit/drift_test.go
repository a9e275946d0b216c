package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// fleetTeam is a team of the source, the team that it stands for, and the rotation of that.
type fleetTeam struct {
	desired  ownership.Desired
	observed ownership.Observed // TargetID is empty where there is none
	users    []ownership.User
	rotation ownership.Rotation
}

func genTeam(t *rapid.T) fleetTeam {
	names := rapid.SampledFrom([]string{"", "a/t", "a/u"})
	texts := rapid.SampledFrom([]string{"", "pays", "pays more"})
	bases := rapid.SampledFrom([]ownership.BaseRole{ownership.BaseUser, ownership.BaseAdmin, ownership.BaseReadOnlyUser, ownership.BaseObserver})
	roles := rapid.SampledFrom([]ownership.Role{ownership.Manager, ownership.Responder, ownership.Observer})
	f := fleetTeam{rotation: ownership.Rotation{}}
	f.desired = ownership.Desired{TeamID: "t", Name: names.Draw(t, "name"), Description: texts.Draw(t, "text"), Members: []ownership.Member{}}
	if rapid.IntRange(0, 4).Draw(t, "exists") > 0 {
		f.observed = ownership.Observed{TargetID: "PTEAM", Name: names.Filter(func(n string) bool { return n != "" }).Draw(t, "named"), Description: texts.Draw(t, "described")}
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "people") {
		u := ownership.User{ID: fmt.Sprint("P", i), Email: fmt.Sprintf("p%d@example.org", rapid.IntRange(0, 8).Draw(t, "address")), Base: bases.Draw(t, "base")}
		if rapid.Bool().Draw(t, "declared") {
			m := ownership.Member{Email: rapid.SampledFrom([]string{u.Email, strings.ToUpper(u.Email), u.Email, u.Email, ""}).Draw(t, "spelled"), Name: u.ID}
			if rapid.Bool().Draw(t, "leads") {
				m.Roles = []string{"manager"}
			}
			f.desired.Members = append(f.desired.Members, m)
		}
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			f.users = append(f.users, u)
		}
		if f.observed.TargetID != "" && rapid.Bool().Draw(t, "present") {
			f.observed.Members = append(f.observed.Members, ownership.ObservedMember{User: u, Role: roles.Draw(t, "role")})
			if rapid.IntRange(0, 4).Draw(t, "paged") == 0 {
				f.rotation[u.ID] = []string{"EP1"}
			}
		}
	}
	return f
}

// plan is what a run would do, by the functions that team.reconcile is made of.
func (f fleetTeam) plan() ownership.Plan {
	unmatched := ownership.Unmatched(f.desired, f.observed)
	lookedUp := slices.DeleteFunc(slices.Clone(f.users), func(u ownership.User) bool { return !slices.Contains(unmatched, u.Email) })
	wanted, issues := ownership.Match(f.desired, f.observed, lookedUp, ownership.DefaultRoleMap())
	p := ownership.Diff(f.desired, f.observed, wanted)
	p.Issues = issues
	return p.HoldRemovals(f.rotation)
}

// subject is what an audit is given, the members known or to be read.
func (f fleetTeam) subject(fresh bool) audit.Subject {
	s := audit.Subject{Desired: f.desired, Listed: true}
	if f.observed.TargetID == "" {
		return s
	}
	k := audit.Known{ID: f.observed.TargetID, Name: f.observed.Name, Description: f.observed.Description, Rotation: f.rotation, Fresh: fresh}
	if fresh {
		k.Members = f.observed.Members
	}
	s.Link, s.Targets = k.ID, []audit.Known{k}
	return s
}

func (f fleetTeam) audit(t *rapid.T, fresh bool) *audit.State {
	p := &platforms{users: f.users}
	if f.observed.TargetID != "" {
		p.teams = []ownership.Observed{f.observed}
	}
	s, err := newFlow(t, p, true).Audit(t.Context(), f.subject(fresh))
	require.NoError(t, err)
	return s
}

func found(s *audit.State, category string) []string {
	list := []string{}
	for _, f := range s.Findings {
		if audit.CategoryOf(f.Kind) == category {
			list = append(list, f.Kind+":"+f.EntityRef)
		}
	}
	return list
}

// sorted puts the removals of two accounts with one address into an order.
func sorted(changes []ownership.Change) []ownership.Change {
	slices.SortFunc(changes, func(a, b ownership.Change) int { return strings.Compare(a.ID+a.UserID, b.ID+b.UserID) })
	return changes
}

// An audit finds as drift what a run would change and what it would change if it dared, and nothing else; by its status a
// run and an audit agree. Whether the members were known or read makes no difference.
func TestAudit_FindsAsDriftWhatARunWouldChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genTeam(t)
		if f.observed.TargetID == "" && f.desired.Name == "" {
			t.Skip("nothing to compare with")
		}
		want := f.plan()
		var drift, others []string
		for _, c := range want.Changes {
			drift = append(drift, c.ID)
		}
		for _, i := range want.Issues {
			if i.Kind == ownership.RemovalHeld {
				drift = append(drift, string(i.Kind)+":"+i.EntityRef)
			} else {
				others = append(others, string(i.Kind)+":"+i.EntityRef)
			}
		}
		for _, fresh := range []bool{true, false} {
			s := f.audit(t, fresh)
			if diff := cmp.Diff(sorted(want.Changes), sorted(s.Plan.Changes)); diff != "" {
				t.Fatalf("another plan than a run's: %s", diff)
			}
			require.ElementsMatch(t, drift, found(s, audit.Drift))
			structure := slices.DeleteFunc(found(s, audit.Structure), func(id string) bool { return strings.HasPrefix(id, audit.SinglePersonTeam) })
			require.ElementsMatch(t, others, append(found(s, audit.Identity), structure...))
			require.Equal(t, want.SyncStatus(), s.Plan.SyncStatus())
			require.Equal(t, len(f.observed.Members) == 1, slices.Contains(kinds(s), audit.SinglePersonTeam))
		}
	})
}

// Where both sides agree nothing is found: a target that is as its team is declared, of any size but one.
func TestAudit_BothSidesAgree_FindsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fleetTeam{desired: declares("a/t")}
		f.desired.Description = rapid.SampledFrom([]string{"", "pays"}).Draw(t, "text")
		f.observed = ownership.Observed{TargetID: "PTEAM", Name: "a/t", Description: f.desired.Description}
		n := rapid.IntRange(0, 10).Filter(func(n int) bool { return n != 1 }).Draw(t, "people")
		for i := range n {
			u := user(fmt.Sprint("p", i))
			m, role := ownership.Member{Email: strings.ToUpper(u.Email)}, ownership.Responder
			if rapid.Bool().Draw(t, "leads") {
				m.Roles, role = []string{"Manager"}, ownership.Manager
			}
			f.desired.Members = append(f.desired.Members, m)
			f.observed.Members = append(f.observed.Members, ownership.ObservedMember{User: u, Role: role})
		}
		s := f.audit(t, rapid.Bool().Draw(t, "fresh"))
		if len(s.Findings) > 0 {
			t.Fatalf("found %v", s.Findings)
		}
		require.Equal(t, ownership.InSync, s.Plan.SyncStatus())
	})
}

func TestDescribe_SaysOfEachChangeHowTheTargetDiffers(t *testing.T) {
	ann := "person:ann@example.org"
	for want, c := range map[string]ownership.Change{
		"ann@example.org is declared as manager and is not a member on the target":                                               {Kind: ownership.AddMember, EntityRef: ann, After: &ownership.Entity{Role: ownership.Manager}},
		"ann@example.org is observer on the target and is declared as manager":                                                   {Kind: ownership.ChangeRole, EntityRef: ann, Before: &ownership.Entity{Role: ownership.Observer}, After: &ownership.Entity{Role: ownership.Manager}},
		"ann@example.org is observer on the target and is not declared":                                                          {Kind: ownership.RemoveMember, EntityRef: ann, Before: &ownership.Entity{Role: ownership.Observer}},
		`the target has no team "A"`:                                                                                             {Kind: ownership.CreateTeam, EntityRef: "team:t", After: &ownership.Entity{Name: "A"}},
		`the team is named "B" on the target and is declared as "A", and has another description on the target than is declared`: {Kind: ownership.UpdateTeam, EntityRef: "team:t", Before: &ownership.Entity{Name: "B"}, After: &ownership.Entity{Name: "A", Description: "x"}},
		"the target differs: something_new":                                                                                      {Kind: "something_new"},
	} {
		require.Equal(t, want, audit.Describe(c))
	}
}
