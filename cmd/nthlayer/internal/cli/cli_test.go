package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const job = "0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e"

// gateway answers as the gateway would, from what a test puts into it.
type gateway struct {
	nthlayerv1.UnimplementedTeamServiceServer
	nthlayerv1.UnimplementedRunServiceServer
	nthlayerv1.UnimplementedTrailServiceServer

	plan   *nthlayerv1.Plan
	plans  map[string]*nthlayerv1.Plan // of teams; else plan
	listed *nthlayerv1.ListTeamsRequest
	run    *nthlayerv1.Run
	events []*nthlayerv1.RunEvent
	hold   func() // called when the events were sent; then the run goes on for ever
	runs   int    // how many there are
	teams  []*nthlayerv1.Team
	away   func() error
	asked  *nthlayerv1.ReconcileTeamRequest
	sent   metadata.MD

	trail      []trail.Entry
	trailAfter int // so many entries were moved to archives
}

func (g *gateway) PlanTeam(_ context.Context, req *nthlayerv1.PlanTeamRequest) (*nthlayerv1.Plan, error) {
	if g.away != nil {
		return nil, g.away()
	}
	if plan, ok := g.plans[req.GetTeamId()]; ok {
		return plan, nil
	}
	if g.plan == nil {
		return nil, status.Errorf(codes.NotFound, "there is no team %s", req.GetTeamId())
	}
	return g.plan, nil
}

func (g *gateway) ReconcileTeam(ctx context.Context, req *nthlayerv1.ReconcileTeamRequest) (*nthlayerv1.ReconcileTeamResponse, error) {
	g.asked = req
	g.sent, _ = metadata.FromIncomingContext(ctx)
	return &nthlayerv1.ReconcileTeamResponse{JobId: job}, nil
}

func (g *gateway) GetRun(context.Context, *nthlayerv1.GetRunRequest) (*nthlayerv1.Run, error) {
	return g.run, nil
}

func (g *gateway) WatchRun(_ *nthlayerv1.WatchRunRequest, stream grpc.ServerStreamingServer[nthlayerv1.RunEvent]) error {
	for _, e := range g.events {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	if g.hold != nil {
		g.hold()
		<-stream.Context().Done()
	}
	return nil
}

func (g *gateway) ListTeams(_ context.Context, req *nthlayerv1.ListTeamsRequest) (*nthlayerv1.ListTeamsResponse, error) {
	g.listed = req
	return &nthlayerv1.ListTeamsResponse{Teams: g.teams}, nil
}

func (g *gateway) ListRuns(_ context.Context, req *nthlayerv1.ListRunsRequest) (*nthlayerv1.ListRunsResponse, error) {
	from, _ := strconv.Atoi(req.GetPageToken())
	to := min(from+int(req.GetPageSize()), g.runs)
	page := &nthlayerv1.ListRunsResponse{}
	for range to - from {
		page.Runs = append(page.Runs, &nthlayerv1.Run{JobId: job})
	}
	if to < g.runs {
		page.NextPageToken = strconv.Itoa(to)
	}
	return page, nil
}

// command runs a command line against the gateway.
func (g *gateway) command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return g.commandUntil(t.Context(), t, args...)
}

// commandUntil is a command during which somebody presses Ctrl-C: when ctx ends.
func (g *gateway) commandUntil(ctx context.Context, t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	nthlayerv1.RegisterTeamServiceServer(server, g)
	nthlayerv1.RegisterRunServiceServer(server, g)
	nthlayerv1.RegisterTrailServiceServer(server, g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends with Stop
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	return commandUntil(ctx, append([]string{"--addr", l.Addr().String(), "--plaintext"}, args...)...)
}

func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return commandUntil(t.Context(), args...)
}

func commandUntil(ctx context.Context, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	terminal := cli.Terminal{Out: &o, Err: &e, Environ: []string{"NTHLAYER_TOKEN=secret"}, Now: time.Now}
	code = cli.Run(ctx, terminal, args)
	return code, o.String(), e.String()
}

func TestTeamPlan_ExitCodes(t *testing.T) {
	change := &nthlayerv1.Change{Kind: "add_member", EntityRef: "person:ada@example.org"}
	for name, c := range map[string]struct {
		plan *nthlayerv1.Plan
		code int
	}{
		"in sync":         {&nthlayerv1.Plan{SyncStatus: "in_sync"}, 0},
		"drift":           {&nthlayerv1.Plan{SyncStatus: "out_of_sync", Changes: []*nthlayerv1.Change{change}}, 2},
		"cannot be known": {&nthlayerv1.Plan{SyncStatus: "unknown"}, 1},
		"no team like it": {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, format := range []string{"table", "json", "yaml"} {
				code, _, errs := (&gateway{plan: c.plan}).command(t, "team", "plan", "storage", "-o", format)
				require.Equal(t, c.code, code, errs)
				require.Equal(t, code == 1, errs != "", "only errors are written to the error output")
			}
		})
	}
}

