package cli_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// resilience answers the calls that steer runs, and remembers what it was asked.
type resilience struct {
	nthlayerv1.UnimplementedTeamServiceServer
	nthlayerv1.UnimplementedRunServiceServer
	nthlayerv1.UnimplementedDeadLetterServiceServer
	nthlayerv1.UnimplementedUpstreamServiceServer

	letters []*nthlayerv1.DeadLetter
	cancel  *nthlayerv1.CancelRunRequest
	pause   *nthlayerv1.PauseTeamRequest
	requeue *nthlayerv1.RequeueDeadLettersRequest
}

func (r *resilience) CancelRun(_ context.Context, req *nthlayerv1.CancelRunRequest) (*nthlayerv1.Run, error) {
	r.cancel = req
	return &nthlayerv1.Run{JobId: req.GetJobId(), Status: "running"}, nil
}

func (r *resilience) PauseTeam(_ context.Context, req *nthlayerv1.PauseTeamRequest) (*nthlayerv1.TeamPause, error) {
	r.pause = req
	return &nthlayerv1.TeamPause{TeamId: req.GetTeamId(), TeamUnknown: req.GetTeamId() == "mistyped", Until: timestamppb.New(time.Now().Add(req.GetDuration().AsDuration()))}, nil
}

func (r *resilience) ListDeadLetters(context.Context, *nthlayerv1.ListDeadLettersRequest) (*nthlayerv1.ListDeadLettersResponse, error) {
	return &nthlayerv1.ListDeadLettersResponse{DeadLetters: r.letters}, nil
}

func (r *resilience) RequeueDeadLetters(_ context.Context, req *nthlayerv1.RequeueDeadLettersRequest) (*nthlayerv1.RequeueDeadLettersResponse, error) {
	r.requeue = req
	return &nthlayerv1.RequeueDeadLettersResponse{DeadLetters: r.letters}, nil
}

func (r *resilience) ListUpstreams(context.Context, *nthlayerv1.ListUpstreamsRequest) (*nthlayerv1.ListUpstreamsResponse, error) {
	return &nthlayerv1.ListUpstreamsResponse{Upstreams: []*nthlayerv1.Upstream{{
		Platform: "pagerduty", Process: "host/1", Breaker: "open", BreakerUntil: timestamppb.New(time.Now().Add(time.Minute)),
		LimitPerMinute: 960, Remaining: 3, Limiter: "own share", LastError: "HTTP 500",
	}}}, nil
}

func (r *resilience) command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	nthlayerv1.RegisterTeamServiceServer(server, r)
	nthlayerv1.RegisterRunServiceServer(server, r)
	nthlayerv1.RegisterDeadLetterServiceServer(server, r)
	nthlayerv1.RegisterUpstreamServiceServer(server, r)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends with Stop
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	return command(t, append([]string{"--addr", l.Addr().String(), "--plaintext"}, args...)...)
}

func TestRunCancel_AsksForTheEnd(t *testing.T) {
	var r resilience
	code, out, errs := r.command(t, "run", "cancel", job, "--reason", "wrong team")
	require.Zero(t, code, errs)
	require.Contains(t, out, "run watch "+job)
	require.Equal(t, "wrong team", r.cancel.GetReason())
}

func TestTeamPause_WantsADurationAndAReason(t *testing.T) {
	var r resilience
	code, _, errs := r.command(t, "team", "pause", "payments", "--for", "2h")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "reason")
	code, out, errs := r.command(t, "team", "pause", "payments", "--for", "2h", "--reason", "incident")
	require.Zero(t, code, errs)
	require.Equal(t, 2*time.Hour, r.pause.GetDuration().AsDuration())
	_, _, errs = r.command(t, "team", "pause", "mistyped", "--for", "2h", "--reason", "incident")
	require.Contains(t, errs, `no team mistyped has been seen yet: see "nthlayer team list"`)
	require.Contains(t, out, "team resume payments")
}

func TestDLQRequeue_All_IsBoundedByWhatIsDeadNow(t *testing.T) {
	died := timestamppb.New(time.Now().Add(-time.Minute))
	r := resilience{letters: []*nthlayerv1.DeadLetter{{LetterId: job, Kind: "run", TeamId: "payments", Status: "requeued", DiedAt: died}}}
	code, out, errs := r.command(t, "dlq", "requeue", "--all")
	require.Zero(t, code, errs)
	require.Contains(t, out, "requeued: 1")
	require.True(t, r.requeue.GetAll())
	require.Equal(t, died.AsTime(), r.requeue.GetDiedBefore().AsTime())

	code, _, errs = r.command(t, "dlq", "requeue", job)
	require.Zero(t, code, errs)
	require.Equal(t, job, r.requeue.GetLetterId())
	require.Nil(t, r.requeue.GetDiedBefore())
	code, _, errs = r.command(t, "dlq", "requeue")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "--all")
}

func TestDLQList_Empty_SaysSo(t *testing.T) {
	var r resilience
	code, out, errs := r.command(t, "dlq", "list")
	require.Zero(t, code, errs)
	require.Equal(t, "No dead letters.\n", out)
}

func TestUpstreamStatus_ShowsBreakerAndQuota(t *testing.T) {
	var r resilience
	code, out, errs := r.command(t, "upstream", "status")
	require.Zero(t, code, errs)
	for _, want := range []string{"pagerduty", "open", "960", "own share", "tried again in", "HTTP 500"} {
		require.Contains(t, out, want)
	}
}
