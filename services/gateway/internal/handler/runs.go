package handler

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	readBatch = 1000
	// mostShown bounds what GetRun shows: a message of 4 MB holds that many findings. The rest is in ListFindings.
	mostShown = 5000
)

// RunStore is what Runs needs of the store.
type RunStore interface {
	Run(ctx context.Context, jobID uuid.UUID) (store.Run, error)
	Runs(context.Context, store.RunFilter) ([]store.Run, error)
	Events(ctx context.Context, jobID uuid.UUID, after int64, limit int) ([]store.Event, error)
	Findings(context.Context, store.FindingFilter) ([]trail.Entry, error)
	RunArchives(ctx context.Context, jobID uuid.UUID) ([]store.TrailArchive, error)
	Cancel(ctx context.Context, jobID uuid.UUID, by, reason string) (store.Run, error)
	Accept(context.Context, store.NewRun) (jobID uuid.UUID, created bool, err error)
	Approval(ctx context.Context, jobID uuid.UUID) (*store.Approval, error)
	Approve(ctx context.Context, jobID uuid.UUID, planHash string, vote policy.Vote) (store.Run, error)
	Reject(ctx context.Context, jobID uuid.UUID, planHash, by, reason, via string) (store.Run, error)
}

// News tells of events as they come.
type News interface {
	// Subscribe gives a channel that holds a token whenever the run may have news, the first at once.
	Subscribe(jobID uuid.UUID) (news <-chan struct{}, stop func())
}

// Runs serves RunService.
type Runs struct {
	nthlayerv1.UnimplementedRunServiceServer
	Store RunStore
	News  News
	Poke  func() // tells the relay that the outbox has news
}

// CancelRun asks for the end of a run.
func (r *Runs) CancelRun(ctx context.Context, request *nthlayerv1.CancelRunRequest) (*nthlayerv1.Run, error) {
	jobID, who, err := askingAbout(ctx, "job_id", request.GetJobId())
	if err != nil {
		return nil, err
	}
	run, err := r.Store.Cancel(ctx, jobID, who, request.GetReason())
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("job_id", jobID.String()), slog.String("team_id", run.TeamID))
	r.Poke()
	return showRun(run), nil
}

// GetRun shows one run with its plan, steps and findings.
func (r *Runs) GetRun(ctx context.Context, request *nthlayerv1.GetRunRequest) (*nthlayerv1.Run, error) {
	jobID, err := parseID("job_id", request.GetJobId())
	if err != nil {
		return nil, err
	}
	run, err := r.Store.Run(ctx, jobID)
	if err != nil {
		return nil, err
	}
	shown, err := r.whole(ctx, run)
	if err != nil {
		return nil, err
	}
	if shown.Steps, err = r.steps(ctx, run); err != nil {
		return nil, err
	}
	if shown.Findings, err = r.findings(ctx, jobID); err != nil {
		return nil, err
	}
	shown.FindingsArchived, err = r.archived(ctx, jobID)
	return shown, err
}

// archived says where findings are that are no longer in the database.
func (r *Runs) archived(ctx context.Context, jobID uuid.UUID) (string, error) {
	archives, err := r.Store.RunArchives(ctx, jobID)
	if err != nil || len(archives) == 0 {
		return "", err
	}
	first, last := archives[0], archives[len(archives)-1]
	text := fmt.Sprintf("entries %d to %d of the trail, from the time of this run, were moved to %s", first.First, last.Last, first.Location)
	if len(archives) > 1 {
		text += " and what follows it up to " + last.Location
	}
	return text + "; what it recorded among them stands there", nil
}

// whole shows a run with its plan and what it waits for.
func (r *Runs) whole(ctx context.Context, run store.Run) (*nthlayerv1.Run, error) {
	shown := showRun(run)
	if run.Result != nil {
		shown.Plan = api.Plan(run.Result.Plan, run.Result.Decision)
	}
	approval, err := r.Store.Approval(ctx, run.JobID)
	shown.Approval = showApproval(approval)
	return shown, err
}

func (r *Runs) findings(ctx context.Context, jobID uuid.UUID) (findings []*nthlayerv1.Finding, err error) {
	filter := store.FindingFilter{JobID: jobID, Limit: readBatch}
	for len(findings) < mostShown {
		entries, err := r.Store.Findings(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			findings = append(findings, api.Finding(entry))
			filter.After = entry.Seq
		}
		if len(entries) < readBatch {
			break
		}
	}
	return findings, nil
}

