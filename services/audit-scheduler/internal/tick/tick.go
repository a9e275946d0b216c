// Package tick makes the audits of schedules that are due.
//
// A tick only says that it is time to look; the schedules' rows decide what is due. So it does not matter whether it comes
// from a queue (EventBridge Scheduler) or from a loop of this process, how many processes get it, how often it comes, or
// late: a schedule that is due is moved on and its audit made in one transaction, by one of those who try. Of several
// ticks that were missed, the last one is caught up.
package tick

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/timetable"
)

// Store keeps the schedules.
type Store interface {
	DueSchedules(ctx context.Context, at time.Time, limit int) ([]store.Schedule, error)
	Tick(ctx context.Context, due store.Schedule, tickAt, next time.Time, n store.NewAudit) (*uuid.UUID, error)
}

// Ticker makes audits.
type Ticker struct {
	Store Store
	Poke  func() // the outbox has something to send
	Log   *slog.Logger
	Now   func() time.Time
}

// batch is how many schedules are looked at together.
const batch = 100

// Tick makes the audit of every schedule that is due. One schedule that fails does not hold up the others.
func (t *Ticker) Tick(ctx context.Context) error {
	now := t.Now()
	failed := map[string]bool{} // they stay due
	var errs []error
	for {
		limit := batch + len(failed)
		due, err := t.Store.DueSchedules(ctx, now, limit)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, schedule := range due {
			if failed[schedule.ScheduleID] {
				continue
			}
			if err := t.one(ctx, schedule, now); err != nil {
				t.Log.ErrorContext(ctx, "schedule did not tick", "schedule_id", schedule.ScheduleID, "error", err)
				errs = append(errs, fmt.Errorf("tick schedule %s: %w", schedule.ScheduleID, err))
				failed[schedule.ScheduleID] = true
			}
		}
		if len(due) < limit {
			return errors.Join(errs...)
		}
	}
}

func (t *Ticker) one(ctx context.Context, due store.Schedule, now time.Time) error {
	if due.Unreadable != nil {
		return due.Unreadable
	}
	table, err := timetable.Of(due.ScheduleID, due.Settings)
	if err != nil {
		return err
	}
	tickAt := table.Last(*due.NextTickAt, now)
	delay := max(tickAt.Add(table.Late(tickAt)).Sub(now), 0)
	made, err := t.Store.Tick(ctx, due, tickAt, table.Next(now), store.NewAudit{
		RequestedBy: By(due.ScheduleID), Request: due.Settings.Request(), Trace: telemetry.Inject(ctx), Delay: delay,
	})
	if err != nil || made == nil {
		return err
	}
	t.Log.InfoContext(ctx, "schedule ticked", "schedule_id", due.ScheduleID, "audit_id", made.String(), "tick_at", tickAt, "delay", delay.String())
	t.Poke()
	return nil
}

// By is in whose name a schedule acts.
func By(scheduleID string) string { return "schedule:" + scheduleID }

// Handle is the queue.Handler: a message is a tick, whatever it says.
func (t *Ticker) Handle(ctx context.Context, _ queue.Received) error { return t.Tick(ctx) }

// Loop ticks by itself, for where no queue brings ticks.
func (t *Ticker) Loop(every time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := t.Tick(ctx); err != nil && ctx.Err() == nil {
				t.Log.WarnContext(ctx, "tick failed; trying again", "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}
