package wire

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// routes are the REST routes of every public service.
func routes() []rest.Register {
	return []rest.Register{
		route(nthlayerv1.NewTeamServiceClient, nthlayerv1.RegisterTeamServiceHandlerClient),
		route(nthlayerv1.NewRunServiceClient, nthlayerv1.RegisterRunServiceHandlerClient),
		route(nthlayerv1.NewTrailServiceClient, nthlayerv1.RegisterTrailServiceHandlerClient),
		route(nthlayerv1.NewDeliveryServiceClient, nthlayerv1.RegisterDeliveryServiceHandlerClient),
		route(nthlayerv1.NewDeadLetterServiceClient, nthlayerv1.RegisterDeadLetterServiceHandlerClient),
		route(nthlayerv1.NewUpstreamServiceClient, nthlayerv1.RegisterUpstreamServiceHandlerClient),
		route(nthlayerv1.NewAuditServiceClient, nthlayerv1.RegisterAuditServiceHandlerClient),
		route(nthlayerv1.NewIgnoreServiceClient, nthlayerv1.RegisterIgnoreServiceHandlerClient),
		route(nthlayerv1.NewAccessServiceClient, nthlayerv1.RegisterAccessServiceHandlerClient),
		route(nthlayerv1.NewScheduleServiceClient, nthlayerv1.RegisterScheduleServiceHandlerClient),
	}
}

func route[C any](client func(grpc.ClientConnInterface) C, register func(context.Context, *runtime.ServeMux, C) error) rest.Register {
	return func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return register(ctx, mux, client(conn))
	}
}
