// Package work does the jobs that the queue brings: it claims a run, takes it through its flow while renewing the claim,
// and settles what becomes of it. A message is only ever a hint; the run's row decides.
package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

const scope = "github.com/nthlayer/nthlayer/services/reconcile-worker"

// Options tune a Worker.
type Options struct {
	Terms       store.Terms   // how runs are claimed
	MaxAttempts int           // failed attempts before a run is dead-lettered
	Backoff     time.Duration // the wait after the first failed attempt; it triples with each
	Patience    time.Duration // how long after it was due a run may still be put off for a platform's sake
	Attempt     time.Duration // one attempt, at most
	// Hold says how long runs could do nothing but be put off again; nil: they can always be done.
	Hold func() time.Duration
}

// Worker handles messages of the reconcile queue.
type Worker struct {
	store   *store.Store
	flow    *reconcile.Flow
	events  *store.EventLog
	control *store.EventHub // tells that somebody wants something of a run
	poke    func()          // the outbox has something to send
	log     *slog.Logger
	opts    Options
	away    atomic.Bool // the database was, when it was last asked
	ended   metric.Int64Counter
	took    metric.Float64Histogram
	made    metric.Int64Counter
}

// New makes a Worker.
func New(s *store.Store, f *reconcile.Flow, events *store.EventLog, control *store.EventHub, poke func(), log *slog.Logger, opts Options) *Worker {
	meter := otel.Meter(scope)
	ended, _ := meter.Int64Counter("nthlayer.runs", metric.WithDescription("Attempts at runs, by how they ended: the run's status, or retried, deferred, fenced."))
	took, _ := meter.Float64Histogram("nthlayer.run.duration", metric.WithUnit("s"), metric.WithDescription("Time from claim to the end of an attempt."))
	made, _ := meter.Int64Counter("nthlayer.changes", metric.WithDescription("Changes by kind and outcome."))
	return &Worker{
		store: s, flow: f, events: events, control: control, poke: poke, log: log, opts: opts, ended: ended, took: took, made: made,
	}
}

// Handle does the run that a message names. It returns nil when the message has done its duty: the run has ended, was
// put back through the outbox, or belongs to somebody else.
func (w *Worker) Handle(ctx context.Context, m queue.Received) error {
	jobID, err := jobOf(m)
	if err != nil {
		return w.bury(ctx, m, err)
	}
	news, leave := w.control.Subscribe(jobID)
	defer leave()
	<-news // what there is to know now comes with the claim
	claimed := time.Now()
	claim, err := w.store.Claim(ctx, jobID, w.opts.Terms)
	w.away.Store(fault.Is(err, fault.Unavailable))
	switch {
	case fault.Is(err, fault.Precondition):
		return nil // ended already, or not due: a message that arrived twice, late or early
	case fault.Is(err, fault.NotFound):
		return w.bury(ctx, m, err)
	case fault.Is(err, fault.Conflict):
		f, _ := fault.As(err)
		return queue.Retry(max(f.RetryAfter, time.Second), err)
	case err != nil:
		return err
	}
	ctx = telemetry.With(ctx, slog.String("job_id", claim.Run.JobID.String()), slog.String("team_id", claim.Run.TeamID),
		slog.String("idem_key", claim.Run.IdempotencyKey), slog.Int64("fence", claim.Fence))
	return w.attempt(ctx, claim, claimed, news)
}

// jobOf reads which run a message names.
func jobOf(m queue.Received) (uuid.UUID, error) {
	var body struct {
		JobID uuid.UUID `json:"job_id"`
	}
	err := json.Unmarshal(m.Body, &body)
	if err == nil && body.JobID == uuid.Nil {
		err = errors.New("job_id is missing")
	}
	if err != nil {
		return uuid.Nil, fault.New(fault.Invalid, "the message names no job: "+err.Error(), nil).WithReason("MESSAGE_UNREADABLE")
	}
	return body.JobID, nil
}

// bury keeps a message that cannot be worked on where somebody sees it, and lets it go.
func (w *Worker) bury(ctx context.Context, m queue.Received, cause error) error {
	w.log.ErrorContext(ctx, "message dead-lettered", "message_id", m.ID, "queue", m.Queue, "error", cause)
	return w.store.Bury(ctx, store.ReconcileQueue, m, cause)
}

// HandleDead takes what the queue itself gave up on: after so many deliveries, none of them ended. A run that it names is
// not lost by that, it is announced again for as long as it has not ended; only a message that names none is kept.
func (w *Worker) HandleDead(ctx context.Context, m queue.Received) error {
	jobID, err := jobOf(m)
	if err == nil {
		_, err = w.store.Run(ctx, jobID)
	}
	switch {
	case err == nil:
		w.log.WarnContext(ctx, "the queue gave up a message; its run is announced again", "job_id", jobID.String(), "message_id", m.ID)
		return nil
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.NotFound):
		return w.bury(ctx, m, err)
	default:
		return err
	}
}

