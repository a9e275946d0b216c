package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// ReconcileQueue and NotificationsQueue are the logical names under which messages wait in the outbox. The relay maps
// them to real queues.
const (
	ReconcileQueue     = "reconcile"
	NotificationsQueue = "notifications"
)

// The statuses of a run.
const (
	Queued       = "queued"
	Running      = "running"
	Awaiting     = "awaiting_approval" // until somebody approves its plan: see Approval
	Succeeded    = "succeeded"
	Failed       = "failed"
	Canceled     = "canceled"      // by somebody
	DeadLettered = "dead_lettered" // given up, although trying again may help: see DeadLetter
)

// Terminal reports whether a run with this status has ended.
func Terminal(status string) bool { return status != Queued && status != Running && status != Awaiting }

// The types of run.
const (
	TypeReconcile = "team.reconcile" // makes one team true
	TypeRollback  = "team.rollback"  // undoes what another run changed
)

// Type is the type of the run that a request asks for.
func (r Request) Type() string {
	if r.RollbackOf != "" {
		return TypeRollback
	}
	return TypeReconcile
}

// Request is what a run was asked to do.
type Request struct {
	Desired *ownership.Desired `json:"desired,omitempty"` // replaces the source read
	Source  string             `json:"source"`
	DryRun  bool               `json:"dry_run,omitempty"`

	Reason         string   `json:"reason,omitempty"`          // why, in the words of who asked
	RequestID      string   `json:"request_id,omitempty"`      // of the call that asked
	Roles          []string `json:"roles,omitempty"`           // which who asked held on the team then
	Only           []string `json:"only,omitempty"`            // kinds or ids of changes; empty: all
	Exclude        []string `json:"exclude,omitempty"`         // kinds or ids of changes
	OverrideFreeze string   `json:"override_freeze,omitempty"` // why changes are made although they are frozen
	RollbackOf     string   `json:"rollback_of,omitempty"`     // the job to undo; empty: none
}

// NewRun is a request that passed every check and is to be made durable.
type NewRun struct {
	Principal      string
	IdempotencyKey string // empty: the request is not keyed
	RequestHash    []byte // over everything the caller asked for
	TeamID         string
	Request        Request
	Trace          map[string]string // trace context, carried to whoever does the run
}

// Accept makes a run durable: key, run and outbox row in one statement, one round trip. The same principal and key give
// the first run again, or a Conflict where the request differs.
func (s *Store) Accept(ctx context.Context, n NewRun) (jobID uuid.UUID, created bool, err error) {
	return s.accept(ctx, s.q, n)
}

func (s *Store) accept(ctx context.Context, q *db.Queries, n NewRun) (jobID uuid.UUID, created bool, err error) {
	id, err := newID()
	if err != nil {
		return uuid.Nil, false, err
	}
	key := n.IdempotencyKey
	if key == "" || seam.Off(seam.Key) {
		key = id.String()
	}
	row, err := q.AcceptRun(ctx, db.AcceptRunParams{
		Principal: n.Principal, IdempotencyKey: key, RequestHash: n.RequestHash, JobID: id, Type: n.Request.Type(),
		TeamID: n.TeamID, Request: encode(n.Request), Trace: encode(orEmpty(n.Trace)), Queue: ReconcileQueue, DryRun: n.Request.DryRun,
	})
	if err != nil {
		return uuid.Nil, false, wrap(err, "accept a run")
	}
	if !row.Created && string(row.RequestHash) != string(n.RequestHash) {
		return uuid.Nil, false, fault.New(fault.Conflict,
			"the idempotency key was used for another request (job "+row.JobID.String()+"); use a new key for a new request", nil).
			WithReason("IDEMPOTENCY_KEY_REUSED")
	}
	return row.JobID, row.Created, nil
}

// Run is one job as it stands.
type Run struct {
	JobID          uuid.UUID
	Type           string
	TeamID         string
	Status         string
	RequestedBy    string
	IdempotencyKey string
	Request        Request
	Trace          map[string]string
	Attempt        int
	Round          int     // how often it was planned
	Lives          int     // 1, and one more for each time it was requeued
	CanceledBy     string  // who asked to cancel it; empty: nobody
	CancelReason   string  // why
	Result         *Result // nil: no plan was made yet
	Summary        string
	ErrorReason    string
	ErrorMessage   string
	CreatedAt      time.Time
	AvailableAt    time.Time  // not begun before
	AwaitingUntil  *time.Time // when a run that waits for approval ends without one; nil: it does not wait
	Approved       bool       // the plan that it waited with was approved
	StartedAt      *time.Time
	FinishedAt     *time.Time
}

// Result is what a run found and decided.
type Result struct {
	Plan     ownership.Plan  `json:"plan"`
	Decision policy.Decision `json:"decision"`
}

// Terminal reports whether the run has ended.
func (r Run) Terminal() bool { return Terminal(r.Status) }

// Run reads one run.
func (s *Store) Run(ctx context.Context, jobID uuid.UUID) (Run, error) {
	row, err := s.q.GetRun(ctx, jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Run{}, noRun(jobID)
	}
	if err != nil {
		return Run{}, wrap(err, "read a run")
	}
	return runFrom(row)
}

// RunFilter selects runs; empty fields select all. After is the last job of the page before.
type RunFilter struct {
	After       uuid.UUID
	TeamID      string
	Status      string
	RequestedBy string
	Limit       int
	Teams       []string // only those of these teams; nil: of all
}

