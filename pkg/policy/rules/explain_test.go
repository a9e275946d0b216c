package rules_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

func TestExplain_SaysWhatEachRuleFoundAndWentBy(t *testing.T) {
	bundle, err := rules.Load(files{
		"friends.rego": "# METADATA\n# scope: package\n# title: Nobody's friends\n# description: Stay away.\n" + own,
		"params.yaml":  "{friends: {unwanted: new-responder0@example.com}, removals: {floor: 5}, staffing: {tiers: {default: {approvals: 2}}}}",
	}.bytes())
	require.NoError(t, err)
	in := asks(team{responders: 8}, team{responders: 6}, team{responders: 1})
	got, err := bundle.Explain(t.Context(), in, "friends", "roles")
	require.NoError(t, err)

	decided, err := engine(t, nil).Decide(t.Context(), in)
	require.NoError(t, err)
	require.NotEqual(t, decided, got.Decision, "control: the company's bundle decides, and not the shipped one")
	require.Equal(t, policy.Deny, got.Decision.Verdict)

	explained := map[string]rules.Explained{}
	var names []string
	for _, e := range got.Rules {
		names = append(names, e.Name)
		explained[e.Name] = e
	}
	require.Equal(t, []string{"actors", "empty_team", "freeze", "friends", "protected_teams", "removals", "roles", "staffing"}, names)

	friends := explained["friends"]
	require.Equal(t, []string{"Nobody's friends", "Stay away."}, []string{friends.Title, friends.Description})
	require.Equal(t, map[string]any{"friends.unwanted": "new-responder0@example.com"}, friends.Parameters)
	require.Equal(t, got.Decision.Violations[:1], friends.Violations)
	require.Contains(t, friends.Trace, "friends.rego:")
	require.Contains(t, friends.Trace, "new-responder0@example.com")

	removals := explained["removals"]
	require.Len(t, removals.Violations, 1)
	require.Equal(t, 2, removals.Violations[0].By.Count)
	require.Equal(t, 5, removals.Parameters["removals"].(map[string]any)["floor"])
	require.Contains(t, removals.Parameters, "staffing.tiers", "by way of the library")
	require.Empty(t, removals.Trace)

	require.Empty(t, explained["roles"].Violations)
	require.NotNil(t, explained["roles"].Violations, "an empty list in JSON")
	require.Contains(t, explained["roles"].Trace, "Fail", "why it found nothing")
	require.Empty(t, explained["empty_team"].Parameters)

	_, err = bundle.Explain(t.Context(), in, "friend")
	require.ErrorContains(t, err, "there is no rule friend; there are actors, ")
}

func TestExplain_AlwaysSaysTheSame(t *testing.T) {
	bundle, err := rules.Shipped()
	require.NoError(t, err)
	in := asks(team{1, 9, 3}, team{1, 5, 1}, team{1, 1, 1})
	first, err := bundle.Explain(t.Context(), in, "removals", "staffing", "freeze")
	require.NoError(t, err)
	for range 5 {
		again, err := bundle.Explain(t.Context(), in, "removals", "staffing", "freeze")
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
}
