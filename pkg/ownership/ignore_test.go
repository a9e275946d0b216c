package ownership_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

func ignoring(kind ownership.IgnoreKind, value string) ownership.IgnoreRule {
	return ownership.IgnoreRule{
		ID: string(kind) + " " + value, Kind: kind, Value: value, Reason: "by hand", Owner: "sre@example.org",
		ExpiresAt: time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC),
	}
}

func ofTeam(teamID string, r ownership.IgnoreRule) ownership.IgnoreRule {
	r.TeamID = teamID
	return r
}

// mixed is a team with a difference of each kind: a name, an add, a raise, a lower, an observer who was raised, one who
// shall leave, and a person without an account.
func mixed(rules ...ownership.IgnoreRule) ownership.Plan {
	d := desired(declared("new"), declared("up", "manager"), declared("down"), declared("watcher"), declared("lost"))
	o := observed(in("up", ownership.Responder), in("down", ownership.Manager), in("watcher", ownership.Observer), in("old", ownership.Observer))
	o.Name = "payments"
	wanted, issues := ownership.Match(d, o, []ownership.User{user("new")}, ownership.DefaultRoleMap())
	p := ownership.Diff(d, o, wanted)
	p.Issues = issues
	return p.Ignore(rules)
}

func TestIgnore_HidesWhatTheRuleNames(t *testing.T) {
	const (
		name, lost         = "update_team team:payments", "user_not_found person:lost@example.org"
		add, up, down      = "add_member person:new@example.org", "change_role person:up@example.org", "change_role person:down@example.org"
		watcher, removeOld = "change_role person:watcher@example.org", "remove_member person:old@example.org"
	)
	everything := []string{add, down, up, watcher, removeOld, name, lost}
	for title, c := range map[string]struct {
		rule ownership.IgnoreRule
		want []string
	}{
		"a person who would be added":            {ignoring(ownership.IgnorePerson, "new@example.org"), []string{add}},
		"a person, spelled otherwise":            {ignoring(ownership.IgnorePerson, " New@Example.ORG"), []string{add}},
		"a person who would be removed":          {ignoring(ownership.IgnorePerson, "old@example.org"), []string{removeOld}},
		"a person whose role would change":       {ignoring(ownership.IgnorePerson, "down@example.org"), []string{down}},
		"a person by the account":                {ignoring(ownership.IgnorePerson, "Pold"), []string{removeOld}},
		"a person who cannot be matched":         {ignoring(ownership.IgnorePerson, "lost@example.org"), []string{lost}},
		"somebody else":                          {ignoring(ownership.IgnorePerson, "eve@example.org"), nil},
		"part of an address":                     {ignoring(ownership.IgnorePerson, "ew@example.org"), nil},
		"observers: leaving, and being promoted": {ignoring(ownership.IgnoreRole, "observer"), []string{watcher, removeOld}},
		"responders: coming, going up and down":  {ignoring(ownership.IgnoreRole, "responder"), []string{add, down, up, watcher}},
		"managers":                               {ignoring(ownership.IgnoreRole, "manager"), []string{down, up}},
		"the team":                               {ignoring(ownership.IgnoreTeam, "payments"), everything},
		"a pattern of teams":                     {ignoring(ownership.IgnoreTeam, "pay*"), everything},
		"another team":                           {ignoring(ownership.IgnoreTeam, "pay"), nil},
		"this team's rule":                       {ofTeam("payments", ignoring(ownership.IgnorePerson, "new@example.org")), []string{add}},
		"another team's rule":                    {ofTeam("storage", ignoring(ownership.IgnorePerson, "new@example.org")), nil},
		"another team's rule for all of it":      {ofTeam("storage", ignoring(ownership.IgnoreTeam, "payments")), nil},
	} {
		t.Run(title, func(t *testing.T) {
			p := mixed(c.rule)
			var hidden []string
			for _, i := range p.Ignored {
				hidden = append(hidden, i.Kind()+" "+i.EntityRef())
				require.Equal(t, c.rule.ID, i.RuleID)
				require.Equal(t, "ignored until 2027-01-31: by hand (rule "+c.rule.ID+", ask sre@example.org)", i.Why())
			}
			slices.Sort(hidden)
			require.Equal(t, c.want, hidden)
		})
	}
}

func TestIgnore_Everything_IsInSyncAndTheFirstRuleIsNamed(t *testing.T) {
	p := mixed(ignoring(ownership.IgnoreTeam, "payments"), ignoring(ownership.IgnoreRole, "observer")).HoldRemovals(nil)
	require.Equal(t, ownership.InSync, p.SyncStatus())
	require.Len(t, p.Ignored, 7)
	for _, i := range p.Ignored {
		require.Equal(t, "team payments", i.RuleID)
	}
	require.Equal(t, ownership.OutOfSync, mixed().HoldRemovals(nil).SyncStatus(), "control: without the rule")
}

func TestIgnore_PatternsStopAtSlashes(t *testing.T) {
	for value, covers := range map[string]bool{"acme/*": true, "acme/?ay": true, "*": false, "acme*": false, "a*/pay": true} {
		require.Equal(t, covers, ignoring(ownership.IgnoreTeam, value).Covers("acme/pay"), value)
	}
}

