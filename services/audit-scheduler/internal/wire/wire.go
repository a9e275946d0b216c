// Package wire builds the audit-scheduler. It is the one place where its parts are made and joined.
package wire

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/schedules"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/settings"
)

// Scheduler wires the service.
func Scheduler(ctx context.Context, s *service.Service, cfg settings.Settings) error {
	identity, err := mtls.Load(mtls.Files(cfg.TLS), s.Log)
	if err != nil {
		return err
	}
	chain, err := rpc.Internal(s.Log, "gateway")
	if err != nil {
		return err
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, TLS: identity.Server()}, func(r grpc.ServiceRegistrar) {
		internalv1.RegisterSchedulerServiceServer(r, &schedules.Server{})
	})
	if err != nil {
		return err
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Internal.Addr)
	if err != nil {
		return fault.New(fault.Invalid, "cannot listen on NTHLAYER_INTERNAL_ADDR "+cfg.Internal.Addr+"; choose another address", err)
	}
	s.Log.Info("listening", "internal_grpc", lis.Addr().String())
	s.Serve("internal grpc", func(ctx context.Context) error { return server.Serve(ctx, lis) })
	return nil
}
