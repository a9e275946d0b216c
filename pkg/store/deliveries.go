package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// The statuses of a delivery.
const (
	Pending   = "pending"
	Delivered = "delivered"
	// Undelivered is the status "failed": nobody tries any more, until somebody asks for it.
	Undelivered = "failed"
)

// DeliveryState is a delivery as it stands.
type DeliveryState struct {
	Delivery
	JobID       uuid.UUID
	Status      string
	PostedTo    string // the channel's id as the medium gave it
	TS          string // the message's id within the channel; set once the message is there, also while replies are missing
	Attempts    int
	Revision    int // 1, and one more each time that there was something else to tell
	LastError   string
	CreatedAt   time.Time
	DeliveredAt *time.Time
}

// DeliveryAttempt is the right to try a delivery, until its time to settle has passed. What it writes after another
// attempt has begun changes nothing: it gets fault.Fenced.
type DeliveryAttempt struct {
	DeliveryState
	// Uncertain: an earlier attempt ended without saying whether it had an effect. Look before doing it again.
	Uncertain bool

	store *Store
	fence *time.Time
}

// BeginDelivery marks that the delivery is about to be tried, so that a crash after it leaves a trace. settledAfter is
// the time after which an attempt cannot have an effect any more; no other attempt begins before. It fails with NotFound;
// with Precondition where the delivery has ended; and with Conflict where another attempt may be under way: RetryAfter
// says when to come back. One round trip.
func (s *Store) BeginDelivery(ctx context.Context, key string, settledAfter time.Duration) (*DeliveryAttempt, error) {
	row, err := s.q.BeginDelivery(ctx, db.BeginDeliveryParams{DeliveryKey: key, SettledAfter: settledAfter})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, s.whyNotBegun(ctx, key, settledAfter)
	}
	if err != nil {
		return nil, wrap(err, "begin a delivery")
	}
	return &DeliveryAttempt{
		DeliveryState: deliveryFrom(row.Delivery), Uncertain: row.Uncertain, store: s, fence: row.Delivery.AttemptedAt,
	}, nil
}

func (s *Store) whyNotBegun(ctx context.Context, key string, settledAfter time.Duration) error {
	row, err := s.q.DeliveryObstacle(ctx, key)
	if errors.Is(err, pgx.ErrNoRows) {
		return noDelivery(key)
	}
	if err != nil {
		return wrap(err, "begin a delivery")
	}
	if row.Status != Pending {
		return fault.New(fault.Precondition, "the delivery has ended as "+row.Status, nil).WithReason("DELIVERY_ENDED")
	}
	return fault.New(fault.Conflict, "another attempt to deliver may be under way", nil).
		WithReason("DELIVERY_BUSY").WithRetryAfter(max(settledAfter-row.BegunAgo, 0))
}

func noDelivery(key string) error {
	return fault.New(fault.NotFound, "there is no delivery "+key, nil).WithReason("DELIVERY_NOT_FOUND")
}

// Posted remembers where the message is; the attempt goes on with its replies. One round trip.
func (a *DeliveryAttempt) Posted(ctx context.Context, channel, ts string) error {
	a.PostedTo, a.TS = channel, ts
	n, err := a.store.q.PostedDelivery(ctx, db.PostedDeliveryParams{
		DeliveryKey: a.Key, AttemptedAt: a.fence, PostedTo: channel, Ts: ts,
	})
	return a.written(n, err, "remember a posted message")
}

// Done ends the attempt and the delivery: it was told, unless there is something else to tell meanwhile. One round trip.
func (a *DeliveryAttempt) Done(ctx context.Context, channel, ts string) error {
	n, err := a.store.q.FinishDelivery(ctx, db.FinishDeliveryParams{
		DeliveryKey: a.Key, AttemptedAt: a.fence, Revision: int32(a.Revision), Status: Delivered, PostedTo: channel, Ts: ts,
	})
	return a.written(n, err, "finish a delivery")
}

// Fail ends the attempt and the delivery: it cannot be told. uncertain is remembered for a later Resend. One round trip.
func (a *DeliveryAttempt) Fail(ctx context.Context, why string, uncertain bool) error {
	n, err := a.store.q.FinishDelivery(ctx, db.FinishDeliveryParams{
		DeliveryKey: a.Key, AttemptedAt: a.fence, Revision: int32(a.Revision), Status: Undelivered, LastError: text(why), Uncertain: uncertain,
	})
	return a.written(n, err, "fail a delivery")
}

