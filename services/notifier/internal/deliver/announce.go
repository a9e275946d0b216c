package deliver

import (
	"context"
	"log/slog"
	"time"

	"github.com/nthlayer/nthlayer/pkg/seam"
)

const (
	announceEvery  = time.Minute // or three times in SilentFor, where that is shorter
	announceWithin = 10 * time.Second
)

// Announcer queues deliveries again whose messages the queue has lost, so that everybody is told.
type Announcer struct {
	SilentFor time.Duration // nothing happened to a delivery for so long: its message is taken for lost
	Announce  func(ctx context.Context, silentFor time.Duration) (int, error)
	Poke      func() // the outbox holds something new
	Log       *slog.Logger
}

// Run works until ctx ends.
func (a *Announcer) Run(ctx context.Context) error {
	tick := time.NewTicker(min(announceEvery, a.SilentFor/3))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n, err := a.announce(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			a.Log.WarnContext(ctx, "silent deliveries not announced; trying again", "error", err)
		case n > 0:
			a.Log.InfoContext(ctx, "silent deliveries announced again", "count", n)
			a.Poke()
		}
	}
}

func (a *Announcer) announce(ctx context.Context) (int, error) {
	if seam.Off(seam.Announce) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	return a.Announce(ctx, a.SilentFor)
}
