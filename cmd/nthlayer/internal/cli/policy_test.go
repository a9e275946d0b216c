package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

const nightRule = `package nthlayer.rules.night

violation contains {"verdict": "require_approval", "reason": reason} if {
	some change in input.plan.changes
	change.before.email == data.nthlayer.params.night.lead
	reason := sprintf("%s leads the night shift", [change.before.email])
}
`

const nightTest = `package nthlayer.rules.night_test

import data.nthlayer.rules.night

test_lead if count(night.violation) == 1 with input as {"plan": {"changes": [{"before": {"email": "ann@example.org"}}]}}

test_others if count(night.violation) == 0 with input as {"plan": {"changes": [{"before": {"email": "ben@example.org"}}]}}
`

// policyDir writes a policy; files are names and texts.
func policyDir(t *testing.T, texts ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(texts); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, texts[i]), []byte(texts[i+1]), 0o600))
	}
	return dir
}

// leaving is a plan by which ann leaves a team of three.
func leaving(t *testing.T) string {
	t.Helper()
	o := &ownership.Observed{TargetID: "PT1"}
	for _, name := range []string{"ann", "ben", "cem"} {
		o.Members = append(o.Members, ownership.ObservedMember{User: ownership.User{ID: name, Email: name + "@example.org"}, Role: ownership.Responder})
	}
	in := rules.Ask(ownership.Plan{TeamID: "payments", Changes: []ownership.Change{{
		ID: "remove_member:ann", Kind: ownership.RemoveMember, EntityRef: "person:ann@example.org", UserID: "ann",
		Before: &ownership.Entity{Email: "ann@example.org", Role: ownership.Responder},
	}}}, ownership.Desired{}, o)
	text, err := json.Marshal(in)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestPolicyLint_ListsRulesAndFindsWhatIsWrong(t *testing.T) {
	code, out, errs := command(t, "policy", "lint")
	require.Zero(t, code, errs)
	require.Contains(t, out, "empty_team")
	require.Contains(t, out, "The policy is good: 5 rules")

	code, out, errs = command(t, "policy", "lint", policyDir(t, "night.rego", nightRule, "params.yaml", "night: {lead: ann@example.org}"))
	require.Zero(t, code, errs)
	require.Contains(t, out, "night              own")

	code, out, errs = command(t, "policy", "lint", policyDir(t, "night.rego", nightRule))
	require.Equal(t, 1, code)
	require.Empty(t, out)
	require.Contains(t, errs, "night.lead")

	code, _, errs = command(t, "policy", "lint", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "none")
}

func TestPolicyTest_FailsWhereATestDoes(t *testing.T) {
	good := []string{"night.rego", nightRule, "night_test.rego", nightTest, "params.yaml", "night: {lead: ann@example.org}"}
	code, out, errs := command(t, "policy", "test", policyDir(t, good...))
	require.Zero(t, code, errs)
	require.Contains(t, out, "ok    night_test.test_lead\nok    night_test.test_others\n2 tests passed.\n")

	code, out, errs = command(t, "policy", "test", policyDir(t, append(good, "params.yaml", "night: {lead: ben@example.org}")...))
	require.Equal(t, 1, code)
	require.Contains(t, out, "FAIL  night_test.test_lead")
	require.Contains(t, errs, "2 of 2 failed")

	code, _, errs = command(t, "policy", "test", t.TempDir())
	require.Equal(t, 1, code)
	require.Contains(t, errs, "holds no tests")
}

func TestPolicyEval_ExitCodesAndFormats(t *testing.T) {
	code, out, errs := command(t, "policy", "eval", leaving(t))
	require.Zero(t, code, errs)
	require.Equal(t, "allow\n", out)

	dir := policyDir(t, "night.rego", nightRule, "params.yaml", "night: {lead: ann@example.org}")
	code, out, errs = command(t, "policy", "eval", "--dir", dir, leaving(t))
	require.Equal(t, 2, code, errs)
	require.Empty(t, errs)
	require.Equal(t, "require_approval\n  night (require_approval): ann@example.org leads the night shift\n", out)

	code, out, errs = command(t, "policy", "eval", "--dir", dir, leaving(t), "-o", "json")
	require.Equal(t, 2, code, errs)
	var d policy.Decision
	require.NoError(t, json.Unmarshal([]byte(out), &d))
	require.Equal(t, policy.RequireApproval, d.Verdict)
	require.Len(t, d.Revision, 12)

	wrong := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(wrong, []byte(`{"team":{"id":"x"}}`), 0o600))
	code, _, errs = command(t, "policy", "eval", wrong)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "input")
}
