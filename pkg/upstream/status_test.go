package upstream_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestStatus_BreakerOpens_SaysUntilWhenAndHoldsPollers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(503, "")}}
		tr := transport(p)
		require.Equal(t, upstream.Status{Platform: "pagerduty", Breaker: "closed", Quota: upstream.Quota{Limiter: "none"}}, tr.Status())
		require.Zero(t, tr.Hold())
		for range 2 {
			_, err := send(upstream.WithRoute(t.Context(), "/teams/{id}"), tr, "GET", "")
			require.NoError(t, err)
		}
		s := tr.Status()
		require.Equal(t, "open", s.Breaker)
		require.Equal(t, p.at[9].Add(15*time.Second), s.BreakerUntil)
		require.Equal(t, 15*time.Second, tr.Hold())
		require.Equal(t, "GET /teams/{id}: HTTP 503 (retryable)", s.LastError)
		require.Equal(t, p.at[9], s.LastErrorAt)

		time.Sleep(tr.Hold() + time.Millisecond)
		require.Equal(t, "half_open", tr.Status().Breaker)
		require.Zero(t, tr.Status().BreakerUntil)
		require.Zero(t, tr.Hold(), "somebody must try")

		p.steps = []step{func(*http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return answer(200, "")(nil)
		}}
		var probe sync.WaitGroup
		probe.Go(func() { _, err := send(t.Context(), tr, "GET", ""); assert.NoError(t, err) })
		synctest.Wait()
		require.Equal(t, time.Second, tr.Hold(), "somebody tries: what is received now could only be put off")
		probe.Wait()
		require.Equal(t, "closed", tr.Status().Breaker)
		require.Zero(t, tr.Hold())
	})
}

// The one attempt of a half-open breaker is called off by its caller: it says nothing, and the next one must be made.
func TestHold_AttemptOfAHalfOpenBreakerSaysNothing_SomebodyElseTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(503, "")}}
		tr := transport(p)
		for range 2 {
			_, err := send(t.Context(), tr, "GET", "")
			require.NoError(t, err)
		}
		time.Sleep(tr.Hold() + time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		p.steps = []step{func(r *http.Request) (*http.Response, error) { cancel(); return nil, r.Context().Err() }}
		_, err := send(ctx, tr, "GET", "")
		require.Error(t, err)
		require.Equal(t, "half_open", tr.Status().Breaker)
		require.Zero(t, tr.Hold())
	})
}

func TestStatus_LocalLimiter_CountsDownAndFillsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(200, "")}}
		tr := transport(p, func(c *upstream.Config) { c.Limiter = upstream.NewLocal("pagerduty", 960) })
		require.Equal(t, upstream.Quota{Limiter: "local", Limit: 960, Remaining: 19}, tr.Status().Quota)
		for range 7 {
			_, err := send(t.Context(), tr, "GET", "")
			require.NoError(t, err)
		}
		require.Equal(t, 12, tr.Status().Remaining)
		time.Sleep(time.Second)
		require.Equal(t, 19, tr.Status().Remaining)
	})
}

func TestStatus_Throttled_SaysUntilWhenNothingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(429, "", "ratelimit-limit", "480", "ratelimit-reset", "30")}}
		tr := transport(p, func(c *upstream.Config) {
			c.Limiter, c.Attempts = upstream.NewLocal("pagerduty", 960), 1
		})
		_, err := send(t.Context(), tr, "GET", "")
		require.Error(t, err)
		s := tr.Status()
		require.Equal(t, upstream.Quota{Limiter: "local", Limit: 480, PausedUntil: time.Now().Add(30 * time.Second)}, s.Quota)
		require.Equal(t, "GET other: HTTP 429 (throttled)", s.LastError)
		require.Equal(t, "closed", s.Breaker)
	})
}