// ListRuns lists runs, newest first.
func (r *Runs) ListRuns(ctx context.Context, request *nthlayerv1.ListRunsRequest) (*nthlayerv1.ListRunsResponse, error) {
	filter := store.RunFilter{Teams: rpc.VisibleTeams(ctx), TeamID: request.GetTeamId(), Status: request.GetStatus(), RequestedBy: request.GetRequestedBy()}
	after, err := lastID(request)
	if err != nil {
		return nil, err
	}
	filter.After = after
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	runs, err := r.Store.Runs(ctx, filter)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListRunsResponse{}
	if len(runs) > size {
		runs = runs[:size]
		response.NextPageToken = pagetoken.Next(request, runs[size-1].JobID.String())
	}
	for _, run := range runs {
		response.Runs = append(response.Runs, showRun(run))
	}
	return response, nil
}

// WatchRun streams a run's events until the one that ends it.
func (r *Runs) WatchRun(request *nthlayerv1.WatchRunRequest, stream grpc.ServerStreamingServer[nthlayerv1.RunEvent]) error {
	ctx := stream.Context()
	jobID, err := parseID("job_id", request.GetJobId())
	if err != nil {
		return err
	}
	news, stop := r.News.Subscribe(jobID) // before the first look, so that nothing falls between
	defer stop()
	watch := watch{store: r.Store, stream: stream, jobID: jobID, seq: request.GetAfterSeq()}
	if err := watch.begin(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
		if ended, err := watch.catchUp(ctx); ended || err != nil {
			return err
		}
	}
}

// watch is one caller's place in a run's events.
type watch struct {
	store  RunStore
	stream grpc.ServerStreamingServer[nthlayerv1.RunEvent]
	jobID  uuid.UUID
	seq    int64       // of the last event sent
	last   store.Event // the last event sent
}

// begin sends the event that every run starts with, which stands in no table: the run itself says it. A caller who comes
// back has seen it; what they saw last tells whether they have seen the end.
func (w *watch) begin(ctx context.Context) error {
	if w.seq > 0 {
		seen, err := w.store.Events(ctx, w.jobID, w.seq-1, 1)
		if err == nil && len(seen) > 0 && seen[0].Seq == w.seq {
			w.last = seen[0]
		}
		return err
	}
	run, err := w.store.Run(ctx, w.jobID)
	if err != nil {
		return err
	}
	return w.stream.Send(showEvent(store.Event{JobID: run.JobID, At: run.CreatedAt, Kind: store.RunQueued}))
}

// catchUp sends what happened since, and reports whether the run has ended. The run is read before its events: if it had
// ended by then, no event is still to come, unless it was requeued meanwhile. The event of the end is part of the
// transaction that ends the run, but numbers are given before they are committed, so it can lie behind one that was sent
// already. Then it is made anew.
func (w *watch) catchUp(ctx context.Context) (ended bool, err error) {
	run, err := w.store.Run(ctx, w.jobID)
	if err != nil {
		return false, err
	}
	for {
		events, err := w.store.Events(ctx, w.jobID, w.seq, readBatch)
		if err != nil {
			return false, err
		}
		for _, event := range events {
			if err := w.stream.Send(showEvent(event)); err != nil {
				return false, err
			}
			w.seq, w.last = event.Seq, event
		}
		if len(events) < readBatch {
			break
		}
	}
	switch {
	case !run.Terminal(), w.last.Kind == store.RunRequeued:
		return false, nil
	case w.last.Ends():
		return true, nil
	default:
		return true, w.stream.Send(endOf(run, w.seq+1))
	}
}

func parseID(field, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, fault.Field(field, "must be a UUID")
	}
	return id, nil
}

// lastID reads the id in a request's page token.
func lastID(request pagetoken.List) (uuid.UUID, error) {
	cursor, err := pagetoken.Cursor(request)
	if err != nil || cursor == "" {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(cursor)
	if err != nil {
		return uuid.Nil, pagetoken.Bad()
	}
	return id, nil
}

// askingAbout is which one a request is about, and who makes it.
func askingAbout(ctx context.Context, field, text string) (id uuid.UUID, who string, err error) {
	if id, err = parseID(field, text); err != nil {
		return id, "", err
	}
	who, err = asking(ctx)
	return id, who, err
}

// asking is who makes the request.
func asking(ctx context.Context) (string, error) {
	principal, ok := auth.PrincipalFrom(ctx)
	if !ok {
		return "", fault.New(fault.Unauthenticated, "nobody is known to ask for this", nil)
	}
	return principal.Subject, nil
}
