package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// telling answers with who asked, and by which way.
type telling struct {
	v1.UnimplementedTeamServiceServer
}

func (telling) GetTeam(ctx context.Context, _ *v1.GetTeamRequest) (*v1.Team, error) {
	p, _ := auth.PrincipalFrom(ctx)
	return &v1.Team{TeamId: p.Subject, Name: rpc.Via(ctx)}, nil
}

func (telling) ReconcileTeam(context.Context, *v1.ReconcileTeamRequest) (*v1.ReconcileTeamResponse, error) {
	return &v1.ReconcileTeamResponse{}, nil
}

func vouching(t *testing.T, authenticate rpc.Authenticator) (inProcess, network v1.TeamServiceClient) {
	chain, err := rpc.Public(slog.New(slog.DiscardHandler), authenticate, rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, StopWithin: time.Second}, func(s grpc.ServiceRegistrar) {
		v1.RegisterTeamServiceServer(s, telling{})
	})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); stop(); require.NoError(t, <-served) })
	return v1.NewTeamServiceClient(server.InProcess()), v1.NewTeamServiceClient(conn)
}

func TestVouched_InProcess_IsThatPrincipalAndPassesTheChain(t *testing.T) {
	inProcess, _ := vouching(t, rpc.Vouched(rpc.Bearer(byName)))
	ctx := rpc.For(t.Context(), auth.Principal{Subject: "ann", Groups: []string{"nthlayer-viewer"}}, "slack")
	team, err := inProcess.GetTeam(ctx, &v1.GetTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, []string{"ann", "slack"}, []string{team.GetTeamId(), team.GetName()})

	_, err = inProcess.ReconcileTeam(ctx, &v1.ReconcileTeamRequest{TeamId: "payments"})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "what a viewer may not do")
	_, err = inProcess.GetTeam(ctx, &v1.GetTeamRequest{TeamId: "\x00"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	team, err = inProcess.GetTeam(as(t, "viewer"), &v1.GetTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, []string{"u-viewer", "api"}, []string{team.GetTeamId(), team.GetName()}, "others bring their token")
}

// A caller over the network may put what they like into their context and their headers: they need a token.
func TestVouched_OverTheNetwork_CountsForNothing(t *testing.T) {
	inProcess, network := vouching(t, rpc.Vouched(rpc.Bearer(byName)))
	ctx := rpc.For(t.Context(), auth.Principal{Subject: "ann", Groups: []string{"nthlayer-admin"}}, "slack")
	ctx = metadata.AppendToOutgoingContext(ctx, "nthlayer-principal-bin", "ann", "via", "slack", "vouched", "ann")
	_, err := network.GetTeam(ctx, &v1.GetTeamRequest{TeamId: "payments"})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	team, err := network.GetTeam(rpc.For(as(t, "viewer"), auth.Principal{Subject: "ann"}, "slack"), &v1.GetTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, []string{"u-viewer", "api"}, []string{team.GetTeamId(), team.GetName()})

	_, err = inProcess.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "payments"})
	require.Equal(t, codes.Unauthenticated, status.Code(err), "nor does being in process alone")
}

// A chain that does not ask for it takes nobody's word.
func TestVouched_ChainWithout_NeedsAToken(t *testing.T) {
	inProcess, _ := vouching(t, rpc.Bearer(byName))
	_, err := inProcess.GetTeam(rpc.For(t.Context(), auth.Principal{Subject: "ann", Groups: []string{"nthlayer-admin"}}, "slack"), &v1.GetTeamRequest{TeamId: "payments"})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}
