package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Outbox is the queue.Outbox on this store.
type Outbox struct {
	store  *Store
	queues map[string]string
	pause  time.Duration
}

// Queues are the real queues behind the outbox's logical ones.
type Queues struct{ Reconcile, Notifications, Audit string }

// NewOutbox is the outbox with its queues. pause is how long a run may wait for a worker before it is announced again; it
// doubles with each announcement.
func (s *Store) NewOutbox(q Queues, pause time.Duration) *Outbox {
	return &Outbox{store: s, pause: pause, queues: map[string]string{
		ReconcileQueue: q.Reconcile, NotificationsQueue: q.Notifications, AuditQueue: q.Audit,
	}}
}

// Drain sends up to limit due rows and deletes those that were sent, in one transaction. A crash after sending and
// before the commit sends them again: the queue's deduplication and the claim make that harmless.
func (o *Outbox) Drain(ctx context.Context, limit int, send func(context.Context, []queue.Message) ([]bool, error)) (int, error) {
	moved := 0
	var sendErr error
	err := pgx.BeginFunc(ctx, o.store.pool, func(tx pgx.Tx) error {
		q := o.store.q.WithTx(tx)
		rows, err := q.TakeOutbox(ctx, db.TakeOutboxParams{Queues: slices.Collect(maps.Keys(o.queues)), Batch: int32(limit)})
		if err != nil || len(rows) == 0 {
			return err
		}
		messages := make([]queue.Message, len(rows))
		for i, row := range rows {
			messages[i] = queue.Message{Queue: o.queues[row.Queue], Group: row.GroupID, Dedup: row.DedupID, Body: row.Body}
			if err := decode(row.Attributes, &messages[i].Attributes); err != nil {
				return err
			}
		}
		var sent []bool
		sent, sendErr = send(ctx, messages)
		var gone []int64
		for i, ok := range sent {
			if ok {
				gone = append(gone, rows[i].ID)
			}
		}
		moved = len(gone)
		return q.DeleteOutbox(ctx, gone)
	})
	if err != nil {
		return 0, wrap(err, "drain the outbox")
	}
	return moved, sendErr
}

// Announce puts runs back into the outbox that are due but that nobody works on. One round trip.
func (o *Outbox) Announce(ctx context.Context) (int, error) {
	n, err := o.store.q.AnnounceStranded(ctx, db.AnnounceStrandedParams{Queue: ReconcileQueue, Pause: o.pause})
	return int(n), wrap(err, "announce stranded runs")
}
