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

// params is a policy that overrides parameters of the shipped rules.
func params(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "params.yaml"), []byte(text), 0o600))
	return dir
}

// Removing people one by one takes no more of them away than removing them at once: what runs removed of late that nobody
// approved counts.
func TestHandle_ManySmallRuns_NeedApprovalLikeOneLargeRun(t *testing.T) {
	r := startBy(t, params(t, "removals: {floor: 1}"), nil)
	id := r.accept() // dan leaves
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)

	r.declare(`"members":["ben","cem"]`, `"members":["ben"]`)
	id = r.accept()
	r.handle(id)
	require.Equal(t, store.Awaiting, r.run(id).Status)
	require.Contains(t, r.run(id).Result.Decision.Reasons[0], "1 of them left in the last 24 hours by runs that nobody approved")
	require.Equal(t, declared, r.members())

	// Control: what was approved does not count.
	r.exec("UPDATE runs SET approved = true WHERE job_id <> $1", id)
	other := r.accept()
	r.handle(other)
	require.Equal(t, store.Succeeded, r.run(other).Status, r.run(other).ErrorMessage)
	require.Equal(t, map[string]string{"ann": "manager", "ben": "responder"}, r.members())
}

const frozen = "freeze: {windows: {always: {from: 2000-01-01T00:00:00Z, until: 2200-01-01T00:00:00Z}}}"

func TestHandle_Frozen_NothingIsAppliedUnlessARoleOverridesIt(t *testing.T) {
	r := startBy(t, params(t, frozen), nil)
	for _, request := range []store.Request{
		{Source: "cortex", Roles: []string{"admin"}},
		{Source: "cortex", Roles: []string{"operator"}, OverrideFreeze: "an outage"},
	} {
		run := r.run(r.ask(request))
		require.Equal(t, "PLAN_DENIED", run.ErrorReason)
		require.Contains(t, run.ErrorMessage, "changes are frozen until 2200-01-01T00:00:00Z (always)")
		require.Equal(t, untouched, r.members())
	}
	run := r.run(r.ask(store.Request{Source: "cortex", Roles: []string{"operator", "admin"}, OverrideFreeze: "an outage"}))
	require.Equal(t, store.Succeeded, run.Status, run.ErrorMessage)
	require.Equal(t, declared, r.members())
	require.Equal(t, "the freeze always until 2200-01-01T00:00:00Z is overridden by alice (admin): an outage", run.Result.Decision.Violations[0].Reason)
}

func TestHandle_ReservedTeam_GoesByWhoAsked(t *testing.T) {
	r := startBy(t, params(t, "actors: {reserved: {core: {teams: [payments], roles: [admin], subjects: [bob]}}}"), nil)
	run := r.run(r.ask(store.Request{Source: "cortex", Roles: []string{"operator"}}))
	require.Equal(t, "PLAN_DENIED", run.ErrorReason)
	require.Contains(t, run.ErrorMessage, "alice may not have this team changed")
	require.Equal(t, untouched, r.members())
	run = r.run(r.ask(store.Request{Source: "cortex", Roles: []string{"admin"}}))
	require.Equal(t, store.Succeeded, run.Status, run.ErrorMessage)
}
