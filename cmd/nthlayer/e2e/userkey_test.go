package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// NthLayer has a user's API key, and PagerDuty makes that user a manager of each team which the key makes. Whoever is
// declared gets the declared role in the same run; somebody who is not is one too many, whom the next run removes as it
// would anybody else.
func TestReconcile_TeamMadeWithAUsersKey_EndsAsDeclared(t *testing.T) {
	o := generated(t)
	made := []string{"team-00", "team-20", "team-30"}
	o.PagerDuty.Teams = map[string]org.TeamDrift{}
	for _, team := range made {
		o.PagerDuty.Teams[team] = org.TeamDrift{Absent: true}
	}
	o.Teams[30].Maintainers, o.Teams[30].Members = []string{}, []string{}
	rules := t.TempDir() // by the shipped ones, a team without anybody is not made without approval
	require.NoError(t, os.WriteFile(filepath.Join(rules, "params.yaml"), []byte("staffing: {tiers: {default: {at_least: {members: 0}}}}"), 0o600))
	r := start(t, o, 1, "NTHLAYER_POLICY_DIR="+rules)
	const owner = "person-21@example.org" // a responder of team-20
	r.pagerduty.SetUserTokens(map[string]string{credential: owner})
	want, _ := r.declaredState()

	for team, run := range r.reconcile(made...) {
		require.Equal(t, "succeeded", run.GetStatus(), "%s: %s", team, run.GetError())
	}
	have, _ := r.pagerState()
	for email, role := range want["acme/team-00"] {
		require.Equal(t, role, have["acme/team-00"][email], email)
	}
	require.Empty(t, cmp.Diff(want["acme/team-20"], have["acme/team-20"]), "as declared, not as PagerDuty put the owner in")

	require.Equal(t, "out_of_sync", r.syncStatus("team-00"), "the owner is in the team, although nobody planned that")
	require.Equal(t, "in_sync", r.syncStatus("team-20"))

	again := r.reconcile(made...)
	for _, team := range made[:2] {
		require.Equal(t, "succeeded", again[team].GetStatus(), "%s: %s", team, again[team].GetError())
		require.Equal(t, "in_sync", r.syncStatus(team), team)
	}
	have, _ = r.pagerState()
	require.Empty(t, cmp.Diff(want["acme/team-00"], have["acme/team-00"]), "the owner has left")
	require.Equal(t, "PLAN_DENIED", again["team-30"].GetError().GetReason(), "no team is emptied, not of its maker either")
	require.Equal(t, map[string]string{owner: "manager"}, have["acme/team-30"])

	before := r.writes()
	r.reconcile(made...)
	require.Equal(t, before, r.writes())
}

// A user's key acts with that user's rights: where they do not suffice, nothing is changed and the run says why.
func TestReconcile_UsersKeyWithoutTheRight_SaysSo(t *testing.T) {
	o := generated(t)
	o.People[21].PagerDuty.Role = "limited_user"
	r := start(t, o, 1)
	r.driftBy("team-00")
	r.pagerduty.SetUserTokens(map[string]string{credential: "person-21@example.org"})
	before, _ := r.pagerState()
	run := r.reconcile("team-00")["team-00"]
	require.Equal(t, "failed", run.GetStatus())
	require.Equal(t, "TARGET_CREDENTIAL_REFUSED", run.GetError().GetReason())
	require.Contains(t, run.GetError().GetMessage(), "its user or scopes must allow changing teams")
	after, _ := r.pagerState()
	require.Equal(t, before, after)
}
