package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func getTeam(id string) *nthlayerv1.GetTeamRequest { return &nthlayerv1.GetTeamRequest{TeamId: id} }

// Whatever Cortex answers when it is not well, PagerDuty is left alone and the run says why.
func TestReconcile_SourceNotWell_TouchesNothing(t *testing.T) {
	const dead, failed = "dead_lettered", "failed" // trying again may help, or cannot
	cases := map[string]struct {
		fault   control.Fault
		status  string
		reasons []string
	}{
		"team-00": {control.Fault{Status: 500}, dead, []string{"CORTEX_UNAVAILABLE", "CORTEX_BREAKER_OPEN"}},
		"team-01": {control.Fault{Truncate: 150}, dead, []string{"CORTEX_UNAVAILABLE", "SOURCE_INCOMPLETE", "CORTEX_BREAKER_OPEN"}},
		"team-02": {control.Fault{Drop: true}, dead, []string{"CORTEX_UNAVAILABLE", "CORTEX_BREAKER_OPEN"}},
		"team-03": {control.Fault{Status: 200, Body: json.RawMessage(`{}`)}, dead, []string{"SOURCE_INCOMPLETE"}},
		"team-04": {control.Fault{Status: 200, Body: json.RawMessage(`""`)}, dead, []string{"SOURCE_INCOMPLETE"}},
		"team-05": {control.Fault{Status: 404, Body: json.RawMessage(`{"type":"NOT_FOUND","message":"no such team"}`)}, failed, []string{"SOURCE_TEAM_NOT_FOUND"}},
		"team-06": {control.Fault{Status: 401}, failed, []string{"SOURCE_CREDENTIAL_REFUSED"}},
	}
	r := start(t, generated(t), 1, "NTHLAYER_PATIENCE=5s")
	for team, c := range cases {
		c.fault.Match = "GET /api/v1/teams/" + team
		require.NoError(t, r.cortex.Control().Inject(c.fault))
		// There is something to do, and something to lose.
		r.driftBy(team)
	}
	members, _ := r.pagerState()
	before := r.writes()
	reconcile := func(teams ...string) {
		var all sync.WaitGroup
		for _, team := range teams {
			c := cases[team]
			all.Go(func() {
				run, err := r.run(t.Context(), &nthlayerv1.ReconcileTeamRequest{TeamId: team})
				if err != nil {
					t.Errorf("%s: %v", team, err)
					return
				}
				if run.GetStatus() != c.status || run.GetError().GetMessage() == "" {
					t.Errorf("%s: %s %v", team, run.GetStatus(), run.GetError())
				}
				for _, reason := range c.reasons {
					if run.GetError().GetReason() == reason {
						return
					}
				}
				t.Errorf("%s: reason %s is none of %v", team, run.GetError().GetReason(), c.reasons)
			})
		}
		all.Wait()
	}
	// The breaker is the platform's, not the team's: answers that are only wrong come before the failures that open it.
	reconcile("team-03", "team-04", "team-05", "team-06")
	reconcile("team-00", "team-01", "team-02")
	require.Equal(t, before, r.writes())
	after, _ := r.pagerState()
	require.Equal(t, members, after)
	for team := range cases {
		require.Equal(t, "unknown", r.syncStatus(team), team)
	}
}

// An empty list is an answer, and the one a broken identity provider gives: the guard refuses what it would do.
func TestReconcile_SourceEmpty_TouchesNothing(t *testing.T) {
	r := start(t, generated(t), 1)
	empty := `{"id":"en0000000000000001","teamTag":"team-10","catalogEntityTag":"team-10","type":"CORTEX","isArchived":false,` +
		`"metadata":{"name":"acme/team-10"},"links":[],"slackChannels":[],"cortexTeam":{"members":[]}}`
	require.NoError(t, r.cortex.Control().Inject(control.Fault{Match: "GET /api/v1/teams/team-10", Status: 200, Body: json.RawMessage(empty)}))
	before, _ := r.pagerState()

	run := r.reconcile("team-10")["team-10"]

	require.Equal(t, "failed", run.GetStatus())
	require.Equal(t, "PLAN_DENIED", run.GetError().GetReason())
	require.Contains(t, run.GetError().GetMessage(), "all 5 members")
	require.Zero(t, r.writes())
	after, _ := r.pagerState()
	require.Equal(t, before, after)
	denied := 0
	for _, f := range r.trail() {
		if f.GetOutcome() == "denied" {
			denied++
		}
	}
	require.Equal(t, 5, denied)
}

// The control: without the guard the same answer empties the team.
func TestControl_WithoutAWholeReadAndGuard_TheTeamWouldBeEmptied(t *testing.T) {
	r := start(t, generated(t), 1)
	members := []*nthlayerv1.DesiredMember{{Email: "person-10@example.org", Role: "manager"}}
	run, err := r.run(t.Context(), &nthlayerv1.ReconcileTeamRequest{TeamId: "team-10", Desired: &nthlayerv1.Desired{Name: "acme/team-10", Members: members}})
	require.NoError(t, err)
	require.Equal(t, "awaiting_approval", run.GetStatus(), "4 of 5 are too many to go without approval")
	require.Zero(t, r.writes())

	rules := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(rules, "params.yaml"), []byte("removals: {share: 1}"), 0o600))
	lax := start(t, generated(t), 1, "NTHLAYER_POLICY_DIR="+rules)
	run, err = lax.run(t.Context(), &nthlayerv1.ReconcileTeamRequest{TeamId: "team-10", Desired: &nthlayerv1.Desired{Name: "acme/team-10", Members: members}})
	require.NoError(t, err)
	require.Equal(t, "succeeded", run.GetStatus())
	require.Equal(t, 4, lax.writes())
}

// driftBy makes a team need a change: its first member leaves.
func (r *rig) driftBy(team string) {
	r.t.Helper()
	id, users := r.pagerTeam("acme/" + team)
	r.pd("DELETE", "/teams/"+id+"/users/"+users[0], "")
}

func (r *rig) pagerTeam(name string) (id string, users []string) {
	r.t.Helper()
	var state struct {
		Teams []struct {
			ID, Name string
			Members  []struct {
				UserID string `json:"user_id"`
			}
		}
	}
	r.state(r.pagerduty, &state)
	for _, t := range state.Teams {
		if t.Name == name {
			for _, m := range t.Members {
				users = append(users, m.UserID)
			}
			return t.ID, users
		}
	}
	r.t.Fatalf("PagerDuty has no team %q", name)
	return "", nil
}