// Hold is how long to leave messages where they are, because the database or a platform is away: they would only be
// received to fail.
func (w *Worker) Hold(ctx context.Context) time.Duration {
	if !w.away.Load() {
		if w.opts.Hold == nil {
			return 0
		}
		return w.opts.Hold()
	}
	ctx, cancel := context.WithTimeout(ctx, holdFor)
	defer cancel()
	if w.store.Ping(ctx) != nil {
		return holdFor
	}
	w.away.Store(false)
	return 0
}

const holdFor = time.Second

// attempt takes a claimed run as far as it goes and settles the rest.
func (w *Worker) attempt(ctx context.Context, claim *store.Claim, claimed time.Time, news <-chan struct{}) error {
	ours := newTenure(claim, w.opts.Terms.Lease, claimed, w.log)
	job := w.job(claim, ours)
	w.event(job, store.Event{Kind: store.RunStarted, Try: claim.Run.Attempt})

	// The claim is kept until the run is settled, which may go on when the run itself has been stopped.
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	running, stop := context.WithCancelCause(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { ours.keep(keeping, news, stop) })
	defer func() { stopKeeping(); kept.Wait(); stop(nil) }()

	state, err := w.run(running, claim, ours, job)
	if err != nil && running.Err() != nil {
		err = stopped(context.Cause(running), err)
	}
	waited := claim.Waited + time.Since(claimed)
	outcome, err := w.settle(ctx, claim, job, state, waited, err)
	w.poke()
	w.ended.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	w.took.Record(ctx, time.Since(claimed).Seconds(), metric.WithAttributes(attribute.String("outcome", outcome)))
	if outcome == fenced { // somebody else has the run, or nobody: the message comes back to find out
		return queue.Retry(w.opts.Terms.Lease, err)
	}
	return err
}

// run takes the run through its flow, within the time of an attempt.
func (w *Worker) run(ctx context.Context, claim *store.Claim, ours *tenure, job reconcile.Job) (*reconcile.State, error) {
	switch {
	case claim.Run.CanceledBy != "":
		return nil, canceled(claim.Run.CanceledBy, claim.Run.CancelReason)
	case claim.Run.AwaitingUntil != nil: // had somebody approved, it would not be set
		return nil, reconcile.Expired()
	case claim.Run.Attempt > w.opts.MaxAttempts:
		return nil, fault.New(fault.Internal, fmt.Sprintf("given up: none of %d attempts came to an end, because its worker died or was cut off", w.opts.MaxAttempts), nil).
			WithReason("WORKER_DIED")
	}
	ctx, cancel := context.WithTimeout(upstream.WithPermit(ctx, ours.Permit), w.opts.Attempt)
	defer cancel()
	state, err := w.flow.Run(ctx, job)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fault.New(fault.Deadline, fmt.Sprintf("the attempt took longer than %s", w.opts.Attempt), err).WithReason("ATTEMPT_TIMEOUT")
	}
	return state, err
}

// stopped is why a run was stopped; that says more than what broke because of it.
func stopped(cause, err error) error {
	if _, typed := fault.As(cause); typed {
		return cause
	}
	return fault.New(fault.Canceled, "the worker is stopping", err).WithReason(workerStopping)
}

// settle decides what becomes of a run after an attempt.
func (w *Worker) settle(ctx context.Context, claim *store.Claim, job reconcile.Job, state *reconcile.State, waited time.Duration, err error) (string, error) {
	// The end is written down although the process is stopping.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	reason, text := fault.ReasonOf(err), ""
	if f, ok := fault.As(err); ok {
		text = f.Text
	}
	attempt := claim.Run.Attempt
	switch {
	case err == nil:
		ended := job.Ledger.(*ledger).ended
		w.log.InfoContext(ctx, "run ended", "status", ended)
		return ended, nil
	case errors.Is(err, flow.ErrInterrupted):
		w.log.InfoContext(ctx, "run waits for approval", "plan", state.Plan.Hash())
		return store.Awaiting, w.ask(ctx, job, state)
	case fault.Is(err, fault.Fenced):
		w.log.WarnContext(ctx, "run lost to another worker", "error", err)
		return fenced, nil
	case reason == runCanceled:
		w.log.InfoContext(ctx, "run canceled", "why", text)
		return store.Canceled, w.abandon(ctx, job, state, store.Canceled, err)
	case interruption(err) && !w.tooLate(waited, err):
		delay := fault.RetryAfterOf(err)
		w.log.InfoContext(ctx, "run deferred", "reason", reason, "for", delay.String(), "error", err)
		return "deferred", w.putBack(ctx, claim, job, store.Postponement{Delay: delay, Paused: reason == teamPaused, Reason: reason, Message: text})
	case hopeless(err):
		w.log.ErrorContext(ctx, "run failed", "attempt", attempt, "reason", reason, "error", err)
		return store.Failed, w.abandon(ctx, job, state, store.Failed, err)
	case !interruption(err) && (attempt < w.opts.MaxAttempts || seam.Off(seam.Bury)):
		delay := max(tripled(w.opts.Backoff, attempt-1), fault.RetryAfterOf(err))
		w.log.WarnContext(ctx, "attempt failed", "attempt", attempt, "reason", reason, "again_in", delay.String(), "error", err)
		return "retried", w.putBack(ctx, claim, job, store.Postponement{Delay: delay, Counted: true, Reason: reason, Message: text})
	default:
		w.log.ErrorContext(ctx, "run dead-lettered", "attempt", attempt, "reason", reason, "error", err)
		return store.DeadLettered, w.abandon(ctx, job, state, store.DeadLettered, err)
	}
}

