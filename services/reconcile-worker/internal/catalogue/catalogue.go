// Package catalogue keeps the list of teams that the source declares, so that `team list` shows every team and not only
// those that were reconciled. One worker of all reads the catalogue in each period, in one call a thousand teams.
package catalogue

import (
	"context"
	"log/slog"
	"time"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// Source lists every team that is declared, whole or with an error.
type Source interface {
	Teams(ctx context.Context) ([]ownership.Desired, error)
}

// Store remembers them.
type Store interface {
	ClaimChore(ctx context.Context, name string, period time.Duration) (bool, error)
	Declare(ctx context.Context, teams []ownership.Desired) error
}

// Refresher reads the catalogue now and then.
type Refresher struct {
	Source Source
	Store  Store
	Log    *slog.Logger
	Period time.Duration
}

// Run refreshes until the context ends. A failure is logged and tried again in the next period: the list is a
// convenience, and runs read their teams themselves.
func (r *Refresher) Run(ctx context.Context) error {
	look := time.NewTicker(r.Period / 4) // several workers share the chore; whoever looks first after a period does it
	defer look.Stop()
	for {
		if err := r.refresh(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "catalogue not refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

func (r *Refresher) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Period)
	defer cancel()
	ours, err := r.Store.ClaimChore(ctx, "catalogue", r.Period)
	if err != nil || !ours {
		return err
	}
	teams, err := r.Source.Teams(upstream.WithPriority(ctx, upstream.Bulk)) // nobody waits for it
	if err != nil {
		return err
	}
	return r.Store.Declare(ctx, teams)
}