// Whoever cannot be matched may be any of those who would be removed. That nobody wants to hear of it changes nothing about that.
func TestIgnore_UnmatchedPersonIsIgnored_RemovalsStayHeld(t *testing.T) {
	d, o := desired(declared("ann"), declared("bob")), observed(in("ann", ownership.Responder), in("eve", ownership.Responder))
	wanted, issues := ownership.Match(d, o, nil, ownership.DefaultRoleMap())
	p := ownership.Diff(d, o, wanted)
	p.Issues = issues

	held := p.Ignore([]ownership.IgnoreRule{ignoring(ownership.IgnorePerson, "bob@example.org")}).HoldRemovals(nil)
	require.Empty(t, held.Changes)
	require.Equal(t, []ownership.IssueKind{ownership.RemovalHeld}, issueKinds(held))
	require.Contains(t, held.Issues[0].Message, "bob@example.org")
	require.Len(t, held.Ignored, 1)
	require.Equal(t, ownership.UserNotFound, held.Ignored[0].Issue.Kind)
	require.Equal(t, ownership.OutOfSync, held.SyncStatus())

	// The control: where the hidden issue does not block, eve leaves, who may be bob.
	forgotten := p.Ignore([]ownership.IgnoreRule{ignoring(ownership.IgnorePerson, "bob@example.org")})
	forgotten.Ignored = nil
	require.Equal(t, []string{"remove_member:person:eve@example.org"}, changeIDs(forgotten.HoldRemovals(nil)))

	both := p.Ignore([]ownership.IgnoreRule{
		ignoring(ownership.IgnorePerson, "bob@example.org"), ignoring(ownership.IgnorePerson, "eve@example.org"),
	}).HoldRemovals(nil)
	require.Equal(t, ownership.InSync, both.SyncStatus())
}

func TestIgnoreRule_Check(t *testing.T) {
	for title, c := range map[string]struct {
		rule  ownership.IgnoreRule
		field string
	}{
		"an address":                     {ignoring(ownership.IgnorePerson, "ann@example.org"), ""},
		"an account":                     {ignoring(ownership.IgnorePerson, "PABC123"), ""},
		"a name":                         {ignoring(ownership.IgnorePerson, "Ann Example"), "value"},
		"half an address":                {ignoring(ownership.IgnorePerson, "ann@"), "value"},
		"nobody":                         {ignoring(ownership.IgnorePerson, ""), "value"},
		"a role":                         {ignoring(ownership.IgnoreRole, "observer"), ""},
		"no role":                        {ignoring(ownership.IgnoreRole, "boss"), "value"},
		"teams":                          {ignoring(ownership.IgnoreTeam, "sandbox/*"), ""},
		"every team":                     {ignoring(ownership.IgnoreTeam, "*"), "value"},
		"every team, with slashes":       {ignoring(ownership.IgnoreTeam, "*/?*"), "value"},
		"a class of characters":          {ignoring(ownership.IgnoreTeam, "[ab]"), "value"},
		"a team's rule for itself":       {ofTeam("payments", ignoring(ownership.IgnoreTeam, "payments")), ""},
		"a team's rule for another team": {ofTeam("payments", ignoring(ownership.IgnoreTeam, "storage")), "value"},
		"no kind":                        {ignoring("", "x"), "kind"},
	} {
		t.Run(title, func(t *testing.T) {
			field, problem := c.rule.Check()
			require.Equal(t, c.field, field)
			require.Equal(t, field == "", problem == "")
		})
	}
}

// Whatever the rules: nothing is lost, nothing is new, and what is still to be done is part of what was to be done before.
func TestIgnore_OnlyEverTakesAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o, directory, _ := genTeam(t)
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ownership.IgnoreRule {
			return ofTeam(rapid.SampledFrom([]string{"", "t", "storage"}).Draw(t, "team"), rapid.SampledFrom([]ownership.IgnoreRule{
				ignoring(ownership.IgnorePerson, "p00@example.org"), ignoring(ownership.IgnorePerson, "P01"), ignoring(ownership.IgnoreRole, "observer"),
				ignoring(ownership.IgnoreRole, "manager"), ignoring(ownership.IgnoreTeam, "?"),
				ignoring(ownership.IgnoreTeam, "storage"),
			}).Draw(t, "rule"))
		}), 0, 4).Draw(t, "rules")

		wanted, issues := ownership.Match(d, o, directory, ownership.DefaultRoleMap())
		before := ownership.Diff(d, o, wanted)
		before.Issues = issues
		after := before.Ignore(rules)

		kept, hidden := changeIDs(after), []string{}
		var hiddenIssues []ownership.Issue
		for _, i := range after.Ignored {
			if i.Issue != nil {
				hiddenIssues = append(hiddenIssues, *i.Issue)
				continue
			}
			hidden = append(hidden, i.Change.ID)
		}
		require.ElementsMatch(t, changeIDs(before), slices.Concat(kept, hidden))
		require.ElementsMatch(t, before.Issues, slices.Concat(after.Issues, hiddenIssues))
		require.True(t, inOrder(changeIDs(before), kept), "what is left stays in its order")

		all, left := before.HoldRemovals(nil), after.HoldRemovals(nil)
		require.Subset(t, changeIDs(all), changeIDs(left), "a removal that was held goes on being held")
		if all.SyncStatus() == ownership.InSync {
			require.Equal(t, ownership.InSync, left.SyncStatus())
		}
	})
}

func inOrder(all, some []string) bool {
	i := 0
	for _, id := range all {
		if i < len(some) && some[i] == id {
			i++
		}
	}
	return i == len(some)
}
