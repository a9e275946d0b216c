package upstream

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
)

func TestShared_RedisDiesAndReturns_ProcessKeepsToItsShareMeanwhileAndSaysSoOnce(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	var out strings.Builder
	l := NewShared(client, SharedConfig{
		Platform: "pagerduty", Credential: config.NewSecret("one"), PerMinute: 400, Shares: 2, Log: slog.New(slog.NewTextHandler(&out, nil)),
	})
	require.NoError(t, l.Wait(t.Context()))
	require.Len(t, server.Keys(), 1)

	server.Close()
	for range 5 {
		require.NoError(t, l.Wait(t.Context()))
	}
	require.Equal(t, 1, strings.Count(out.String(), "cannot reach Redis"))
	rate, burst, _ := l.pace.state(l.share.shares)
	require.Equal(t, 200, rate+burst, "half the quota")
	require.False(t, l.share.next.IsZero(), "the calls were taken from the share")

	require.NoError(t, server.Restart())
	server.FlushAll()
	l.askAfter = time.Time{} // as if the pause were over
	require.NoError(t, l.Wait(t.Context()))
	require.Len(t, server.Keys(), 1, "the shared bucket is used again")
	require.Contains(t, out.String(), "reaches Redis again")
}
