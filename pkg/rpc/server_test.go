package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api answers calls in ways that the tests ask for by team id.
type api struct {
	v1.UnimplementedTeamServiceServer
	v1.UnimplementedRunServiceServer
	watching chan struct{} // receives when a watch waits
}

func (a *api) GetTeam(ctx context.Context, r *v1.GetTeamRequest) (*v1.Team, error) {
	switch r.GetTeamId() {
	case "panic":
		panic("boom")
	case "secret-cause":
		return nil, errors.New("password=hunter2 at 10.0.0.7")
	case "missing":
		return nil, fault.New(fault.NotFound, "team missing does not exist", errors.New("no rows"))
	}
	p, _ := auth.PrincipalFrom(ctx)
	return &v1.Team{TeamId: r.GetTeamId(), Name: p.Subject + " " + rpc.RequestID(ctx)}, nil
}

func (a *api) ReconcileTeam(context.Context, *v1.ReconcileTeamRequest) (*v1.ReconcileTeamResponse, error) {
	return &v1.ReconcileTeamResponse{JobId: "j"}, nil
}

func (a *api) WatchRun(_ *v1.WatchRunRequest, stream grpc.ServerStreamingServer[v1.RunEvent]) error {
	if err := stream.Send(&v1.RunEvent{Seq: 1, Kind: "run_queued"}); err != nil {
		return err
	}
	a.watching <- struct{}{}
	<-stream.Context().Done()
	return stream.Context().Err()
}

type running struct {
	conn   *grpc.ClientConn
	server *rpc.Server
	api    *api
	log    *syncBuffer
	stop   func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// byName takes the token as the name of a role.
func byName(_ context.Context, token string) (auth.Principal, error) {
	if token == "forged" {
		return auth.Principal{}, fault.New(fault.Unauthenticated, "the token is refused", nil)
	}
	return auth.Principal{Subject: "u-" + token, Scopes: []string{"nthlayer/" + token}}, nil
}

func start(t *testing.T) *running { return startBounded(t, rpc.Admission{}) }

func startBounded(t *testing.T, admission rpc.Admission) *running {
	r := &running{api: &api{watching: make(chan struct{}, 8)}, log: &syncBuffer{}}
	log := telemetry.NewLogger(r.log, slog.LevelDebug)
	chain, err := rpc.Public(log, rpc.Bearer(byName), admission, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	r.server, err = rpc.NewServer(rpc.ServerConfig{Chain: chain, StopWithin: 5 * time.Second}, func(s grpc.ServiceRegistrar) {
		v1.RegisterTeamServiceServer(s, r.api)
		v1.RegisterRunServiceServer(s, r.api)
	})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, lis) }()
	r.stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-served) })
	t.Cleanup(r.stop)
	r.conn, err = grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

func as(t *testing.T, token string, more ...string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, append(more, "authorization", "Bearer "+token)...)
}

// eachWay runs a test over the network and in process: the chain must hold on both.
func eachWay(t *testing.T, test func(t *testing.T, conn grpc.ClientConnInterface, r *running)) {
	for _, way := range []string{"network", "in process"} {
		t.Run(way, func(t *testing.T) {
			r := start(t)
			if way == "network" {
				test(t, r.conn, r)
			} else {
				test(t, r.server.InProcess(), r)
			}
		})
	}
}

func TestServer_GoodCall_ReachesHandlerWithPrincipalAndRequestID(t *testing.T) {
	eachWay(t, func(t *testing.T, conn grpc.ClientConnInterface, r *running) {
		var header metadata.MD
		team, err := v1.NewTeamServiceClient(conn).GetTeam(as(t, "viewer", "x-request-id", "req-1"), &v1.GetTeamRequest{TeamId: "payments"}, grpc.Header(&header))
		require.NoError(t, err)
		require.Equal(t, "u-viewer req-1", team.GetName())
		require.Equal(t, []string{"req-1"}, header.Get("x-request-id"))
		r.stop()
		require.Equal(t, 1, strings.Count(r.log.String(), `"msg":"rpc"`))
		for _, want := range []string{`"method":"/nthlayer.v1.TeamService/GetTeam"`, `"code":"OK"`, `"principal":"u-viewer"`, `"request_id":"req-1"`, `"resource":"payments"`} {
			require.Contains(t, r.log.String(), want)
		}
	})
}

