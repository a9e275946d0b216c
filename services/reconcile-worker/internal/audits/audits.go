// Package audits does the parts of audits that the queue brings: the snapshot of both platforms' lists, and then some
// teams at a time. It reads the platforms and can change nothing on them. A message is only ever a hint; the part's row
// decides.
package audits

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// Source reads what is declared.
type Source interface {
	audit.Source
	EachTeamPage(ctx context.Context, each func([]ownership.Desired) error) (total int, err error)
}

// Target reads what is observed, team by team and as a whole.
type Target interface {
	audit.Target
	Teams(ctx context.Context) (teams []pagerduty.TeamInfo, whole bool, err error)
	Users(ctx context.Context, each func([]ownership.User) error) (whole bool, err error)
	Rotations(ctx context.Context, targetIDs []string) (map[string]ownership.Rotation, error)
	Records(ctx context.Context, since, until time.Time, each func([]pagerduty.Record) error) error
}

// Options tune a Worker.
type Options struct {
	Owner       string
	Lease       time.Duration // how long a part stays with a worker that gives no sign of life
	Patience    time.Duration // how long a platform may keep a part from going on before its teams are unknown
	Settle      time.Duration // how long a change may take to show in PagerDuty's lists and records
	Shrink      float64       // the share of teams or members by which the source may shrink from one audit to the next
	Roles       ownership.RoleMap
	CreateTeams bool
	OwnToken    func() string // what the target's records show of our token
}

// Worker handles messages of the audit queue.
type Worker struct {
	store  *store.Store
	source Source
	target Target
	poke   func() // the outbox has something to send
	log    *slog.Logger
	opts   Options
}

// New makes a Worker.
func New(s *store.Store, source Source, target Target, poke func(), log *slog.Logger, opts Options) *Worker {
	return &Worker{store: s, source: source, target: target, poke: poke, log: log, opts: opts}
}

// Handle does the part that a message names. It returns nil when the message has done its duty: the part is done, was put
// back through the outbox, or belongs to somebody else.
func (w *Worker) Handle(ctx context.Context, m queue.Received) error {
	var body struct {
		AuditID uuid.UUID `json:"audit_id"`
		JobNo   *int      `json:"job_no"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil || body.AuditID == uuid.Nil || body.JobNo == nil {
		return w.bury(ctx, m, fault.New(fault.Invalid, "the message names no part of an audit", err).WithReason("MESSAGE_UNREADABLE"))
	}
	job, err := w.store.ClaimAuditJob(ctx, body.AuditID, *body.JobNo, w.opts.Owner, w.opts.Lease)
	switch {
	case fault.Is(err, fault.Precondition):
		return nil // over, or not due: a message that arrived twice, late or early
	case fault.Is(err, fault.NotFound):
		return w.bury(ctx, m, err)
	case fault.Is(err, fault.Conflict):
		f, _ := fault.As(err)
		return queue.Retry(max(f.RetryAfter, time.Second), err)
	case err != nil:
		return err
	}
	ctx = telemetry.With(ctx, slog.String("audit_id", body.AuditID.String()), slog.Int("job_no", job.No), slog.Int64("fence", job.Fence))
	return w.keep(upstream.WithPriority(ctx, upstream.Bulk), job) // nobody waits for a single call of an audit
}

// HandleDead takes what the queue itself gave up on. A part that it names is announced again for as long as it is open.
func (w *Worker) HandleDead(ctx context.Context, m queue.Received) error {
	var body struct {
		AuditID uuid.UUID `json:"audit_id"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil || body.AuditID == uuid.Nil {
		return w.bury(ctx, m, fault.New(fault.Invalid, "the message names no part of an audit", err).WithReason("MESSAGE_UNREADABLE"))
	}
	w.log.WarnContext(ctx, "the queue gave up a message; its part of an audit is announced again", "audit_id", body.AuditID.String(), "message_id", m.ID)
	return nil
}

func (w *Worker) bury(ctx context.Context, m queue.Received, cause error) error {
	w.log.ErrorContext(ctx, "message dead-lettered", "message_id", m.ID, "queue", m.Queue, "error", cause)
	return w.store.Bury(ctx, store.AuditQueue, m, cause)
}

// keep works on a part while renewing its lease, and stops when that is lost.
func (w *Worker) keep(ctx context.Context, job *store.AuditJob) error {
	working, stop := context.WithCancelCause(ctx)
	keeping, done := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { w.renew(keeping, job, stop) })
	defer func() { done(); kept.Wait(); stop(nil) }()

	begun := time.Now()
	err := w.do(working, job)
	w.poke()
	if err != nil && fault.Is(context.Cause(working), fault.Fenced) {
		err = context.Cause(working)
	}
	if fault.Is(err, fault.Fenced) { // somebody else has the part, or the audit was canceled
		w.log.InfoContext(ctx, "part of an audit lost", "error", err)
		return nil
	}
	if err == nil {
		w.log.InfoContext(ctx, "part of an audit handled", "took", time.Since(begun).String())
		return nil
	}
	w.log.ErrorContext(ctx, "part of an audit failed", "attempt", job.Attempts, "again_in", failedAfter.String(), "error", err)
	putting, cancel := settling(ctx)
	defer cancel()
	return job.Defer(putting, store.AuditDelay{Delay: failedAfter, Failed: true})
}

