package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/rpc"
)

// A server that is stopped at any moment, also before its first call, ends without an error, closes its
// listener and leaves nothing running.
func TestServe_StartedAndStoppedManyTimes_LeavesNothingBehind(t *testing.T) {
	chain, err := rpc.Public(slog.New(slog.DiscardHandler), rpc.Bearer(nil), rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	for round := range 100 {
		server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain}, func(grpc.ServiceRegistrar) {})
		require.NoError(t, err)
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- server.Serve(ctx, lis) }()
		if round%2 == 0 {
			conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			_, err = healthgrpc.NewHealthClient(conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{}, grpc.WaitForReady(true))
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		}
		stop()
		require.NoError(t, <-served)
		_, err = lis.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	}
}