func TestServer_WrongCalls_AreRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, conn grpc.ClientConnInterface, r *running) {
		teams := v1.NewTeamServiceClient(conn)
		get := func(ctx context.Context, team string) error {
			_, err := teams.GetTeam(ctx, &v1.GetTeamRequest{TeamId: team})
			return err
		}
		reconcile := func(ctx context.Context, team string) error {
			_, err := teams.ReconcileTeam(ctx, &v1.ReconcileTeamRequest{TeamId: team})
			return err
		}
		for name, tc := range map[string]struct {
			err  error
			code codes.Code
			text string
		}{
			"no token":            {get(t.Context(), "payments"), codes.Unauthenticated, "Bearer"},
			"two tokens":          {get(metadata.AppendToOutgoingContext(as(t, "viewer"), "authorization", "Bearer admin"), "payments"), codes.Unauthenticated, "one header"},
			"other scheme":        {get(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic YTpi"), "payments"), codes.Unauthenticated, "Bearer"},
			"forged token":        {get(as(t, "forged"), "payments"), codes.Unauthenticated, "refused"},
			"no grant":            {get(as(t, "nobody"), "payments"), codes.PermissionDenied, "nthlayer/teams.get"},
			"too small a grant":   {reconcile(as(t, "viewer"), "payments"), codes.PermissionDenied, "on payments"},
			"bad field":           {get(as(t, "viewer"), "-bad"), codes.InvalidArgument, "team_id"},
			"bad field, no grant": {get(as(t, "nobody"), strings.Repeat("a", 200)), codes.InvalidArgument, "team_id"},
			"control character":   {get(as(t, "viewer"), "pay\x00ments"), codes.InvalidArgument, "team_id"},
			"not there":           {get(as(t, "viewer"), "missing"), codes.NotFound, "team missing does not exist"},
			"a bug":               {get(as(t, "viewer"), "panic"), codes.Internal, "request id"},
			"an unknown error":    {get(as(t, "viewer"), "secret-cause"), codes.Internal, "log"},
		} {
			require.Equal(t, tc.code, status.Code(tc.err), "%s: %v", name, tc.err)
			require.Contains(t, tc.err.Error(), tc.text, name)
			require.NotContains(t, tc.err.Error(), "hunter2")
			require.NotContains(t, tc.err.Error(), "no rows")
		}
		r.stop()
		require.Contains(t, r.log.String(), "hunter2", "the cause is for the log")
		require.NotContains(t, r.log.String(), "forged")
		require.Contains(t, r.log.String(), `"msg":"audit","action":"teams.reconcile","resource":"payments","refused":true`)
	})
}

func TestServer_Stream_PassesTheSameChain(t *testing.T) {
	eachWay(t, func(t *testing.T, conn grpc.ClientConnInterface, r *running) {
		watch := func(ctx context.Context, job string) error {
			stream, err := v1.NewRunServiceClient(conn).WatchRun(ctx, &v1.WatchRunRequest{JobId: job})
			require.NoError(t, err)
			_, err = stream.Recv()
			return err
		}
		const job = "0190a8b4-0000-7000-8000-000000000000"
		require.Equal(t, codes.Unauthenticated, status.Code(watch(t.Context(), job)))
		require.Equal(t, codes.PermissionDenied, status.Code(watch(as(t, "nobody"), job)))
		require.Equal(t, codes.InvalidArgument, status.Code(watch(as(t, "viewer"), "not-a-uuid")))
		ctx, cancel := context.WithCancel(as(t, "viewer"))
		require.NoError(t, watch(ctx, job))
		<-r.api.watching
		cancel()
	})
}

func TestServer_Stops_StreamsAreToldToReconnect(t *testing.T) {
	eachWay(t, func(t *testing.T, conn grpc.ClientConnInterface, r *running) {
		stream, err := v1.NewRunServiceClient(conn).WatchRun(as(t, "viewer"), &v1.WatchRunRequest{JobId: "0190a8b4-0000-7000-8000-000000000000"})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		<-r.api.watching
		go r.stop()
		_, err = stream.Recv()
		err = grpcfault.FromError(err)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Equal(t, "SERVER_STOPPING", fault.ReasonOf(err))
	})
}

func TestServer_Health_NeedsNoToken(t *testing.T) {
	r := start(t)
	answer, err := healthgrpc.NewHealthClient(r.conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthgrpc.HealthCheckResponse_SERVING, answer.GetStatus())
}

func TestServer_HugeMessage_IsRefused(t *testing.T) {
	r := start(t)
	_, err := v1.NewTeamServiceClient(r.conn).ReconcileTeam(as(t, "admin"), &v1.ReconcileTeamRequest{TeamId: strings.Repeat("x", 2<<20)})
	require.Equal(t, fault.Invalid, fault.KindOf(grpcfault.FromError(err)), "waiting would not help: %v", err)
}

