package org_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// FuzzDecode: a document is refused with the field that is wrong, or it describes two whole sides: every member exists,
// nobody is in a team twice, no id is given twice, and written down it is the same document again.
func FuzzDecode(f *testing.F) {
	example, err := os.ReadFile("example.json")
	require.NoError(f, err)
	for _, document := range []string{
		``, `null`, `[]`, `{}`, `{"people":["a"],"teams":[]} x`, `{"people":null,"teams":[null]}`, `{"peeple":[]}`, string(example),
		`{"people":["a",{"handle":"b","pagerduty":{"role":"admin","second_email":"B@x.y"}},{"handle":"c","pagerduty":{"absent":true}}],
		"teams":[{"tag":"t","org":"o","name":"n","maintainers":["a"],"members":["b"],"custom_data":{"k":[1]}}],
		"pagerduty":{"teams":{"t":{"id":"P123456","missing":["a"],"extra":{"c":"manager"},"escalation_policies":[{"name":"p","users":["b"],"schedules":[{"name":"s","users":["b"]}]}]}},
		"extra":[{"name":"n","members":{"a":"observer"}}]}}`,
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		o, err := org.Decode(strings.NewReader(string(document)))
		if err != nil {
			wrong, ok := fault.As(err)
			require.True(t, ok && wrong.Kind == fault.Invalid && len(wrong.Violations) == 1, "%v", err)
			return
		}
		ids := map[string]bool{}
		once := func(id string) {
			require.False(t, ids[id], "%q is there twice", id)
			ids[id] = true
		}
		for _, team := range o.Declared() {
			once(team.ID)
			seen := map[string]bool{}
			for _, m := range team.Members {
				require.False(t, seen[m.ID], "%q is in %s twice", m.ID, team.Tag)
				seen[m.ID] = true
			}
		}
		side := o.Observed()
		users := map[string]bool{}
		for _, u := range side.Users {
			once(u.ID)
			users[u.ID] = true
		}
		for _, team := range side.Teams {
			once(team.ID)
			seen := map[string]bool{}
			for _, m := range team.Members {
				require.True(t, users[m.UserID], "%q is nobody", m.UserID)
				require.False(t, seen[m.UserID], "%q is in %s twice", m.UserID, team.Name)
				seen[m.UserID] = true
			}
		}
		written, err := json.Marshal(o)
		require.NoError(t, err)
		again, err := org.Decode(strings.NewReader(string(written)))
		require.NoError(t, err, "%s", written)
		require.Equal(t, o.Declared(), again.Declared())
		require.Equal(t, side, again.Observed())
	})
}