// fenced is how an attempt ends whose run is not ours any more.
const fenced = "fenced"

// settleWithin is enough for a last look at the target and for the end.
const settleWithin = 20 * time.Second

func (w *Worker) putBack(ctx context.Context, claim *store.Claim, job reconcile.Job, p store.Postponement) error {
	w.event(job, store.Event{Kind: store.RunDeferred, Message: p.Message})
	err := claim.Defer(ctx, p)
	if fault.Is(err, fault.Fenced) {
		return nil
	}
	return err
}

// ask puts the run to wait for its approval. Where that cannot be written down, somebody takes the run up after its lease,
// and asks.
func (w *Worker) ask(ctx context.Context, job reconcile.Job, state *reconcile.State) error {
	if err := w.events.Flush(ctx); err != nil {
		w.log.WarnContext(ctx, "events not written yet", "error", err)
	}
	err := w.flow.Ask(ctx, job, state)
	if fault.Is(err, fault.Fenced) {
		return nil
	}
	return err
}

func (w *Worker) abandon(ctx context.Context, job reconcile.Job, state *reconcile.State, status string, cause error) error {
	if err := w.events.Flush(ctx); err != nil {
		w.log.WarnContext(ctx, "events not written yet", "error", err)
	}
	err := w.flow.Abandon(ctx, job, state, status, cause)
	if fault.Is(err, fault.Fenced) {
		return nil
	}
	return err
}

// interruption reports what stopped a run without being its fault: it is not an attempt.
func interruption(err error) bool {
	f, ok := fault.As(err)
	return ok && (f.Kind == fault.Canceled || f.Kind == fault.Throttled || f.Kind == fault.Unavailable && f.RetryAfter > 0)
}

// hopeless reports an error that trying again cannot mend. Anything else, also what nobody understands, is tried again.
func hopeless(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unauthenticated, fault.PermissionDenied, fault.NotFound, fault.Conflict, fault.Precondition:
		return true
	default:
		return false
	}
}

// tooLate reports whether a run has waited long enough: what is accepted reaches an end, although a platform does not
// come back. A worker that stops is no reason.
func (w *Worker) tooLate(waited time.Duration, err error) bool {
	return !fault.Is(err, fault.Canceled) && waited+fault.RetryAfterOf(err) > w.opts.Patience
}

// tripled is d times three, n times over; beyond eight times it stays.
func tripled(d time.Duration, n int) time.Duration {
	for range min(n, 8) {
		d *= 3
	}
	return d
}

// job connects a claim to the flow, with a span a step and events for those who watch.
func (w *Worker) job(claim *store.Claim, ours *tenure) reconcile.Job {
	tracer := otel.Tracer(scope)
	job := reconcile.Job{Run: claim.Run, Ledger: &ledger{Claim: claim, events: w.events}}
	job.Tell = func(e store.Event) {
		if e.Change != nil {
			w.made.Add(context.Background(), 1, metric.WithAttributes(
				attribute.String("kind", string(e.Change.Kind)), attribute.String("outcome", e.Kind)))
		}
		w.events.Add(e)
	}
	job.Hooks = flow.Hooks{
		Before: ours.Before,
		Watch: func(ctx context.Context, e flow.Event) {
			event := store.Event{Kind: string(e.Kind), Step: e.Step, Try: e.Try}
			if f, ok := fault.As(e.Err); ok {
				event.Message = f.Text
			}
			w.event(job, event)
			w.log.DebugContext(ctx, "step event", "kind", string(e.Kind), "step", e.Step, "try", e.Try, "error", e.Err)
		},
		Around: func(ctx context.Context, step string) (context.Context, func(error)) {
			begun := time.Now()
			ctx, span := tracer.Start(ctx, "step "+step)
			return ctx, func(err error) {
				if err != nil {
					span.SetStatus(codes.Error, fault.ReasonOf(err))
				}
				span.End()
				w.log.InfoContext(ctx, "step done", "step", step, "took", time.Since(begun).String(), "ok", err == nil)
			}
		},
	}
	return job
}

func (w *Worker) event(job reconcile.Job, e store.Event) {
	e.JobID, e.At = job.Run.JobID, time.Now()
	w.events.Add(e)
}

// ledger writes a run's events before its end: the end closes the watchers' streams. It remembers how the run ended.
type ledger struct {
	*store.Claim
	events *store.EventLog
	ended  string
}

func (l *ledger) Finish(ctx context.Context, ending store.Ending) error {
	if err := l.events.Flush(ctx); err != nil {
		return err
	}
	err := l.Claim.Finish(ctx, ending)
	if err == nil {
		l.ended = ending.Status
	}
	return err
}
