// Package schedules shows the schedules of audits.
package schedules

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Server serves nthlayer.internal.v1.SchedulerService.
type Server struct {
	internalv1.UnimplementedSchedulerServiceServer
}

// ListSchedules lists the schedules: none exist. Nobody was ever given a page token, so any is refused.
func (*Server) ListSchedules(_ context.Context, request *nthlayerv1.ListSchedulesRequest) (*nthlayerv1.ListSchedulesResponse, error) {
	if request.GetPageToken() != "" {
		return nil, pagetoken.Bad()
	}
	return &nthlayerv1.ListSchedulesResponse{}, nil
}
