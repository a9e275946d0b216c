package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// What the rules were given is shown to whoever wants to try others on it, and to nobody else.
func TestPlan_PolicyInput_IsWhatTheRulesWereGiven(t *testing.T) {
	w := start(t)
	ctx := rpc.OnBehalfOf(t.Context(), "ann", "viewer", "operator")
	there := w.pagerDuty.State().(pagerduty.State)
	request := &nthlayerv1.PlanTeamRequest{
		TeamId: "lumen-search", Desired: &nthlayerv1.Desired{Name: there.Teams[0].Name, Description: "another one", Members: []*nthlayerv1.DesiredMember{{Email: there.Users[0].Email, Role: "manager"}}},
		PolicyInput: true, OverrideFreeze: "an outage",
	}
	plan, err := w.planner.Plan(ctx, request)
	require.NoError(t, err)
	require.NotEmpty(t, plan.GetChanges())
	text, err := protojson.Marshal(plan.GetPolicyInput())
	require.NoError(t, err)
	in, err := rules.ParseInput(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Equal(t, "lumen-search", in.Team.ID)
	require.Len(t, in.Plan.Changes, len(plan.GetChanges()))
	require.Equal(t, rules.Request{Kind: rules.Reconcile, By: "ann", Roles: []string{"viewer", "operator"}, OverrideFreeze: "an outage"}, in.Request)
	require.Equal(t, 24, in.Recent.Hours)
	again, err := json.Marshal(in)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again), "nothing is lost on the way")

	request.PolicyInput = false
	plan, err = w.planner.Plan(ctx, request)
	require.NoError(t, err)
	require.NotEmpty(t, plan.GetChanges())
	require.Nil(t, plan.GetPolicyInput())
	require.Zero(t, w.stop())
}
