package catalogue_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/catalogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// company is a source and a store; the chore is shared as in the database.
type company struct {
	sourceAway, storeAway atomic.Bool
	reads                 atomic.Int32

	mu       sync.Mutex
	done     time.Time
	declared []time.Duration // since the start
	begun    time.Time
}

func newCompany() *company { return &company{begun: time.Now()} }

func (c *company) Teams(context.Context) ([]ownership.Desired, error) {
	c.reads.Add(1)
	if c.sourceAway.Load() {
		return nil, errors.New("away")
	}
	return []ownership.Desired{{TeamID: "payments"}}, nil
}

func (c *company) ClaimChore(_ context.Context, _ string, period time.Duration) (bool, error) {
	if c.storeAway.Load() {
		return false, errors.New("away")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done.IsZero() && time.Since(c.done) < period {
		return false, nil
	}
	c.done = time.Now()
	return true, nil
}

func (c *company) Declare(context.Context, []ownership.Desired) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.declared = append(c.declared, time.Since(c.begun))
	return nil
}

func (c *company) run(t *testing.T, period time.Duration) (stop func()) {
	r := &catalogue.Refresher{Source: c, Store: c, Log: slog.New(slog.DiscardHandler), Period: period}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() { cancel(); require.NoError(t, <-ended) }
}

func TestRefresher_ThreeWorkers_ReadTheCatalogueOnceInEachPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany()
		var stops []func()
		for range 3 {
			stops = append(stops, c.run(t, time.Minute))
			time.Sleep(7 * time.Second) // they did not start together
		}
		time.Sleep(time.Hour)
		for _, stop := range stops {
			stop()
		}
		require.InDelta(t, 60, c.reads.Load(), 1)
		for i, at := range c.declared[1:] {
			gap := at - c.declared[i]
			require.GreaterOrEqual(t, gap, time.Minute)
			require.Less(t, gap, 75*time.Second, "somebody looks in each quarter of a period")
		}
	})
}

func TestRefresher_TroubleOnEitherSide_IsOverInThePeriodAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany()
		c.sourceAway.Store(true)
		stop := c.run(t, time.Minute)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Empty(t, c.declared, "an unknown catalogue was taken for an empty one")
		c.sourceAway.Store(false)
		c.storeAway.Store(true)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Empty(t, c.declared)
		c.storeAway.Store(false)
		time.Sleep(30 * time.Second)
		stop()
		require.Len(t, c.declared, 1)
	})
}

func TestRefresher_StartedAndStoppedManyTimes_LeavesNothingBehind(t *testing.T) {
	c := newCompany()
	for range 200 {
		stop := c.run(t, time.Millisecond)
		stop()
	}
}