const (
	failedAfter = 5 * time.Second // after a failure of our own
	mostFailed  = 5               // of them in a row; an audit must come to an end
)

func (w *Worker) do(ctx context.Context, job *store.AuditJob) error {
	const reason, message = "AUDIT_PART_FAILED", "NthLayer failed to compare these teams; the log of the reconcile-worker says why"
	switch {
	case job.Attempts > mostFailed && job.No == store.SnapshotJob:
		return job.FailSnapshot(ctx, store.Calls{}, reason, message)
	case job.Attempts > mostFailed:
		return job.Abandon(ctx, reason, message)
	case job.No == store.SnapshotJob:
		return w.snapshot(ctx, job)
	default:
		return w.teams(ctx, job)
	}
}

func (w *Worker) renew(ctx context.Context, job *store.AuditJob, stop context.CancelCauseFunc) {
	tick := time.NewTicker(w.opts.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		renewing, cancel := context.WithTimeout(ctx, w.opts.Lease/3)
		err := job.Renew(renewing)
		cancel()
		switch {
		case err == nil, ctx.Err() != nil:
		case fault.Is(err, fault.Fenced):
			stop(err)
			return
		default: // what is written under a lease that ran out is refused: nothing can go wrong but work done twice
			w.log.WarnContext(ctx, "lease of a part of an audit not renewed yet", "error", err)
		}
	}
}

// settleWithin bounds what is written after the work itself was cut off.
const settleWithin = 15 * time.Second

// settling is a context in which is written what was found, also when the work was cut off.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
}

// putBack defers a part that cannot go on now.
func (w *Worker) putBack(ctx context.Context, job *store.AuditJob, cause error, d store.AuditDelay) error {
	ctx, cancel := settling(ctx)
	defer cancel()
	if !stopping(cause) {
		d.Failing, d.Delay = true, min(max(fault.RetryAfterOf(cause), retryAfter), longestWait)
	}
	w.log.InfoContext(ctx, "part of an audit deferred", "for", d.Delay.String(), "error", cause)
	return job.Defer(ctx, d)
}

const (
	retryAfter  = 2 * time.Second
	longestWait = 30 * time.Second
)

// stopping reports that the work was cut off by the end of this process.
func stopping(err error) bool { return fault.Is(err, fault.Canceled) }

// why is what a reader is told of an error.
func why(err error) (reason, message string) {
	f, ok := fault.As(err)
	if !ok {
		return "INTERNAL", "something went wrong; the log of the reconcile-worker says what"
	}
	reason = fault.ReasonOf(err)
	if reason == "" {
		reason = "INTERNAL"
	}
	return reason, f.Text
}
