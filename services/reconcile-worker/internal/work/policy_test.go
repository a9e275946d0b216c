package work_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// rule is a policy with one rule of the company's own.
func rule(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	text := "package nthlayer.rules.mine\n\nviolation contains {\"verdict\": \"deny\", \"reason\": reason} if {\n" + body + "\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.rego"), []byte(text), 0o600))
	return dir
}

const critical = `	"critical" in input.team.groups
	reason := sprintf("%s is critical", [input.team.name])`

func TestHandle_RuleGoesByGroups_SourceSaysWhichTheTeamIsIn(t *testing.T) {
	r := startBy(t, rule(t, critical), nil)
	r.declare(`"parent":null`, `"parent":null,"groups":["europe","critical"]`)
	id := r.accept()
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Failed, run.Status)
	require.Equal(t, "PLAN_DENIED", run.ErrorReason)
	require.Contains(t, run.ErrorMessage, "payments is critical")
	require.Empty(t, applied(r.trail(id)))
	require.Equal(t, map[string]string{"ann": "manager", "dan": "responder"}, r.members())

	r.declare(`"parent":null`, `"parent":null,"groups":["europe"]`)
	id = r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
}

// A plan on which nobody decided is not applied: neither where a rule fails, nor where what it goes by cannot be read.
func TestHandle_NothingIsDecided_NothingIsApplied(t *testing.T) {
	failing := rule(t, `	reason := sprintf("%d", [to_number(input.team.id)])`)
	for name, c := range map[string]struct {
		rules string
		fault control.Fault
	}{
		"a rule fails":            {rules: failing},
		"groups cannot be read":   {rules: rule(t, critical), fault: control.Fault{Match: "GET /api/v1/catalog/payments", Status: 500}},
		"groups are not answered": {rules: rule(t, critical), fault: control.Fault{Match: "GET /api/v1/catalog/payments", Status: 200, Body: json.RawMessage(`{"id":"x","tag":"payments"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			r := startBy(t, c.rules, nil)
			if c.fault.Match != "" {
				require.NoError(t, r.cortex.Control().Inject(c.fault))
			}
			id := r.accept()
			for range 3 {
				r.due()
				r.handle(id)
			}
			require.NotEqual(t, store.Succeeded, r.run(id).Status)
			require.Empty(t, applied(r.trail(id)))
			require.Equal(t, map[string]string{"ann": "manager", "dan": "responder"}, r.members())
		})
	}
}