// Deferral says how an attempt is made again.
type Deferral struct {
	Delay     time.Duration
	Counted   bool              // this was an attempt; a used-up quota or an open breaker is none
	Uncertain bool              // it may have had an effect
	Why       string            // for people
	Trace     map[string]string // trace context for the next attempt
}

// Again ends the attempt and queues the delivery anew, in one statement.
func (a *DeliveryAttempt) Again(ctx context.Context, d Deferral) error {
	n, err := a.store.q.DeferDelivery(ctx, db.DeferDeliveryParams{
		DeliveryKey: a.Key, AttemptedAt: a.fence, Queue: NotificationsQueue, Trace: encode(orEmpty(d.Trace)),
		Delay: d.Delay, Counted: d.Counted, Uncertain: d.Uncertain, LastError: text(d.Why),
	})
	return a.written(n, err, "defer a delivery")
}

func (a *DeliveryAttempt) written(n int64, err error, what string) error {
	if err != nil {
		return wrap(err, what)
	}
	if n == 0 {
		return fault.New(fault.Fenced, "another attempt to deliver "+a.Key+" has begun", nil).WithReason("DELIVERY_FENCED")
	}
	return nil
}

// Resend queues a delivery that failed once more. One that was delivered is refused: nobody is told twice. One that is
// pending stays as it is.
func (s *Store) Resend(ctx context.Context, key string, trace map[string]string) (DeliveryState, error) {
	if _, err := s.q.ResendDelivery(ctx, db.ResendDeliveryParams{
		DeliveryKey: key, Queue: NotificationsQueue, Trace: encode(orEmpty(trace)),
	}); err != nil {
		return DeliveryState{}, wrap(err, "resend a delivery")
	}
	d, err := s.DeliveryState(ctx, key)
	if err == nil && d.Status == Delivered {
		return d, fault.New(fault.Precondition, "the message was delivered already; nobody is told twice", nil).
			WithReason("ALREADY_DELIVERED")
	}
	return d, err
}

// Retell gives a delivery something else to tell, and queues it: the payload is the new one for whichever attempt begins
// next, and an attempt that is under way does not end the delivery any more. A message that is there already is changed
// (Slack); an e-mail follows the first one. Where there is no delivery of the key nothing happens: nobody was to be told. One
// round trip.
func (s *Store) Retell(ctx context.Context, key string, payload []byte, trace map[string]string) error {
	_, err := s.q.RetellDelivery(ctx, db.RetellDeliveryParams{
		DeliveryKey: key, Payload: plain(payload), Queue: NotificationsQueue, Trace: encode(orEmpty(trace)),
	})
	return wrap(err, "retell a delivery")
}

// ask queues a message that asks for an approval. Where the same plan was asked for before, and has to be approved anew, the
// message that is there asks again.
func ask(ctx context.Context, q *db.Queries, run Run, d Delivery) error {
	asked, err := q.RetellDelivery(ctx, db.RetellDeliveryParams{
		DeliveryKey: d.Key, Payload: plain(d.Payload), Queue: NotificationsQueue, Trace: encode(orEmpty(run.Trace)),
	})
	if err != nil || asked > 0 {
		return err
	}
	return insertDelivery(ctx, q, run.JobID, run.Trace, d)
}

// news is what became of a plan whose approval is asked for. It retells every message that asks for it, wherever that is.
type news struct {
	Outcome string                `json:"outcome,omitempty"`
	Message string                `json:"message,omitempty"`
	Votes   []notice.ApprovalVote `json:"votes,omitempty"`
}

// tellVotes says in the messages who has approved the plan, and whether that is everybody.
func tellVotes(ctx context.Context, q *db.Queries, run Run, a *Approval, votes []policy.Vote, whole bool) error {
	var n news
	for _, v := range votes {
		n.Votes = append(n.Votes, notice.ApprovalVote{By: v.Principal, Reason: v.Reason, Via: v.Via, At: v.At})
	}
	if whole {
		n.Outcome = "approved"
	}
	return retell(ctx, q, run, n, db.RetellApprovalsParams{PlanHash: a.PlanHash, ThisPlan: true, Outcomes: []string{""}})
}

