package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Event is one thing that happened in a run, for those who watch it. Seq is set when it is read.
type Event struct {
	Seq     int64             `json:"-"`
	JobID   uuid.UUID         `json:"-"`
	At      time.Time         `json:"-"`
	Kind    string            `json:"kind"`
	Step    string            `json:"step,omitempty"`
	Try     int               `json:"try,omitempty"`
	Message string            `json:"message,omitempty"`
	Change  *ownership.Change `json:"change,omitempty"`
}

// The kinds of event that are about a run as a whole; those about steps are flow's.
const (
	RunQueued       = "run_queued"
	RunStarted      = "run_started"
	RunDeferred     = "run_deferred"
	RunRequeued     = "run_requeued"
	RunSucceeded    = "run_succeeded"
	RunFailed       = "run_failed"
	RunCanceled     = "run_canceled"
	RunDeadLettered = "run_dead_lettered"
	RunApproved     = "run_approved"
	PlanReady       = "plan_ready"
	ApprovalAsked   = "approval_requested"
	PlanApproved    = "plan_approved" // by one of those whose approval is needed
	ChangeDone      = "change_applied"
	ChangeFailed    = "change_failed"
)

// EndOf is the kind of the event that ends a run with this status.
func EndOf(status string) string { return "run_" + status }

// Ends reports whether the event ended its run, for as long as nobody requeues it.
func (e Event) Ends() bool {
	switch e.Kind {
	case RunSucceeded, RunFailed, RunCanceled, RunDeadLettered:
		return true
	default:
		return false
	}
}

// Events lists a run's events after a sequence number.
func (s *Store) Events(ctx context.Context, jobID uuid.UUID, after int64, limit int) ([]Event, error) {
	rows, err := s.q.ListEvents(ctx, db.ListEventsParams{JobID: jobID, AfterSeq: after, PageSize: int32(limit)})
	if err != nil {
		return nil, wrap(err, "list events")
	}
	events := make([]Event, len(rows))
	for i, row := range rows {
		if err := decode(row.Event, &events[i]); err != nil {
			return nil, err
		}
		events[i].Seq, events[i].JobID, events[i].At = row.Seq, row.JobID, row.At
	}
	return events, nil
}

func appendParams(events []Event) db.AppendEventsParams {
	var p db.AppendEventsParams
	for _, e := range events {
		p.JobIds = append(p.JobIds, e.JobID)
		p.Ats = append(p.Ats, e.At)
		p.Events = append(p.Events, encode(e))
	}
	return p
}

const (
	eventPause   = 20 * time.Millisecond // how long an event waits for others to share its commit
	eventBacklog = 10_000                // events kept while the database is away; older ones are dropped
	eventRetry   = time.Second
)

// EventLog writes the events of all runs of a process in batches: many steps, one commit. Events are telemetry: adding
// one never blocks and never fails, and the flow does not depend on them.
type EventLog struct {
	store  *Store
	log    *slog.Logger
	wake   chan struct{}
	mu     sync.Mutex
	buffer []Event
	flush  sync.Mutex // one write at a time keeps the order
}

// NewEventLog makes a log; Run has to run for events to be written.
func (s *Store) NewEventLog(log *slog.Logger) *EventLog {
	return &EventLog{store: s, log: log, wake: make(chan struct{}, 1)}
}

// Add notes an event.
func (l *EventLog) Add(e Event) {
	l.mu.Lock()
	if len(l.buffer) >= eventBacklog {
		l.buffer = l.buffer[1:]
	}
	l.buffer = append(l.buffer, e)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes events until the context ends, and then what is left.
func (l *EventLog) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventRetry)
			defer cancel()
			if err := l.Flush(last); err != nil {
				l.log.WarnContext(last, "events lost at shutdown", "error", err)
			}
			return nil
		case <-l.wake:
		}
		pause := eventPause
		for {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			if ctx.Err() != nil {
				break
			}
			err := l.Flush(ctx)
			if err == nil {
				break
			}
			l.log.WarnContext(ctx, "events not written yet", "error", err)
			pause = eventRetry
		}
	}
}

// Flush writes what was added so far and returns when it is durable.
func (l *EventLog) Flush(ctx context.Context) error {
	l.flush.Lock()
	defer l.flush.Unlock()
	l.mu.Lock()
	batch := l.buffer
	l.buffer = nil
	l.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := l.store.q.AppendEvents(ctx, appendParams(batch)); err != nil {
		l.mu.Lock()
		l.buffer = append(batch, l.buffer...)
		l.mu.Unlock()
		return wrap(err, "write events")
	}
	return nil
}

// EventHub tells watchers that a run has news: one LISTEN connection a process, whatever the number of watchers, and no
// polling. A token may be lost while the connection is; whoever must know looks by itself now and then.
type EventHub struct {
	channel  string
	pool     *pgxpool.Pool
	log      *slog.Logger
	mu       sync.Mutex
	watchers map[uuid.UUID]map[chan struct{}]struct{}
}

// NewEventHub makes a hub of runs' events; Run has to run for watchers to be told.
func (s *Store) NewEventHub(log *slog.Logger) *EventHub { return s.newHub("run_events", log) }

// NewControlHub makes a hub of what is asked of runs that are being worked on; see Claim.Renew.
func (s *Store) NewControlHub(log *slog.Logger) *EventHub { return s.newHub("run_control", log) }

func (s *Store) newHub(channel string, log *slog.Logger) *EventHub {
	return &EventHub{channel: channel, pool: s.pool, log: log, watchers: map[uuid.UUID]map[chan struct{}]struct{}{}}
}

// Subscribe gives a channel that holds a token whenever the run may have news, and a function to stop. The first token
// is there at once: news may have come before the subscription.
func (h *EventHub) Subscribe(jobID uuid.UUID) (news <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[jobID] == nil {
		h.watchers[jobID] = map[chan struct{}]struct{}{}
	}
	h.watchers[jobID][ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers[jobID], ch)
		if len(h.watchers[jobID]) == 0 {
			delete(h.watchers, jobID)
		}
	}
}

// SubscribeAll is Subscribe to the news of everything.
func (h *EventHub) SubscribeAll() (news <-chan struct{}, stop func()) { return h.Subscribe(uuid.Nil) }

// Run listens until the context ends, and listens again when the connection breaks.
func (h *EventHub) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := h.listen(ctx); err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "listening for events broke off; listening again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(eventRetry):
			}
		}
	}
	return nil
}

func (h *EventHub) listen(ctx context.Context) error {
	pooled, err := h.pool.Acquire(ctx)
	if err != nil {
		return wrap(err, "listen for events")
	}
	conn := pooled.Hijack() // a listening connection must not go back to the pool
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventRetry)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+h.channel); err != nil {
		return wrap(err, "listen for events")
	}
	h.tellAll() // what was told while nobody listened
	for {
		notification, err := conn.WaitForNotification(ctx)
		if err != nil {
			return wrap(err, "wait for events")
		}
		if jobID, err := uuid.Parse(notification.Payload); err == nil {
			h.tell(jobID)
		}
	}
}

func (h *EventHub) tell(jobID uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range []uuid.UUID{jobID, uuid.Nil} {
		for ch := range h.watchers[of] {
			nudge(ch)
		}
	}
}

func (h *EventHub) tellAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, watchers := range h.watchers {
		for ch := range watchers {
			nudge(ch)
		}
	}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
