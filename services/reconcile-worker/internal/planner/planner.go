// Package planner answers the gateway's question what would change now.
package planner

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
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
	request := store.Request{Desired: api.Desired(req.GetDesired()), Source: store.SourceCortex, Only: req.GetOnly(), Exclude: req.GetExclude(), OverrideFreeze: req.GetOverrideFreeze()}
	plan, decision, err := s.Flow.Compare(ctx, req.GetTeamId(), request, flow.Hooks{})
	if err != nil {
		return nil, err
	}
	return api.Plan(plan, decision), nil
}
