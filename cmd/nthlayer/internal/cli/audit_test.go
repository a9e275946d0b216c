package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// fleet answers for audits as the gateway would, from what a test puts into it, and remembers what it was asked.
type fleet struct {
	nthlayerv1.UnimplementedAuditServiceServer
	nthlayerv1.UnimplementedScheduleServiceServer
	nthlayerv1.UnimplementedTeamServiceServer
	nthlayerv1.UnimplementedIgnoreServiceServer
	nthlayerv1.UnimplementedAccessServiceServer

	rules     []*nthlayerv1.IgnoreRule
	audits    []*nthlayerv1.Audit // the newest first
	findings  []*nthlayerv1.AuditFinding
	schedules []*nthlayerv1.Schedule
	streams   [][]*nthlayerv1.Audit // of a watch, each up to where it breaks
	hold      func()                // called when the last stream was sent; then it goes on for ever
	running   bool                  // an audit of the schedule is under way
	refuse    *fault.Error

	mu      sync.Mutex
	sent    metadata.MD
	start   *nthlayerv1.StartAuditRequest
	ack     *nthlayerv1.AcknowledgeAuditFindingRequest
	created *nthlayerv1.CreateScheduleRequest
	updated *nthlayerv1.UpdateScheduleRequest
	trigger *nthlayerv1.TriggerScheduleRequest
	deleted []string
	paused  *nthlayerv1.PauseScheduleRequest
	filter  *nthlayerv1.ListAuditFindingsRequest
	mode    *nthlayerv1.SetTeamAutoReconcileRequest
	watched int
	listed  *nthlayerv1.ListIgnoreRulesRequest
	ignored *nthlayerv1.CreateIgnoreRuleRequest
	removed *nthlayerv1.DeleteIgnoreRuleRequest
	access  proto.Message // the last request to AccessService
	grants  []*nthlayerv1.Grant
	check   *nthlayerv1.CheckAccessResponse
}

// answer is what was asked for, or the refusal.
func answer[T any](f *fleet, what T) (T, error) {
	if f.refuse != nil {
		var none T
		return none, grpcfault.ToStatus(f.refuse).Err()
	}
	return what, nil
}

// page is the part of a list that a token and a size name.
func page[T any](list []T, size int32, token string) (part []T, next string) {
	from, _ := strconv.Atoi(token)
	to := min(from+int(size), len(list))
	if to < len(list) {
		next = strconv.Itoa(to)
	}
	return list[from:to], next
}

func find[T any](list []T, is func(T) bool) (T, error) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i], nil
	}
	var none T
	return none, grpcfault.ToStatus(fault.New(fault.NotFound, "there is nothing like it", nil)).Err()
}

func (f *fleet) StartAudit(ctx context.Context, req *nthlayerv1.StartAuditRequest) (*nthlayerv1.StartAuditResponse, error) {
	f.start = req
	f.sent, _ = metadata.FromIncomingContext(ctx)
	return answer(f, &nthlayerv1.StartAuditResponse{AuditId: job})
}

func (f *fleet) ListAudits(_ context.Context, req *nthlayerv1.ListAuditsRequest) (*nthlayerv1.ListAuditsResponse, error) {
	list := slices.DeleteFunc(slices.Clone(f.audits), func(a *nthlayerv1.Audit) bool {
		return req.GetScheduleId() != "" && a.GetScheduleId() != req.GetScheduleId() || req.GetStatus() != "" && a.GetStatus() != req.GetStatus()
	})
	part, next := page(list, req.GetPageSize(), req.GetPageToken())
	return answer(f, &nthlayerv1.ListAuditsResponse{Audits: part, NextPageToken: next})
}

func (f *fleet) GetAudit(_ context.Context, req *nthlayerv1.GetAuditRequest) (*nthlayerv1.Audit, error) {
	return find(f.audits, func(a *nthlayerv1.Audit) bool { return a.GetAuditId() == req.GetAuditId() })
}

