package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// board remembers what was reported.
type board struct {
	mu      sync.Mutex
	down    bool
	said    []map[string][]byte
	forgot  bool
	process string
}

func (b *board) ReportUpstreams(_ context.Context, process string, reports map[string][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return errors.New("away")
	}
	b.process, b.said = process, append(b.said, reports)
	return nil
}

func (b *board) turn(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *board) ForgetUpstreams(context.Context, string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgot = true
	return nil
}

func TestReporter_SaysHowThingsStandAndTakesItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{}
		way := upstream.New(upstream.Config{Platform: "pagerduty", Limiter: upstream.NewLocal("pagerduty", 960)})
		defer way.Close()
		reporter := &upstream.Reporter{Process: "host/1", Ways: []*upstream.Transport{way}, To: b, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = reporter.Run(ctx) })
		synctest.Wait()
		require.Len(t, b.said, 1, "at once")
		b.turn(true)
		time.Sleep(21 * time.Second)
		b.turn(false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Len(t, b.said, 2)
		var status upstream.Status
		require.NoError(t, json.Unmarshal(b.said[1]["pagerduty"], &status))
		require.Equal(t, upstream.BreakerIsClosed, status.Breaker)
		require.Equal(t, 960, status.Limit)
		require.Equal(t, "host/1", b.process)
		cancel()
		running.Wait()
		require.True(t, b.forgot)
	})
}

func TestReporter_StartedAndStoppedManyTimes_LeavesNothingBehind(t *testing.T) {
	for range 200 {
		b := &board{}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		require.NoError(t, (&upstream.Reporter{To: b, Log: slog.New(slog.DiscardHandler)}).Run(ctx))
		require.True(t, b.forgot)
	}
}
