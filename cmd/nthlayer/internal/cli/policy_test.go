package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
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

// leave is what rules are given of a plan by which ann leaves a team of three.
func leave() rules.Input {
	o := &ownership.Observed{TargetID: "PT1"}
	for _, name := range []string{"ann", "ben", "cem"} {
		o.Members = append(o.Members, ownership.ObservedMember{User: ownership.User{ID: name, Email: name + "@example.org"}, Role: ownership.Responder})
	}
	return rules.Ask(rules.Question{
		Plan: ownership.Plan{TeamID: "payments", Changes: []ownership.Change{{
			ID: "remove_member:ann", Kind: ownership.RemoveMember, EntityRef: "person:ann@example.org", UserID: "ann",
			Before: &ownership.Entity{Email: "ann@example.org", Role: ownership.Responder},
		}}},
		Observed: o, Now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC),
	})
}

// leaving is that in a file.
func leaving(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(leave())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestPolicyLint_ListsRulesAndFindsWhatIsWrong(t *testing.T) {
	code, out, errs := command(t, "policy", "lint")
	require.Zero(t, code, errs)
	require.Contains(t, out, "empty_team")
	require.Contains(t, out, "The policy is good: 7 rules")

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

	code, _, errs = command(t, "policy", "test", policyDir(t, "params.yaml", ""))
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
	require.Equal(t, "require_approval\n  night (require_approval by 1 of approver): ann@example.org leads the night shift\n", out)

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

func TestPolicyExplain_SaysWhatEachRuleFound(t *testing.T) {
	dir := policyDir(t, "night.rego", "# METADATA\n# scope: package\n# title: Leads of the night shift\n"+nightRule, "params.yaml", "{night: {lead: ann@example.org}, approval: {count: 2}}")
	code, out, errs := command(t, "policy", "explain", "--dir", dir, leaving(t))
	require.Zero(t, code, errs)
	out = ansi.Strip(out)
	require.True(t, strings.HasPrefix(out, "require_approval by 2 of approver\n\nactors  Who may have which teams changed\n"), out)
	require.Contains(t, out, "\nnight  Leads of the night shift\n  night (require_approval by 2 of approver): ann@example.org leads the night shift\n  night.lead = \"ann@example.org\"\n")
	require.Contains(t, out, "  found nothing\n  removals = {\"floor\":3,\"max_count\":0,\"share\":0.25}\n")
	require.NotContains(t, out, "  | ")

	code, out, errs = command(t, "policy", "explain", "--dir", dir, "--trace", "night", leaving(t))
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^  \| night\.rego:\d+ .*ann@example\.org`, out)

	code, out, errs = command(t, "policy", "explain", "--dir", dir, leaving(t), "-o", "json")
	require.Zero(t, code, errs)
	var e rules.Explanation
	require.NoError(t, json.Unmarshal([]byte(out), &e))
	require.Equal(t, policy.RequireApproval, e.Decision.Verdict)
	require.Len(t, e.Rules, 8)

	code, _, errs = command(t, "policy", "explain", "--trace", "day", leaving(t))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "there is no rule day")
}

// planned is the plan by which ann leaves, as the API shows it.
func planned(t *testing.T, team string, deployed *nthlayerv1.Decision) *nthlayerv1.Plan {
	t.Helper()
	in := leave()
	in.Team.ID = team
	text, err := json.Marshal(in)
	require.NoError(t, err)
	plan := &nthlayerv1.Plan{
		TeamId: team, SyncStatus: "out_of_sync", Decision: deployed, PolicyInput: &structpb.Struct{},
		Changes: []*nthlayerv1.Change{{Kind: "remove_member"}},
	}
	require.NoError(t, protojson.Unmarshal(text, plan.GetPolicyInput()))
	return plan
}

func TestTeamPlan_PolicyInput_IsWhatEvalTakes(t *testing.T) {
	g := &gateway{plan: planned(t, "payments", &nthlayerv1.Decision{Verdict: "allow"})}
	code, out, errs := g.command(t, "team", "plan", "payments", "-o", "policy-input")
	require.Equal(t, 2, code, errs)
	file := filepath.Join(t.TempDir(), "in.json")
	require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
	dir := policyDir(t, "night.rego", nightRule, "params.yaml", "night: {lead: ann@example.org}")
	code, out, errs = command(t, "policy", "eval", "--dir", dir, file)
	require.Equal(t, 2, code, errs)
	require.Contains(t, out, "ann@example.org leads the night shift")

	g.plan = &nthlayerv1.Plan{SyncStatus: "in_sync"}
	code, _, errs = g.command(t, "team", "plan", "payments", "-o", "policy-input")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "has no changes")
	g.plan = &nthlayerv1.Plan{Changes: []*nthlayerv1.Change{{}}}
	code, _, errs = g.command(t, "team", "plan", "payments", "-o", "policy-input")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "older than this program")
}

func TestPolicyFleet_SaysWhatThePolicyWouldStop(t *testing.T) {
	denied := &nthlayerv1.Decision{Verdict: "deny", Violations: []*nthlayerv1.Violation{{Rule: "freeze", Verdict: "deny", Reason: "it is Christmas"}}}
	g := &gateway{plans: map[string]*nthlayerv1.Plan{
		"a-same":    planned(t, "a-same", &nthlayerv1.Decision{Verdict: "allow"}),
		"b-stopped": planned(t, "b-stopped", &nthlayerv1.Decision{Verdict: "allow"}),
		"c-freed":   planned(t, "c-freed", denied),
		"d-in-sync": {TeamId: "d-in-sync", SyncStatus: "in_sync"},
	}}
	for _, id := range []string{"a-same", "b-stopped", "c-freed", "d-in-sync"} {
		g.teams = append(g.teams, &nthlayerv1.Team{TeamId: id})
	}
	dir := policyDir(t, "params.yaml", "protected_teams: {teams: ['b-*']}")
	code, out, errs := g.command(t, "policy", "fleet", dir)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "planning 4 teams")
	require.Equal(t, "out_of_sync", g.listed.GetSyncStatus())
	require.Equal(t, `4 teams: 3 to change, 1 with nothing to decide on, 0 without a plan

deployed \ this policy   allow   require approval   deny
allow                    1       1                  0
require approval         0       0                  0
deny                     1       0                  0

Newly stopped
  b-stopped: allow → require approval, 1 change
    protected_teams (require_approval by 1 of approver): the team is protected (b-*): each change to it needs approval

Stopped less than now
  c-freed: deny → allow, 1 change
    freeze (deny): it is Christmas
`, ansi.Strip(out))

	code, out, errs = g.command(t, "policy", "fleet", dir, "--team", "[ab]-*", "--status", "", "-o", "json")
	require.Zero(t, code, errs)
	require.Empty(t, g.listed.GetSyncStatus())
	var fleet output.Fleet
	require.NoError(t, json.Unmarshal([]byte(out), &fleet))
	require.Len(t, fleet.Teams, 2)
	require.Equal(t, policy.Allow, fleet.Teams[1].Deployed.Verdict)
	require.Equal(t, policy.RequireApproval, fleet.Teams[1].Policy.Verdict)

	// A team that cannot be planned leaves the others alone, and is not passed over.
	g.teams = append(g.teams, &nthlayerv1.Team{TeamId: "e-away"})
	code, out, errs = g.command(t, "policy", "fleet", dir)
	require.Equal(t, 1, code)
	out = ansi.Strip(out)
	require.Contains(t, out, "Newly stopped\n  b-stopped")
	require.Contains(t, out, "Without a plan\n  e-away: ")
	require.Contains(t, errs, "1 of 5 teams could not be planned")

	code, _, errs = g.command(t, "policy", "fleet", dir, "--team", "[")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "is no pattern")
}