// Runs lists runs, newest first.
func (s *Store) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	rows, err := s.q.ListRuns(ctx, db.ListRunsParams{
		After: f.After, TeamID: f.TeamID, Status: f.Status, RequestedBy: f.RequestedBy, Teams: f.Teams, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list runs")
	}
	runs := make([]Run, 0, len(rows))
	for _, row := range rows {
		run, err := runFrom(row)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

func runFrom(row db.Run) (Run, error) {
	r := Run{
		JobID: row.JobID, Type: row.Type, TeamID: row.TeamID, Status: row.Status, RequestedBy: row.RequestedBy,
		IdempotencyKey: row.IdempotencyKey, Attempt: int(row.Attempt), Round: int(row.Round), Lives: int(row.Lives),
		CanceledBy: row.CanceledBy, CancelReason: row.CancelReason, Summary: row.Summary,
		ErrorReason: row.ErrorReason, ErrorMessage: row.ErrorMessage,
		AwaitingUntil: row.AwaitingUntil, Approved: row.Approved,
		CreatedAt: row.CreatedAt, AvailableAt: row.AvailableAt, StartedAt: row.StartedAt, FinishedAt: row.FinishedAt,
	}
	if r.IdempotencyKey == r.JobID.String() {
		r.IdempotencyKey = "" // made up by Accept
	}
	err := errors.Join(decode(row.Request, &r.Request), decode(row.Trace, &r.Trace))
	if row.Result != nil {
		err = errors.Join(err, decode(row.Result, &r.Result))
	}
	return r, err
}

// Change is an intent and, once it is known, its outcome.
type Change struct {
	ownership.Change
	Round    int
	Ref      string // names the intent within its run: the change's id, with the round where it is not the first
	Outcome  string // empty: not known yet
	Message  string
	APICalls json.RawMessage
	DoneAt   *time.Time
}

// ChangeRef names a change of a round within its run. Rounds of programs that knew none count as the first.
func ChangeRef(round int, changeID string) string {
	if round <= 1 {
		return text(changeID)
	}
	return fmt.Sprintf("%s#%d", text(changeID), round)
}

func changeFrom(row db.ListChangesRow) (Change, error) {
	c := Change{Round: int(row.Round), Ref: row.ChangeID, Message: row.Message, APICalls: row.ApiCalls, DoneAt: row.DoneAt}
	if row.Outcome != nil {
		c.Outcome = *row.Outcome
	}
	return c, decode(row.Change, &c.Change)
}

// Cancel asks for the end of a run. One that was never begun ends at once; any other is ended between two steps, by who
// works on it. Asking twice is the same as once. A run that has ended otherwise is a Precondition. One transaction.
func (s *Store) Cancel(ctx context.Context, jobID uuid.UUID, by, reason string) (Run, error) {
	err := s.tx(ctx, "cancel a run", func(q *db.Queries) error {
		run, err := q.LockRun(ctx, jobID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noRun(jobID)
		case err != nil:
			return err
		case run.Status == Canceled || run.CanceledBy != "" && !Terminal(run.Status):
			return nil
		case Terminal(run.Status):
			return fault.New(fault.Precondition, "the run has ended already: "+run.Status, nil).WithReason("RUN_ENDED")
		case run.StartedAt != nil:
			if err := q.AskToCancel(ctx, db.AskToCancelParams{JobID: jobID, CanceledBy: by, CancelReason: reason}); err != nil {
				return err
			}
			if run.Status == Running {
				return nil
			}
			return q.EnqueueRun(ctx, db.EnqueueRunParams{JobID: jobID, Queue: ReconcileQueue})
		}
		message := CancelMessage(by, reason)
		if err := q.CancelQueued(ctx, db.CancelQueuedParams{JobID: jobID, CanceledBy: by, CancelReason: reason, Message: message}); err != nil {
			return err
		}
		return q.AppendEvents(ctx, appendParams([]Event{{JobID: jobID, At: time.Now(), Kind: RunCanceled, Message: message}}))
	})
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, jobID)
}

// CancelMessage says who canceled a run, and why.
func CancelMessage(by, reason string) string {
	if reason == "" {
		return "canceled by " + by
	}
	return "canceled by " + by + ": " + reason
}

func noRun(jobID uuid.UUID) error {
	return fault.New(fault.NotFound, "there is no run "+jobID.String(), nil).WithReason("RUN_NOT_FOUND")
}

// encode makes JSON of our own types, which cannot fail. Platforms may call people and teams anything: a NUL, which
// PostgreSQL takes in no text, becomes the sign for what cannot be shown. (\\u0000 is an escaped backslash and stays.)
func encode(v any) json.RawMessage {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return plain(content)
}

// plain is a JSON text without the one escape that PostgreSQL refuses.
func plain(content json.RawMessage) json.RawMessage {
	if !bytes.Contains(content, []byte(`\u0000`)) {
		return content
	}
	return escapes.ReplaceAllFunc(content, func(escape []byte) []byte {
		if string(escape) == `\u0000` {
			return []byte(`\ufffd`)
		}
		return escape
	})
}

// escapes finds each escape sequence of a JSON text whole.
var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

func decode(content []byte, into any) error {
	if err := json.Unmarshal(content, into); err != nil {
		return fault.New(fault.Internal, "a stored value cannot be read", err)
	}
	return nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
