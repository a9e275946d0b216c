// Package planner answers the gateway's question what would change now.
package planner

import (
	"context"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Server serves nthlayer.internal.v1.PlannerService.
type Server struct {
	internalv1.UnimplementedPlannerServiceServer
	Flow *reconcile.Flow
}

// Plan compares now. Nothing is written.
func (s *Server) Plan(ctx context.Context, req *nthlayerv1.PlanTeamRequest) (*nthlayerv1.Plan, error) {
	request := store.Request{
		Desired: api.Desired(req.GetDesired()), Source: store.SourceCortex, Only: req.GetOnly(), Exclude: req.GetExclude(),
		OverrideFreeze: req.GetOverrideFreeze(), Roles: rpc.RolesOfBehalf(ctx),
	}
	by, _ := rpc.BehalfOf(ctx) // "": a gateway of the version before, which does not say
	state, err := s.Flow.Compare(ctx, req.GetTeamId(), by, request, flow.Hooks{})
	if err != nil {
		return nil, err
	}
	plan := api.Plan(*state.Plan, *state.Decision)
	if req.GetPolicyInput() && state.Input != nil {
		if plan.PolicyInput, err = show(*state.Input); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// show makes of what the rules were given what the API knows.
func show(in rules.Input) (*structpb.Struct, error) {
	text, err := json.Marshal(in)
	shown := &structpb.Struct{}
	if err == nil {
		err = protojson.Unmarshal(text, shown)
	}
	if err != nil {
		return nil, fault.New(fault.Internal, "what the rules were given cannot be shown", err)
	}
	return shown, nil
}
