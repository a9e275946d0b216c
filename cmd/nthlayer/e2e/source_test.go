package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func getTeam(id string) *nthlayerv1.GetTeamRequest { return &nthlayerv1.GetTeamRequest{TeamId: id} }

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