func TestTeamReconcile_SendsTheKeyAndTheToken(t *testing.T) {
	g := &gateway{}
	code, out, errs := g.command(t, "team", "reconcile", "storage", "--dry-run", "--idempotency-key", "deploy-4711")
	require.Zero(t, code, errs)
	require.Contains(t, out, job)
	require.True(t, g.asked.GetDryRun())
	require.Equal(t, []string{"deploy-4711"}, g.sent.Get("idempotency-key"))
	require.Equal(t, []string{"Bearer secret"}, g.sent.Get("authorization"))
}

func TestTeamReconcile_DesiredFile_IsSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "team.yaml")
	require.NoError(t, os.WriteFile(path, []byte("name: Storage\nmembers:\n  - {email: ada@example.org, role: manager}\n"), 0o600))
	g := &gateway{}
	code, _, errs := g.command(t, "team", "reconcile", "storage", "--desired", path)
	require.Zero(t, code, errs)
	require.Equal(t, "ada@example.org", g.asked.GetDesired().GetMembers()[0].GetEmail())

}

func TestTeamReconcile_Wait_FollowsTheRunToItsEnd(t *testing.T) {
	now := timestamppb.Now()
	for end, want := range map[string]int{"succeeded": 0, "failed": 1} {
		g := &gateway{
			run: &nthlayerv1.Run{JobId: job, Status: end, Summary: "all done", Error: map[string]*nthlayerv1.RunError{
				"failed": {Reason: "SOURCE_UNAVAILABLE", Message: "Cortex is away"},
			}[end]},
			events: []*nthlayerv1.RunEvent{{Kind: "run_started", At: now}, {Kind: "run_" + end, At: now}},
		}
		code, out, errs := g.command(t, "team", "reconcile", "storage", "--wait")
		require.Equal(t, want, code, errs)
		require.Contains(t, out, "run started")

		require.Regexp(t, "^accepted as job "+job+"\n", out)

		code, out, errs = g.command(t, "team", "reconcile", "storage", "--wait", "-o", "json")
		require.Equal(t, want, code)
		require.Contains(t, errs, job)
		var run struct{ Status string }
		require.NoError(t, json.Unmarshal([]byte(out), &run), "scripts get the finished run and nothing else")
		require.Equal(t, end, run.Status)
	}
}

func TestFollow_Interrupted_SaysThatTheRunGoesOnAndHowToSeeIt(t *testing.T) {
	for _, args := range [][]string{
		{"team", "reconcile", "storage", "--wait"},
		{"team", "reconcile", "storage", "--wait", "-o", "json"},
		{"run", "watch", job},
		{"run", "watch", job, "-o", "yaml"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		g := &gateway{events: []*nthlayerv1.RunEvent{{Kind: "run_started", At: timestamppb.Now()}}, hold: interrupt}
		code, out, errs := g.commandUntil(ctx, t, args...)
		require.Equal(t, 1, code, args)
		require.Contains(t, errs, "goes on", args)
		require.Contains(t, errs, "nthlayer run watch "+job, args)
		if slices.Contains(args, "-o") {
			require.Empty(t, out, "scripts get the finished run or nothing")
		}
	}
}

func TestTeamPlan_BreakerOpen_SaysAtOnceWhenToComeBack(t *testing.T) {
	g := &gateway{away: func() error {
		return grpcfault.ToStatus(fault.New(fault.Unavailable, "Cortex does not answer", nil).WithRetryAfter(34 * time.Second)).Err()
	}}
	began := time.Now()
	code, _, errs := g.command(t, "team", "plan", "storage")
	require.Equal(t, 1, code)
	require.Equal(t, "nthlayer: Cortex does not answer\n  Try again in 34s.\n", errs)
	require.Less(t, time.Since(began), 20*time.Second)
}

func TestCommands_WrongUse_SaysHowAndExitsWithOne(t *testing.T) {
	for _, args := range [][]string{
		{"team", "plan"}, {"team", "plan", "a", "b"}, {"team", "plan", "a", "-o", "xml"}, {"nonsense"},
		{"run", "list", "--nonsense"}, {"trail", "verify", "--head", "1"}, {"simulate"}, {"migrate"},
		{"simulate", "--cortex", "127.0.0.1:0", "--teams", "10"},
		{"simulate", "--cortex", "127.0.0.1:0", "--teams", "0", "--people", "10"},
		{"simulate", "--cortex", "127.0.0.1:0", "--teams", "10", "--people", "100001"},
		{"simulate", "--cortex", "127.0.0.1:0", "--teams", "10", "--people", "10", "--org", "organisation.json"},
	} {
		code, out, errs := command(t, args...)
		require.Equal(t, 1, code, args)
		require.Empty(t, out, args)
		require.NotEmpty(t, errs, args)
	}
}

func TestCommands_GatewayIsAway_SaysWhatToDo(t *testing.T) {
	code, _, errs := command(t, "--addr", "127.0.0.1:1", "--plaintext", "team", "list")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "nthlayer dev")
}

func TestCommands_AllHaveHelp(t *testing.T) {
	code, out, _ := command(t, "--help")
	require.Zero(t, code)
	require.Contains(t, out, "nthlayer demo")
}
