package work

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// database answers renewals as the test says, and notes when they came.
type database struct {
	mu     sync.Mutex
	answer func(context.Context) (store.Asked, error)
	asked  []time.Time
}

func (d *database) Renew(ctx context.Context) (store.Asked, error) {
	d.mu.Lock()
	d.asked = append(d.asked, time.Now())
	answer := d.answer
	d.mu.Unlock()
	if answer == nil {
		return store.Asked{}, nil
	}
	return answer(ctx)
}

func (d *database) say(answer func(context.Context) (store.Asked, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func fails(err error) func(context.Context) (store.Asked, error) {
	return func(context.Context) (store.Asked, error) { return store.Asked{}, err }
}

// keeping runs a tenure of 30 s in a bubble and gives it to the test with the context of its run.
func keeping(t *testing.T, test func(t *testing.T, d *database, ours *tenure, run context.Context, news chan struct{})) {
	synctest.Test(t, func(t *testing.T) {
		d, news := &database{}, make(chan struct{}, 1)
		ours := newTenure(d, 30*time.Second, time.Now(), slog.New(slog.DiscardHandler))
		keep, cancel := context.WithCancel(t.Context())
		run, stop := context.WithCancelCause(t.Context())
		var kept sync.WaitGroup
		kept.Go(func() { ours.keep(keep, news, stop) })
		test(t, d, ours, run, news)
		cancel()
		kept.Wait()
		stop(nil)
	})
}

func TestTenure_RenewsThreeTimesALease(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, _ chan struct{}) {
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Len(t, d.asked, 30)
		require.NoError(t, ours.Permit())
		require.NoError(t, run.Err())
	})
}

func TestTenure_News_AreAskedForAtOnce(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, news chan struct{}) {
		d.say(func(context.Context) (store.Asked, error) {
			return store.Asked{CanceledBy: "bob", CancelReason: "wrong team"}, nil
		})
		require.NoError(t, ours.Before(run, "plan", time.Second))
		news <- struct{}{}
		synctest.Wait()
		err := ours.Before(run, "plan", time.Second)
		require.Equal(t, runCanceled, fault.ReasonOf(err))
		require.ErrorContains(t, err, "canceled by bob: wrong team")
		require.NoError(t, ours.Permit(), "the call under way may be finished")
		require.NoError(t, run.Err())
	})
}

func TestTenure_DatabaseAway_IsGivenUpWhileTheLeaseStillRuns(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, _ chan struct{}) {
		began := time.Now()
		d.say(fails(fault.New(fault.Unavailable, "away", nil)))
		<-run.Done()
		require.Equal(t, fault.Fenced, fault.KindOf(context.Cause(run)))
		require.Less(t, time.Since(began), 30*time.Second)
	})
}

func TestTenure_DatabaseAwayForAMoment_IsNoReason(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, _ chan struct{}) {
		d.say(fails(fault.New(fault.Unavailable, "away", nil)))
		time.Sleep(15 * time.Second)
		d.say(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, run.Err())
		require.NoError(t, ours.Permit())
	})
}

func TestTenure_DatabaseDoesNotAnswer_CountsFromBeforeItWasAsked(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, _ chan struct{}) {
		d.say(func(ctx context.Context) (store.Asked, error) { // it renews, and its answer takes nine seconds
			select {
			case <-time.After(9 * time.Second):
				return store.Asked{}, nil
			case <-ctx.Done():
				return store.Asked{}, ctx.Err()
			}
		})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Equal(t, 20*time.Second, ours.left(), "asked at 10 s, so it runs to 40 s")
	})
}

func TestTenure_FencedOff_StopsTheRunAtOnce(t *testing.T) {
	keeping(t, func(t *testing.T, d *database, ours *tenure, run context.Context, _ chan struct{}) {
		d.say(fails(fault.New(fault.Fenced, "somebody else's", nil)))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, fault.Fenced, fault.KindOf(context.Cause(run)))
	})
}

// A process that was frozen beyond its lease wakes up: what it finds first is that nothing may be sent.
func TestTenure_Frozen_GivesNoPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newTenure(&database{}, 30*time.Second, time.Now(), slog.New(slog.DiscardHandler))
		time.Sleep(29 * time.Second) // nobody renews: the process is frozen
		require.NoError(t, ours.Permit())
		time.Sleep(time.Second)
		require.Equal(t, fault.Fenced, fault.KindOf(ours.Permit()))
		require.Equal(t, fault.Fenced, fault.KindOf(ours.Before(t.Context(), "apply", 0)))
	})
}

func TestTenure_Paused_SaysForHowLong(t *testing.T) {
	ours := newTenure(&database{}, time.Minute, time.Now(), slog.New(slog.DiscardHandler))
	ours.asked = store.Asked{PausedFor: time.Hour, PausedBy: "bob", PauseReason: "incident"}
	err := ours.Before(t.Context(), "apply", time.Second)
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, teamPaused, f.Reason)
	require.Equal(t, time.Hour, f.RetryAfter)
	require.True(t, interruption(err))
}

func TestTenure_TooLittleTime_StepIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newTenure(&database{}, time.Hour, time.Now(), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, ours.Before(ctx, "apply", 10*time.Second))
		time.Sleep(51 * time.Second)
		err := ours.Before(ctx, "apply", 10*time.Second)
		require.Equal(t, "TOO_LITTLE_TIME", fault.ReasonOf(err))
		require.False(t, interruption(err), "an attempt that used up its time is one")
		require.NoError(t, ours.Before(ctx, "record", 0))
	})
}

func TestVerdicts_OnErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err                    error
		interruption, hopeless bool
	}{
		"nobody understands it": {err: errors.New("what?")},
		"a bug":                 {err: fault.New(fault.Internal, "", nil)},
		"half an answer":        {err: fault.New(fault.Incomplete, "", nil)},
		"no answer":             {err: fault.New(fault.Unavailable, "", nil)},
		"effect not known":      {err: fault.New(fault.Deadline, "", nil)},
		"breaker open":          {err: fault.New(fault.Unavailable, "", nil).WithRetryAfter(time.Second), interruption: true},
		"quota used up":         {err: fault.New(fault.Throttled, "", nil), interruption: true},
		"worker stops":          {err: fault.New(fault.Canceled, "", nil), interruption: true},
		"credential refused":    {err: fault.New(fault.Precondition, "", nil), hopeless: true},
		"no such team":          {err: fault.New(fault.NotFound, "", nil), hopeless: true},
	} {
		require.Equal(t, c.interruption, interruption(c.err), name)
		require.Equal(t, c.hopeless, hopeless(c.err), name)
	}
}
