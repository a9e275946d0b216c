package rate_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/rate"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const perMinute = 50 // 5 at once

func start(t *testing.T) (server *miniredis.Miniredis, one, other *rate.Shared) {
	server = miniredis.RunT(t)
	var limiters []*rate.Shared
	for range 2 {
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		limiters = append(limiters, rate.New(client, perMinute, slog.New(slog.NewTextHandler(t.Output(), nil))))
	}
	return server, limiters[0], limiters[1]
}

// taken counts the calls that are let through of many.
func taken(t *testing.T, limiter *rate.Shared, principal string) (allowed int) {
	for range 20 {
		err := limiter.Take(t.Context(), principal)
		if err == nil {
			allowed++
			continue
		}
		require.Equal(t, fault.Throttled, fault.KindOf(err))
		f, _ := fault.As(err)
		require.Greater(t, f.RetryAfter, time.Duration(0))
		require.LessOrEqual(t, f.RetryAfter, time.Minute/perMinute)
	}
	return allowed
}

func TestTake_APrincipalsShareIsOneForAllGateways(t *testing.T) {
	server, one, other := start(t)
	server.SetTime(time.Now())
	require.Equal(t, 5, taken(t, one, "ann"))
	require.Zero(t, taken(t, other, "ann"), "the other gateway knows")
	require.Equal(t, 5, taken(t, other, "bob"), "one caller's haste is not another's")
	server.SetTime(time.Now().Add(2 * time.Minute / perMinute))
	require.Equal(t, 2, taken(t, one, "ann"))
}

func TestTake_RedisAway_CallsGoOnWithinALimit(t *testing.T) {
	server, one, other := start(t)
	server.Close()
	for _, limiter := range []*rate.Shared{one, other} {
		allowed := taken(t, limiter, "ann")
		require.GreaterOrEqual(t, allowed, 5)
		require.Less(t, allowed, 20)
	}
}