func TestNewServer_MethodWithoutAccess_DoesNotStart(t *testing.T) {
	chain, err := rpc.Public(slog.New(slog.DiscardHandler), rpc.Bearer(byName), rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	_, err = rpc.NewServer(rpc.ServerConfig{Chain: chain}, func(s grpc.ServiceRegistrar) {
		internalv1.RegisterPlannerServiceServer(s, internalv1.UnimplementedPlannerServiceServer{})
	})
	require.ErrorContains(t, err, "/nthlayer.internal.v1.PlannerService/Plan declares no access option")

	internal, err := rpc.Internal(slog.New(slog.DiscardHandler), "gateway")
	require.NoError(t, err)
	_, err = rpc.NewServer(rpc.ServerConfig{Chain: internal}, func(s grpc.ServiceRegistrar) {
		internalv1.RegisterPlannerServiceServer(s, internalv1.UnimplementedPlannerServiceServer{})
	})
	require.NoError(t, err, "between services roles decide, not actions")
}

func TestAccess_EveryPublicMethod_DeclaresIt(t *testing.T) {
	for _, service := range []grpc.ServiceDesc{v1.TeamService_ServiceDesc, v1.RunService_ServiceDesc, v1.TrailService_ServiceDesc, v1.DeliveryService_ServiceDesc, v1.ScheduleService_ServiceDesc} {
		for _, m := range service.Methods {
			_, ok := rpc.Access("/" + service.ServiceName + "/" + m.MethodName)
			require.True(t, ok, m.MethodName)
		}
	}
	_, ok := rpc.Access("/no.such.Service/Method")
	require.False(t, ok)
}

func TestChains_HaveTheDocumentedOrder(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	public, err := rpc.Public(log, rpc.Bearer(byName), rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	require.Equal(t, []string{"recover", "request_id", "metrics", "log", "concurrency", "deadline", "authn", "rate", "validate", "authz", "audit"}, public.Names())
	internal, err := rpc.Internal(log, "gateway")
	require.NoError(t, err)
	require.Equal(t, []string{"recover", "request_id", "metrics", "log", "deadline", "authn", "validate"}, internal.Names())
}

func TestChain_UnaryAndStream_RunLinksInTheSameOrder(t *testing.T) {
	var seen []string
	link := func(name string) rpc.Link {
		return rpc.Link{
			Name: name,
			Around: func(ctx context.Context, _ *rpc.Call, next func(context.Context) error) error {
				seen = append(seen, name+" in")
				err := next(ctx)
				seen = append(seen, name+" out")
				return err
			},
			Check: func(context.Context, *rpc.Call, proto.Message) error { seen = append(seen, name+" check"); return nil },
		}
	}
	chain := rpc.Chain{link("a"), link("b")}
	want := []string{"a in", "b in", "a check", "b check", "handler", "b out", "a out"}

	_, err := chain.Unary(t.Context(), &v1.GetTeamRequest{}, &grpc.UnaryServerInfo{FullMethod: "/s/m"}, func(context.Context, any) (any, error) {
		seen = append(seen, "handler")
		return &v1.Team{}, nil
	})
	require.NoError(t, err)
	require.Equal(t, want, seen)

	seen = nil
	err = chain.Stream(nil, oneMessage{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/s/m"}, func(_ any, stream grpc.ServerStream) error {
		err := stream.RecvMsg(&v1.WatchRunRequest{})
		seen = append(seen, "handler")
		return err
	})
	require.NoError(t, err)
	require.Equal(t, want, seen)
}

type oneMessage struct {
	grpc.ServerStream
	ctx context.Context
}

func (s oneMessage) Context() context.Context { return s.ctx }
func (s oneMessage) RecvMsg(any) error        { return nil }

func TestServer_Full_RefusesAtOnceAndSaysWhenToComeBack(t *testing.T) {
	r := startBounded(t, rpc.Admission{Streams: 1})
	request := &v1.WatchRunRequest{JobId: "0190a8b4-0000-7000-8000-000000000000"}
	ctx, cancel := context.WithCancel(as(t, "viewer"))
	first, err := v1.NewRunServiceClient(r.conn).WatchRun(ctx, request)
	require.NoError(t, err)
	_, err = first.Recv()
	require.NoError(t, err)

	second, err := v1.NewRunServiceClient(r.conn).WatchRun(as(t, "viewer"), request)
	require.NoError(t, err)
	_, err = second.Recv()
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	f, _ := fault.As(grpcfault.FromError(err))
	require.Equal(t, "SERVER_BUSY", fault.ReasonOf(f))
	require.Equal(t, time.Second, f.RetryAfter)
	_, err = v1.NewTeamServiceClient(r.conn).GetTeam(as(t, "viewer"), &v1.GetTeamRequest{TeamId: "a"})
	require.NoError(t, err, "watchers do not take the places of calls")

	cancel()
	_, err = first.Recv()
	require.Error(t, err)
	require.Eventually(t, func() bool {
		third, err := v1.NewRunServiceClient(r.conn).WatchRun(as(t, "viewer"), request)
		if err == nil {
			_, err = third.Recv()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "a place that is free is given again")
}

type refusing struct{}

func (refusing) Take(_ context.Context, principal string) error {
	if principal == "u-viewer" {
		return fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(3 * time.Second)
	}
	return nil
}

func TestServer_PrincipalOverItsShare_IsRefusedAndOthersAreNot(t *testing.T) {
	r := startBounded(t, rpc.Admission{Rate: refusing{}})
	_, err := v1.NewTeamServiceClient(r.conn).GetTeam(as(t, "viewer"), &v1.GetTeamRequest{TeamId: "a"})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	f, _ := fault.As(grpcfault.FromError(err))
	require.Equal(t, 3*time.Second, f.RetryAfter)
	_, err = v1.NewTeamServiceClient(r.conn).GetTeam(as(t, "operator"), &v1.GetTeamRequest{TeamId: "a"})
	require.NoError(t, err)
	_, err = healthgrpc.NewHealthClient(r.conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{})
	require.NoError(t, err)
}