// tellRejected says in the messages that the plan was rejected.
func tellRejected(ctx context.Context, q *db.Queries, run Run, a *Approval, by, reason string) error {
	n := news{Outcome: "rejected", Message: "rejected by " + by}
	if reason != "" {
		n.Message += ": " + reason
	}
	return retell(ctx, q, run, n, db.RetellApprovalsParams{PlanHash: a.PlanHash, ThisPlan: true, Outcomes: []string{""}})
}

// tellReplaced says in the messages about earlier plans of the run that another one took their place.
func tellReplaced(ctx context.Context, q *db.Queries, run Run, planHash string) error {
	n := news{Outcome: "replaced", Message: "something changed meanwhile: another plan waits for approval"}
	return retell(ctx, q, run, n, db.RetellApprovalsParams{PlanHash: planHash, Outcomes: []string{"", "approved"}})
}

// tellEnded says in the messages how the run ended: with the plan that was approved, or without.
func tellEnded(ctx context.Context, q *db.Queries, run Run, e Ending) error {
	message := cmp.Or(e.ErrorMessage, e.Summary)
	if err := retell(ctx, q, run, news{Message: message}, db.RetellApprovalsParams{Outcomes: []string{"approved"}}); err != nil {
		return err
	}
	n := news{Outcome: "ended", Message: message}
	switch {
	case e.Status == Canceled:
		n.Outcome = "canceled"
	case e.ErrorReason == ApprovalExpired:
		n.Outcome = "expired"
	}
	return retell(ctx, q, run, n, db.RetellApprovalsParams{Outcomes: []string{""}})
}

func retell(ctx context.Context, q *db.Queries, run Run, n news, of db.RetellApprovalsParams) error {
	of.JobID, of.News, of.Queue, of.Trace = run.JobID, plain(encode(n)), NotificationsQueue, encode(orEmpty(run.Trace))
	_, err := q.RetellApprovals(ctx, of)
	return err
}

// AnnounceDeliveries queues pending deliveries anew that nothing has happened to for a time and that wait in no outbox:
// the queue may have lost their messages. One round trip.
func (s *Store) AnnounceDeliveries(ctx context.Context, silentFor time.Duration) (int, error) {
	n, err := s.q.AnnounceDeliveries(ctx, db.AnnounceDeliveriesParams{Queue: NotificationsQueue, SilentFor: silentFor})
	return int(n), wrap(err, "announce deliveries")
}

// DeliveryState reads one delivery.
func (s *Store) DeliveryState(ctx context.Context, key string) (DeliveryState, error) {
	row, err := s.q.GetDelivery(ctx, key)
	if errors.Is(err, pgx.ErrNoRows) {
		return DeliveryState{}, noDelivery(key)
	}
	if err != nil {
		return DeliveryState{}, wrap(err, "read a delivery")
	}
	return deliveryFrom(row), nil
}

// DeliveryFilter selects deliveries; empty fields select all. After is the last delivery of the page before.
type DeliveryFilter struct {
	After  DeliveryCursor
	JobID  uuid.UUID
	Status string
	Limit  int
}

// DeliveryCursor is a place in the list of deliveries.
type DeliveryCursor struct {
	CreatedAt time.Time
	Key       string
}

// Deliveries lists deliveries, newest first.
func (s *Store) Deliveries(ctx context.Context, f DeliveryFilter) ([]DeliveryState, error) {
	rows, err := s.q.ListDeliveries(ctx, db.ListDeliveriesParams{
		AfterKey: f.After.Key, AfterCreatedAt: f.After.CreatedAt, JobID: f.JobID, Status: f.Status, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list deliveries")
	}
	deliveries := make([]DeliveryState, len(rows))
	for i, row := range rows {
		deliveries[i] = deliveryFrom(row)
	}
	return deliveries, nil
}

func deliveryFrom(row db.Delivery) DeliveryState {
	return DeliveryState{
		Delivery: Delivery{Key: row.DeliveryKey, Medium: row.Medium, Channel: row.Channel, Payload: row.Payload},
		JobID:    row.JobID, Status: row.Status, PostedTo: row.PostedTo, TS: row.Ts, Attempts: int(row.Attempts), Revision: int(row.Revision),
		LastError: row.LastError, CreatedAt: row.CreatedAt, DeliveredAt: row.DeliveredAt,
	}
}