func (f *fleet) CancelAudit(_ context.Context, req *nthlayerv1.CancelAuditRequest) (*nthlayerv1.Audit, error) {
	return find(f.audits, func(a *nthlayerv1.Audit) bool { return a.GetAuditId() == req.GetAuditId() })
}

func (f *fleet) WatchAudit(_ *nthlayerv1.WatchAuditRequest, stream grpc.ServerStreamingServer[nthlayerv1.Audit]) error {
	f.mu.Lock()
	now, last := f.streams[f.watched], f.watched == len(f.streams)-1
	f.watched++
	f.mu.Unlock()
	for _, a := range now {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	switch {
	case !last:
		return grpcfault.ToStatus(fault.New(fault.Unavailable, "the gateway stops", nil)).Err()
	case f.hold != nil:
		f.hold()
		<-stream.Context().Done()
	}
	return nil
}

func (f *fleet) ListAuditFindings(_ context.Context, req *nthlayerv1.ListAuditFindingsRequest) (*nthlayerv1.ListAuditFindingsResponse, error) {
	f.filter = req
	part, next := page(f.findings, min(req.GetPageSize(), 2), req.GetPageToken())
	return answer(f, &nthlayerv1.ListAuditFindingsResponse{Findings: part, NextPageToken: next})
}

func (f *fleet) finding(id string) (*nthlayerv1.AuditFinding, error) {
	return find(f.findings, func(one *nthlayerv1.AuditFinding) bool { return one.GetFindingId() == id })
}

func (f *fleet) GetAuditFinding(_ context.Context, req *nthlayerv1.GetAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	return f.finding(req.GetFindingId())
}

func (f *fleet) AcknowledgeAuditFinding(_ context.Context, req *nthlayerv1.AcknowledgeAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	f.ack = req
	return answer(f, &nthlayerv1.AuditFinding{FindingId: req.GetFindingId(), Status: "acknowledged", Message: "is not declared", AcknowledgedUntil: req.GetUntil()})
}

func (f *fleet) ReopenAuditFinding(_ context.Context, req *nthlayerv1.ReopenAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	return f.finding(req.GetFindingId())
}

func (f *fleet) ListSchedules(_ context.Context, req *nthlayerv1.ListSchedulesRequest) (*nthlayerv1.ListSchedulesResponse, error) {
	part, next := page(f.schedules, min(req.GetPageSize(), 2), req.GetPageToken())
	return answer(f, &nthlayerv1.ListSchedulesResponse{Schedules: part, NextPageToken: next})
}

func (f *fleet) schedule(id string) (*nthlayerv1.Schedule, error) {
	return find(f.schedules, func(s *nthlayerv1.Schedule) bool { return s.GetScheduleId() == id })
}

func (f *fleet) GetSchedule(_ context.Context, req *nthlayerv1.GetScheduleRequest) (*nthlayerv1.Schedule, error) {
	return f.schedule(req.GetScheduleId())
}

func (f *fleet) CreateSchedule(_ context.Context, req *nthlayerv1.CreateScheduleRequest) (*nthlayerv1.Schedule, error) {
	f.created = req
	return answer(f, &nthlayerv1.Schedule{ScheduleId: req.GetScheduleId(), Settings: req.GetSettings(), Revision: 1})
}

func (f *fleet) UpdateSchedule(_ context.Context, req *nthlayerv1.UpdateScheduleRequest) (*nthlayerv1.Schedule, error) {
	f.updated = req
	return answer(f, &nthlayerv1.Schedule{ScheduleId: req.GetScheduleId(), Settings: req.GetSettings(), Revision: req.GetRevision() + 1})
}

func (f *fleet) DeleteSchedule(_ context.Context, req *nthlayerv1.DeleteScheduleRequest) (*nthlayerv1.DeleteScheduleResponse, error) {
	f.deleted = append(f.deleted, req.GetScheduleId())
	return answer(f, &nthlayerv1.DeleteScheduleResponse{})
}

func (f *fleet) TriggerSchedule(_ context.Context, req *nthlayerv1.TriggerScheduleRequest) (*nthlayerv1.TriggerScheduleResponse, error) {
	f.trigger = req
	return answer(f, &nthlayerv1.TriggerScheduleResponse{AuditId: job, AlreadyRunning: f.running})
}

func (f *fleet) PauseSchedule(_ context.Context, req *nthlayerv1.PauseScheduleRequest) (*nthlayerv1.Schedule, error) {
	f.paused = req
	return f.schedule(req.GetScheduleId())
}

func (f *fleet) ResumeSchedule(_ context.Context, req *nthlayerv1.ResumeScheduleRequest) (*nthlayerv1.Schedule, error) {
	return f.schedule(req.GetScheduleId())
}

func (f *fleet) ListNextRuns(_ context.Context, req *nthlayerv1.ListNextRunsRequest) (*nthlayerv1.ListNextRunsResponse, error) {
	next := &nthlayerv1.ListNextRunsResponse{}
	for n := range req.GetCount() {
		next.Times = append(next.Times, timestamppb.New(noon.Add(time.Duration(n+1)*12*time.Hour)))
	}
	return answer(f, next)
}

func (f *fleet) PreviewSchedule(context.Context, *nthlayerv1.PreviewScheduleRequest) (*nthlayerv1.PreviewScheduleResponse, error) {
	return answer(f, &nthlayerv1.PreviewScheduleResponse{
		AuditId: job, WouldTell: true, Why: "something is new",
		Notices: []*nthlayerv1.NoticePreview{{Medium: "slack", To: "C0123456789", Subject: "2 teams out of sync", Text: "first\nsecond\x1b[2J\n"}},
	})
}

func (f *fleet) SetTeamAutoReconcile(_ context.Context, req *nthlayerv1.SetTeamAutoReconcileRequest) (*nthlayerv1.Team, error) {
	f.mode = req
	return answer(f, &nthlayerv1.Team{TeamId: req.GetTeamId(), AutoReconcile: req.GetAutoReconcile()})
}

func (f *fleet) ListTeams(context.Context, *nthlayerv1.ListTeamsRequest) (*nthlayerv1.ListTeamsResponse, error) {
	return answer(f, &nthlayerv1.ListTeamsResponse{Teams: []*nthlayerv1.Team{{TeamId: "storage"}}})
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

// command runs a command line against the fleet, at noon.
func (f *fleet) command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return f.commandUntil(t.Context(), t, args...)
}

func (f *fleet) commandUntil(ctx context.Context, t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	nthlayerv1.RegisterAuditServiceServer(server, f)
	nthlayerv1.RegisterScheduleServiceServer(server, f)
	nthlayerv1.RegisterTeamServiceServer(server, f)
	nthlayerv1.RegisterIgnoreServiceServer(server, f)
	nthlayerv1.RegisterAccessServiceServer(server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends with Stop
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	var o, e bytes.Buffer
	terminal := cli.Terminal{Out: &o, Err: &e, Environ: []string{"NTHLAYER_TOKEN=secret"}, Now: func() time.Time { return noon }}
	// A completion gets the line that is typed after its own name.
	connect := []string{"--addr", l.Addr().String(), "--plaintext"}
	if args[0] == "__complete" {
		connect = append([]string{args[0]}, connect...)
		args = args[1:]
	}
	code = cli.Run(ctx, terminal, append(connect, args...))
	return code, o.String(), e.String()
}

func ended(status string, change func(*nthlayerv1.Audit)) *nthlayerv1.Audit {
	a := &nthlayerv1.Audit{
		AuditId: job, Status: status, Summary: "3 teams were compared", CreatedAt: at(-time.Hour), StartedAt: at(-time.Hour), FinishedAt: at(-50 * time.Minute),
		Progress: &nthlayerv1.AuditProgress{Phase: "ended", TeamsTotal: 3, TeamsDone: 3}, Counts: &nthlayerv1.AuditCounts{Teams: 3, InSync: 3},
	}
	if change != nil {
		change(a)
	}
	return a
}

func underWay(done int32) *nthlayerv1.Audit {
	return &nthlayerv1.Audit{AuditId: job, Status: "running", StartedAt: at(0), Progress: &nthlayerv1.AuditProgress{Phase: "teams", TeamsTotal: 3, TeamsDone: done}}
}

func TestAuditStart_SendsWhatWasAskedFor(t *testing.T) {
	var f fleet
	code, out, errs := f.command(t, "audit", "start", "--mode", "full", "--include", "pay*,stor*", "--include", "x", "--exclude", "*-old",
		"--enforce", "--accept-shrunken-source", "--idempotency-key", "deploy-4711")
	require.Zero(t, code, errs)
	require.Equal(t, "accepted as audit "+job+"\nfollow it with: nthlayer audit watch "+job+"\n", bare(out))
	require.Equal(t, "full", f.start.GetMode())
	require.Equal(t, []string{"pay*", "stor*", "x"}, f.start.GetScope().GetInclude())
	require.Equal(t, []string{"*-old"}, f.start.GetScope().GetExclude())
	require.Equal(t, "enforce", f.start.GetAutoReconcile())
	require.True(t, f.start.GetAcceptShrunkenSource())
	require.Equal(t, []string{"deploy-4711"}, f.sent.Get("idempotency-key"))

	code, out, errs = f.command(t, "audit", "start", "-o", "json")
	require.Zero(t, code, errs)
	require.JSONEq(t, fmt.Sprintf(`{"audit_id": %q}`, job), out)
	require.Equal(t, "auto", f.start.GetMode())
	require.Empty(t, f.start.GetAutoReconcile(), "nothing is changed unless it is asked for")
	require.Len(t, f.sent.Get("idempotency-key"), 1, "each request has a key")
}

func TestAuditWait_ExitCodes(t *testing.T) {
	kind := func(kind string, open int32) func(*nthlayerv1.Audit) {
		return func(a *nthlayerv1.Audit) {
			a.Kinds = []*nthlayerv1.AuditKindCount{{Kind: kind, Open: open, Acknowledged: 1, Resolved: 1}}
		}
	}
	for name, tc := range map[string]struct {
		audit *nthlayerv1.Audit
		code  int
	}{
		"all in sync":            {ended("succeeded", nil), 0},
		"a team is out of sync":  {ended("succeeded", func(a *nthlayerv1.Audit) { a.Counts.OutOfSync = 1 }), 2},
		"drift is open":          {ended("succeeded", kind("remove_member", 1)), 2},
		"drift was open":         {ended("succeeded", kind("remove_member", 0)), 0},
		"something else is open": {ended("succeeded", kind("single_person_team", 1)), 0},
		"incomplete":             {ended("incomplete", nil), 1},
		"incomplete, with drift": {ended("incomplete", func(a *nthlayerv1.Audit) { a.Counts.OutOfSync = 1 }), 1},
		"failed":                 {ended("failed", nil), 1},
		"canceled by someone":    {ended("canceled", nil), 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{
				{"audit", "start", "--wait"}, {"audit", "watch", job}, {"audit", "schedule", "trigger", "nightly", "--wait"},
			} {
				for _, format := range []string{"table", "json"} {
					f := fleet{streams: [][]*nthlayerv1.Audit{{underWay(1), tc.audit}}}
					code, _, errs := f.command(t, append(args, "-o", format)...)
					require.Equal(t, tc.code, code, errs)
				}
			}
		})
	}
}

func TestAuditWatch_StreamBreaks_GoesOnToTheOutcome(t *testing.T) {
	end := ended("succeeded", func(a *nthlayerv1.Audit) {
		a.Counts.OutOfSync, a.Kinds = 1, []*nthlayerv1.AuditKindCount{{Kind: "add_member", Open: 2}}
	})
	f := fleet{streams: [][]*nthlayerv1.Audit{{underWay(0), underWay(1)}, {underWay(1), underWay(2)}, {end}}}
	code, out, errs := f.command(t, "audit", "watch", job)
	require.Equal(t, 2, code, errs)
	require.Equal(t, 3, f.watched)
	require.Regexp(t, `^\S+  comparing teams: 0/3 teams, 0%
\S+  comparing teams: 1/3 teams, 33%
\S+  comparing teams: 2/3 teams, 66%
\S+  succeeded: 3/3 teams, 100%

succeeded in 10m0s: 3 teams were compared

KIND         OPEN   ACKNOWLEDGED   NEW   RESOLVED
add_member   2      0              0     0

the whole report: nthlayer audit report `+job+`
$`, bare(out))
	require.Empty(t, errs)
}

func TestAuditWait_Scripts_GetTheEndedAuditAlone(t *testing.T) {
	f := fleet{streams: [][]*nthlayerv1.Audit{{underWay(0)}, {ended("failed", nil)}}}
	code, out, errs := f.command(t, "audit", "start", "--wait", "-o", "json")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "accepted as audit "+job)
	require.Contains(t, errs, "audit "+job+" ended as failed")
	var audit struct{ Status string }
	require.NoError(t, json.Unmarshal([]byte(out), &audit))
	require.Equal(t, "failed", audit.Status)
}

