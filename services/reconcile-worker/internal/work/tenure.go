package work

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// renewer is the claim, as far as keeping it goes.
type renewer interface {
	Renew(ctx context.Context) (store.Asked, error)
}

// tenure keeps a claim and knows two things: until when the run is surely ours, by this machine's monotonic clock, and
// what somebody has asked of the run meanwhile. The lease counts from before the renewal was sent, so it never outlasts
// the database's, whatever the clocks say.
type tenure struct {
	claim renewer
	lease time.Duration
	log   *slog.Logger

	mu    sync.Mutex
	until time.Time
	asked store.Asked
}

// newTenure begins with a claim that was asked for at a time.
func newTenure(claim renewer, lease time.Duration, claimed time.Time, log *slog.Logger) *tenure {
	return &tenure{claim: claim, lease: lease, log: log, until: claimed.Add(lease)}
}

// keep renews the claim until ctx ends, three times in a lease and whenever there is news. It stops the run when the claim
// is lost or can hardly be kept: then somebody else may soon be at work.
func (t *tenure) keep(ctx context.Context, news <-chan struct{}, stop context.CancelCauseFunc) {
	tick := time.NewTicker(t.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-news:
		}
		err := t.renew(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case fault.Is(err, fault.Fenced):
			stop(err)
			return
		case t.left() <= t.lease/3: // the next renewal would come when it is over
			stop(lost(err))
			return
		default:
			t.log.WarnContext(ctx, "lease not renewed yet", "error", err)
		}
	}
}

func (t *tenure) renew(ctx context.Context) error {
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.lease/3)
	defer cancel()
	asked, err := t.claim.Renew(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until, t.asked = sent.Add(t.lease), asked
	return nil
}

func (t *tenure) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(t.until)
}

func lost(cause error) error {
	return fault.New(fault.Fenced, "the lease could not be renewed", cause).WithReason("LEASE_LOST")
}

// Permit is asked right before a call leaves for a platform. A worker that was frozen finds here that its time is over,
// before it reads anything else.
func (t *tenure) Permit() error {
	if t.left() <= 0 && !seam.Off(seam.Permit) {
		return lost(nil)
	}
	return nil
}

// The reasons for which a run stops between two steps.
const (
	runCanceled    = "RUN_CANCELED"
	teamPaused     = "TEAM_PAUSED"
	workerStopping = "WORKER_STOPPING"
)

// Before is asked before each step and each change: may it begin?
func (t *tenure) Before(ctx context.Context, step string, needs time.Duration) error {
	if err := t.Permit(); err != nil {
		return err
	}
	t.mu.Lock()
	asked := t.asked
	t.mu.Unlock()
	switch {
	case asked.CanceledBy != "":
		return canceled(asked.CanceledBy, asked.CancelReason)
	case asked.PausedFor > 0:
		return fault.New(fault.Canceled, "paused by "+asked.PausedBy+": "+asked.PauseReason, nil).
			WithReason(teamPaused).WithRetryAfter(asked.PausedFor)
	}
	if at, stopping := queue.StopsAt(ctx); stopping && time.Until(at) < needs {
		return fault.New(fault.Canceled, "the worker is stopping", nil).WithReason(workerStopping)
	}
	if at, bounded := ctx.Deadline(); bounded && time.Until(at) < needs {
		return fault.New(fault.Deadline, fmt.Sprintf("too little of the attempt's time is left for %s, which needs %s", step, needs), nil).
			WithReason("TOO_LITTLE_TIME")
	}
	return nil
}

func canceled(by, reason string) *fault.Error {
	return fault.New(fault.Canceled, store.CancelMessage(by, reason), nil).WithReason(runCanceled)
}
