// Package work does the jobs that the queue brings: it claims a run, takes it through its flow while renewing the claim,
// and settles what becomes of it. A message is only ever a hint; the run's row decides.
package work

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
)

const scope = "github.com/nthlayer/nthlayer/services/reconcile-worker"

// Options tune a Worker.
type Options struct {
	Owner       string        // this process, for the lease
	Lease       time.Duration // how long a run stays ours without a sign of life
	MaxAttempts int           // failed attempts before a run is given up
	Backoff     time.Duration // the wait after the first failed attempt; it triples with each
	Patience    time.Duration // how long after its acceptance a run may still be put off for a platform's sake
}

// Worker handles messages of the reconcile queue.
type Worker struct {
	store  *store.Store
	flow   *reconcile.Flow
	events *store.EventLog
	poke   func() // the outbox has something to send
	log    *slog.Logger
	opts   Options
	ended  metric.Int64Counter
	took   metric.Float64Histogram
	made   metric.Int64Counter
}

// New makes a Worker.
func New(s *store.Store, f *reconcile.Flow, events *store.EventLog, poke func(), log *slog.Logger, opts Options) *Worker {
	meter := otel.Meter(scope)
	ended, _ := meter.Int64Counter("nthlayer.runs", metric.WithDescription("Runs by how an attempt ended."))
	took, _ := meter.Float64Histogram("nthlayer.run.duration", metric.WithUnit("s"), metric.WithDescription("Time from claim to the end of an attempt."))
	made, _ := meter.Int64Counter("nthlayer.changes", metric.WithDescription("Changes by kind and outcome."))
	return &Worker{store: s, flow: f, events: events, poke: poke, log: log, opts: opts, ended: ended, took: took, made: made}
}

