package upstream_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestLocal_AnyLimit_NoMinuteSeesMoreThanTheQuotaAndLittleOfItIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(5, 2000).Draw(rt, "limit")
		idle := time.Duration(rapid.IntRange(0, 90_000).Draw(rt, "idle ms")) * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			l := upstream.NewLocal("pagerduty", limit)
			require.NoError(t, l.Wait(t.Context()))
			time.Sleep(idle)
			var at []time.Time
			for began := time.Now(); time.Since(began) < 3*time.Minute; {
				require.NoError(t, l.Wait(t.Context()))
				at = append(at, time.Now())
			}
			for first, last := 0, 0; last < len(at); last++ {
				for at[last].Sub(at[first]) >= time.Minute {
					first++
				}
				require.LessOrEqual(t, last-first+1, limit, "calls within one minute")
			}
			require.GreaterOrEqual(t, len(at), 3*limit*3/4, "calls in three minutes")
		})
	})
}

func TestLocal_PlatformStatesItsLimit_RateFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("pagerduty", 960)
		l.Observe(t.Context(), headers("ratelimit-limit", "60", "ratelimit-remaining", "59"), false)
		began := time.Now()
		for range 60 {
			require.NoError(t, l.Wait(t.Context()))
		}
		require.InDelta(t, time.Minute, time.Since(began), float64(3*time.Second))
	})
}

func TestLocal_QuotaUsedUp_NothingIsSentBeforeTheReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("pagerduty", 960)
		began := time.Now()
		l.Observe(t.Context(), headers("ratelimit-limit", "960", "ratelimit-remaining", "0", "ratelimit-reset", "20"), false)
		require.NoError(t, l.Wait(t.Context()))
		require.Equal(t, 20*time.Second, time.Since(began))
	})
}

func TestLocal_WaitBeyondDeadline_FailsAtOnceWithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("cortex", 960)
		l.Observe(t.Context(), headers("Retry-After", "30"), true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := l.Wait(ctx)
		require.Zero(t, time.Since(began))
		typed, ok := fault.As(err)
		require.True(t, ok)
		require.Equal(t, fault.Throttled, typed.Kind)
		require.Equal(t, 30*time.Second, typed.RetryAfter)
	})
}

func TestLocal_AnswerThatIsNoRefusal_PausesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("pagerduty", 960)
		l.Observe(t.Context(), headers("Retry-After", "30", "ratelimit-remaining", "7", "ratelimit-reset", "20"), false)
		began := time.Now()
		require.NoError(t, l.Wait(t.Context()))
		require.Zero(t, time.Since(began))
	})
}

func TestLocal_LineTooLongForTheDeadline_FailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("cortex", 60)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var callers sync.WaitGroup
		for range 30 {
			callers.Go(func() { _ = l.Wait(ctx) })
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		began := time.Now()
		err := l.Wait(short)
		require.Equal(t, fault.Throttled, fault.KindOf(err), "%v", err)
		require.Zero(t, time.Since(began))
		stop()
		callers.Wait()
	})
}

func TestLocal_InteractiveCaller_DoesNotStandBehindBulkOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("cortex", 60)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var callers sync.WaitGroup
		for range 30 {
			callers.Go(func() { _ = l.Wait(upstream.WithPriority(ctx, upstream.Bulk)) })
		}
		synctest.Wait()
		began := time.Now()
		require.NoError(t, l.Wait(ctx))
		require.Less(t, time.Since(began), 2*time.Second)

		// The control: of the same priority as the others it is the last.
		began = time.Now()
		require.NoError(t, l.Wait(upstream.WithPriority(ctx, upstream.Bulk)))
		require.Greater(t, time.Since(began), 20*time.Second)
		callers.Wait()
	})
}
