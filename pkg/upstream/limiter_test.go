package upstream_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/config"
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
		l.Observe(headers("ratelimit-limit", "60", "ratelimit-remaining", "59"))
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
		l.Observe(headers("ratelimit-limit", "960", "ratelimit-remaining", "0", "ratelimit-reset", "20"))
		require.NoError(t, l.Wait(t.Context()))
		require.Equal(t, 20*time.Second, time.Since(began))
	})
}

func TestLocal_WaitBeyondDeadline_FailsAtOnceWithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := upstream.NewLocal("cortex", 960)
		l.Observe(headers("Retry-After", "30"))
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

// redisServer gives a miniredis and a client for it.
func redisServer(t *testing.T) (*miniredis.Miniredis, *redis.Client) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return server, client
}

func shared(client redis.UniversalClient, credential string, perMinute int, log *slog.Logger) *upstream.Shared {
	return upstream.NewShared(client, upstream.SharedConfig{
		Platform: "pagerduty", Credential: config.NewSecret(credential), PerMinute: perMinute, Shares: 2, Log: log,
	})
}

// taken counts the calls that a limiter lets through at once.
func taken(t *testing.T, l upstream.Limiter) int {
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := l.Wait(ctx)
		cancel()
		if err != nil {
			require.Equal(t, fault.Throttled, fault.KindOf(err), "%v", err)
			return n
		}
	}
}

func TestShared_ProcessesWithOneCredential_ShareOneBucket(t *testing.T) {
	server, client := redisServer(t)
	server.SetTime(time.Unix(1_800_000_000, 0)) // the server's clock decides; it stands still
	quiet := slog.New(slog.DiscardHandler)
	require.Equal(t, 10, taken(t, shared(client, "one", 200, quiet)))
	require.Zero(t, taken(t, shared(client, "one", 200, quiet)), "another process, the same bucket")
	require.Equal(t, 10, taken(t, shared(client, "two", 200, quiet)), "another credential has its own")

	server.SetTime(time.Unix(1_800_000_001, 0))
	require.Equal(t, 3, taken(t, shared(client, "one", 200, quiet)), "190 a minute are 3 a second")

	for _, key := range server.Keys() {
		require.NotContains(t, key, "one", "only a hash of the credential is stored")
	}
}

func TestShared_ManyCallers_AllPassInTheEnd(t *testing.T) {
	_, client := redisServer(t)
	l := shared(client, "one", 12_000, slog.New(slog.DiscardHandler))
	var done sync.WaitGroup
	for range 80 {
		done.Go(func() {
			if err := l.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}