// Handle does the run that a message names. It returns nil when the message has done its duty: the run has ended, was
// put back through the outbox, or belongs to somebody else.
func (w *Worker) Handle(ctx context.Context, m queue.Received) error {
	var body struct {
		JobID uuid.UUID `json:"job_id"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return fault.New(fault.Invalid, "the message does not name a job", err)
	}
	claim, err := w.store.Claim(ctx, body.JobID, w.opts.Owner, w.opts.Lease)
	switch {
	case fault.Is(err, fault.Precondition), fault.Is(err, fault.NotFound):
		return nil // ended already: a message that arrived twice, or late
	case fault.Is(err, fault.Conflict):
		f, _ := fault.As(err)
		return queue.Retry(max(f.RetryAfter, time.Second), err)
	case err != nil:
		return err
	}
	ctx = telemetry.With(ctx, slog.String("job_id", claim.Run.JobID.String()), slog.String("team_id", claim.Run.TeamID),
		slog.String("idem_key", claim.Run.IdempotencyKey), slog.Int64("fence", claim.Fence))
	return w.attempt(ctx, claim)
}

// attempt takes a claimed run as far as it goes and settles the rest.
func (w *Worker) attempt(ctx context.Context, claim *store.Claim) error {
	begun := time.Now()
	job := w.job(claim)
	w.event(job, store.Event{Kind: store.RunStarted, Try: claim.Run.Attempt})

	running, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		w.keep(running, claim, cancel)
	}()
	defer func() { cancel(nil); <-renewed }()

	var state *reconcile.State
	var err error
	if claim.Run.Attempt > w.opts.MaxAttempts {
		err = fault.New(fault.Internal, fmt.Sprintf("given up: the worker died in each of %d attempts", w.opts.MaxAttempts), nil).
			WithReason("WORKER_DIED")
	} else {
		state, err = w.flow.Run(running, job)
	}
	if err != nil && running.Err() != nil {
		err = stopped(context.Cause(running), err)
	}
	outcome, err := w.settle(ctx, claim, job, state, err)
	w.poke()
	w.ended.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	w.took.Record(ctx, time.Since(begun).Seconds(), metric.WithAttributes(attribute.String("outcome", outcome)))
	return err
}

// stopped is why a run was stopped; that says more than what broke because of it.
func stopped(cause, err error) error {
	if _, typed := fault.As(cause); typed {
		return cause
	}
	return fault.New(fault.Canceled, "the worker is stopping", err).WithReason("WORKER_STOPPING")
}

// settle decides what becomes of a run after an attempt.
func (w *Worker) settle(ctx context.Context, claim *store.Claim, job reconcile.Job, state *reconcile.State, err error) (string, error) {
	// The end is written down although the process is stopping.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	reason, text := fault.ReasonOf(err), ""
	if f, ok := fault.As(err); ok {
		text = f.Text
	}
	switch {
	case err == nil:
		w.log.InfoContext(ctx, "run ended")
		return "ended", nil
	case fault.Is(err, fault.Fenced):
		w.log.WarnContext(ctx, "run lost to another worker", "error", err)
		return "fenced", nil
	case interruption(err) && !w.tooLate(claim.Run, err):
		delay := waitFor(err)
		w.log.InfoContext(ctx, "run deferred", "reason", reason, "for", delay.String(), "error", err)
		return "deferred", w.putBack(ctx, claim, job, delay, false, reason, text)
	case fault.Passing(err) && !interruption(err) && claim.Run.Attempt < w.opts.MaxAttempts:
		delay := max(tripled(w.opts.Backoff, claim.Run.Attempt-1), waitFor(err))
		w.log.WarnContext(ctx, "attempt failed", "attempt", claim.Run.Attempt, "reason", reason, "again_in", delay.String(), "error", err)
		return "retried", w.putBack(ctx, claim, job, delay, true, reason, text)
	default:
		w.log.ErrorContext(ctx, "run failed", "attempt", claim.Run.Attempt, "reason", reason, "error", err)
		return "failed", w.fail(ctx, job, state, err)
	}
}

const settleWithin = 15 * time.Second

func (w *Worker) putBack(ctx context.Context, claim *store.Claim, job reconcile.Job, delay time.Duration, counted bool, reason, text string) error {
	w.event(job, store.Event{Kind: store.RunDeferred, Message: text})
	err := claim.Defer(ctx, delay, counted, reason, text)
	if fault.Is(err, fault.Fenced) {
		return nil
	}
	return err
}

func (w *Worker) fail(ctx context.Context, job reconcile.Job, state *reconcile.State, cause error) error {
	if err := w.events.Flush(ctx); err != nil {
		w.log.WarnContext(ctx, "events not written yet", "error", err)
	}
	err := w.flow.Fail(ctx, job, state, cause)
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

// tooLate reports whether a run has waited long enough: what is accepted reaches an end, although a platform does not
// come back. A worker that stops is no reason.
func (w *Worker) tooLate(run store.Run, err error) bool {
	return !fault.Is(err, fault.Canceled) && time.Since(run.CreatedAt)+waitFor(err) > w.opts.Patience
}

func waitFor(err error) time.Duration {
	if f, ok := fault.As(err); ok {
		return f.RetryAfter
	}
	return 0
}

// tripled is d times three, n times over; beyond eight times it stays.
func tripled(d time.Duration, n int) time.Duration {
	for range min(n, 8) {
		d *= 3
	}
	return d
}

// keep renews the claim until the context ends, and stops the run when the claim is lost or cannot be kept: after a
// whole lease without a renewal somebody else may be at work.
func (w *Worker) keep(ctx context.Context, claim *store.Claim, stop context.CancelCauseFunc) {
	good := time.Now()
	tick := time.NewTicker(w.opts.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		renewing, cancel := context.WithTimeout(ctx, w.opts.Lease/3)
		err := claim.Renew(renewing)
		cancel()
		switch {
		case err == nil:
			good = asked
		case ctx.Err() != nil:
			return
		case fault.Is(err, fault.Fenced):
			stop(err)
			return
		case time.Since(good) > w.opts.Lease*2/3:
			stop(fault.New(fault.Fenced, "the lease could not be renewed", err).WithReason("LEASE_LOST"))
			return
		default:
			w.log.WarnContext(ctx, "lease not renewed yet", "error", err)
		}
	}
}

// job connects a claim to the flow, with a span a step and events for those who watch.
func (w *Worker) job(claim *store.Claim) reconcile.Job {
	tracer := otel.Tracer(scope)
	job := reconcile.Job{Run: claim.Run, Ledger: ledger{claim, w.events}}
	job.Tell = func(e store.Event) {
		if e.Change != nil {
			w.made.Add(context.Background(), 1, metric.WithAttributes(
				attribute.String("kind", string(e.Change.Kind)), attribute.String("outcome", e.Kind)))
		}
		w.events.Add(e)
	}
	job.Hooks = flow.Hooks{
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

// ledger writes a run's events before its end: the end closes the watchers' streams.
type ledger struct {
	*store.Claim
	events *store.EventLog
}

func (l ledger) Finish(ctx context.Context, ending store.Ending) error {
	if err := l.events.Flush(ctx); err != nil {
		return err
	}
	return l.Claim.Finish(ctx, ending)
}
