package rules_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

const ownTests = `package nthlayer.rules.friends_test

import data.nthlayer.rules.friends

someone(email) := {"after": {"members": [{"user_id": "P1", "email": email, "role": "manager"}]}}

test_unwanted if {
	count(friends.violation) == 1 with input as someone("mallory@example.com")
}

test_wanted if {
	count(friends.violation) == 0 with input as someone("ann@example.com")
}

test_other_parameter if {
	count(friends.violation) == 1 with input as someone("bob@example.com") with data.nthlayer.params.friends.unwanted as "bob@example.com"
}

test_wrong if {
	count(friends.violation) == 7 with input as someone("ann@example.com")
}
`

func TestBundle_Test_SaysWhatPassedAndWhatDidNot(t *testing.T) {
	bundle, err := rules.Load(files{"friends.rego": own, "friends_test.rego": ownTests, "params.yaml": "friends: {unwanted: mallory@example.com}"}.bytes())
	require.NoError(t, err)
	tested, err := bundle.Test(t.Context())
	require.NoError(t, err)
	var names []string
	for _, one := range tested {
		names = append(names, one.Name)
		require.Equal(t, one.Name != "friends_test.test_wrong", one.Passed, one)
		require.Equal(t, one.Passed, one.Why == "")
	}
	require.Equal(t, []string{"friends_test.test_other_parameter", "friends_test.test_unwanted", "friends_test.test_wanted", "friends_test.test_wrong"}, names)
}

func TestParseInput_RoundTrip(t *testing.T) {
	in := asks(team{2, 3, 1}, team{1, 1, 1}, team{1, 0, 1})
	text, err := json.Marshal(in)
	require.NoError(t, err)
	got, err := rules.ParseInput(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Equal(t, in, got)
}

func TestParseInput_WrongInput_NamesTheField(t *testing.T) {
	for name, c := range map[string]struct{ old, now, want string }{
		"unknown field": {`"groups":[]`, `"groups":[],"tier":1`, "input: team"},
		"left out":      {`"groups":[]`, `"groups_":[]`, "input: team"},
		"wrong kind":    {`"groups":[]`, `"groups":"tier-1"`, "input: team.groups"},
		"no JSON":       {`"groups":[]`, `"groups":`, "no JSON"},
		"too large":     {`"groups":[]`, `"groups":["` + strings.Repeat("x", 16<<20) + `"]`, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(asks(team{1, 3, 0}, team{}, team{}))
			require.NoError(t, err)
			require.Contains(t, string(text), c.old)
			_, err = rules.ParseInput(strings.NewReader(strings.Replace(string(text), c.old, c.now, 1)))
			require.ErrorContains(t, err, c.want)
		})
	}
}