func TestAuditFollow_Interrupted_SaysThatTheAuditGoesOn(t *testing.T) {
	for _, args := range [][]string{
		{"audit", "start", "--wait"}, {"audit", "watch", job}, {"audit", "watch", job, "-o", "yaml"}, {"audit", "schedule", "trigger", "nightly", "--wait"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		f := fleet{streams: [][]*nthlayerv1.Audit{{underWay(1)}}, hold: interrupt}
		code, _, errs := f.commandUntil(ctx, t, args...)
		require.Equal(t, 1, code, args)
		require.Contains(t, errs, "goes on by itself", args)
		require.Contains(t, errs, "nthlayer audit cancel "+job, args)
	}
}

func TestAuditStart_Refused_NamesTheField(t *testing.T) {
	refusal := fault.New(fault.Invalid, "the request is not valid", nil)
	refusal.Violations = []fault.Violation{{Field: "scope.include[0]", Description: "does not match the pattern"}}
	f := fleet{refuse: refusal}
	code, _, errs := f.command(t, "audit", "start", "--include", "a b")
	require.Equal(t, 1, code)
	require.Equal(t, "nthlayer: the request is not valid (scope.include[0]: does not match the pattern)\n", errs)
}

func TestAuditList_PagesFiltersAndSaysWhatIsLeft(t *testing.T) {
	var f fleet
	for n := range 60 {
		a := ended("succeeded", nil)
		if a.ScheduleId = "nightly"; n%2 == 0 {
			a.ScheduleId, a.Status = "", "failed"
		}
		f.audits = append(f.audits, a)
	}
	_, out, errs := f.command(t, "audit", "list", "-o", "json")
	var list struct {
		Audits        []any  `json:"audits"`
		NextPageToken string `json:"next_page_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Audits, 50)
	require.Equal(t, "50", list.NextPageToken)
	require.Contains(t, errs, "the first 50; there are more")
	_, out, errs = f.command(t, "audit", "list", "--schedule", "nightly", "--limit", "0", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Audits, 30)
	require.Empty(t, errs)
	_, out, _ = f.command(t, "audit", "list", "--status", "canceled")
	require.Equal(t, "No audit matches.\n", out)
	_, out, _ = new(fleet).command(t, "audit", "list")
	require.Contains(t, out, "nthlayer audit start", "the control")
}

func TestAuditGetAndCancel_ShowHowItStands(t *testing.T) {
	f := fleet{audits: []*nthlayerv1.Audit{underWay(2)}}
	code, out, errs := f.command(t, "audit", "get", job)
	require.Zero(t, code, errs)
	require.Contains(t, bare(out), "2 of 3 done")
	_, out, _ = f.command(t, "audit", "cancel", job)
	require.Contains(t, out, "see it end with: nthlayer audit watch "+job)
	f.audits = []*nthlayerv1.Audit{ended("canceled", nil)}
	_, out, _ = f.command(t, "audit", "cancel", job)
	require.Contains(t, bare(out), "canceled in 10m0s")
	code, _, errs = f.command(t, "audit", "get", "other")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "there is nothing like it")
}
