package upstream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

var errLost = fault.New(fault.Fenced, "the lease is lost", nil).WithReason("LEASE_LOST")

// lease is lost at a moment.
type lease struct{ lostAt time.Time }

func (l *lease) check() error {
	if time.Now().Before(l.lostAt) {
		return nil
	}
	return errLost
}

// writeAfterPause writes through a limiter that makes it wait for 20 s, during which the writer's lease is lost.
func writeAfterPause(t *testing.T, permit func(context.Context, *lease) context.Context) (p *platform, err error) {
	synctest.Test(t, func(t *testing.T) {
		p = &platform{steps: []step{answer(204, "")}}
		limiter := upstream.NewLocal("pagerduty", 960)
		limiter.Observe(t.Context(), headers("Retry-After", "20"), true)
		held := &lease{lostAt: time.Now().Add(10 * time.Second)}
		_, err = send(permit(t.Context(), held), transport(p, func(c *upstream.Config) { c.Limiter = limiter }), "PUT", "{}")
	})
	return p, err
}

func TestPermit_LostWhileWaitingForTheQuota_NothingIsSent(t *testing.T) {
	p, err := writeAfterPause(t, func(ctx context.Context, l *lease) context.Context { return upstream.WithPermit(ctx, l.check) })
	require.ErrorIs(t, err, errLost)
	require.Equal(t, fault.Fenced, fault.KindOf(err))
	require.Zero(t, p.calls())
}

// The control: a permit that is asked for before the call is made has been lost since.
func TestControl_PermitAskedTooEarly_TheWriteIsSent(t *testing.T) {
	p, err := writeAfterPause(t, func(ctx context.Context, l *lease) context.Context {
		require.NoError(t, l.check())
		return ctx
	})
	require.NoError(t, err)
	require.Equal(t, 1, p.calls())
}

func TestPermit_IsAskedBeforeEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(429, "", "Retry-After", "30"), answer(204, "")}}
		held := &lease{lostAt: time.Now().Add(10 * time.Second)}
		ctx, calls := upstream.Record(upstream.WithPermit(t.Context(), held.check))
		_, err := send(ctx, transport(p), "PUT", "{}")
		require.ErrorIs(t, err, errLost)
		require.Equal(t, 1, p.calls(), "the repetition was not sent")
		require.Len(t, calls.List(), 1, "and not written down")
	})
}

func TestPermit_Refused_EndsTheCallAtOnceAndIsNotHeldAgainstThePlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(200, "")}}
		tr := transport(p, func(c *upstream.Config) { c.Breaker.Requests = 1 })
		for _, refusal := range []error{errLost, errors.New("not a fault")} {
			asked := 0
			began := time.Now()
			_, err := send(upstream.WithPermit(t.Context(), func() error { asked++; return refusal }), tr, "GET", "")
			require.ErrorIs(t, err, refusal)
			require.Equal(t, 1, asked)
			require.Zero(t, time.Since(began))
			require.Equal(t, upstream.BreakerIsClosed, tr.Status().Breaker)
			require.Empty(t, tr.Status().LastError)
		}
		require.Zero(t, p.calls())
	})
}

func TestPermit_RefusedToTheOneAttemptOfAHalfOpenBreaker_LeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(500, "")}}
		tr := transport(p, func(c *upstream.Config) { c.Attempts, c.Breaker.Requests = 1, 1 })
		_, err := send(t.Context(), tr, "GET", "")
		require.NoError(t, err)
		time.Sleep(tr.Hold() + time.Millisecond)
		_, err = send(upstream.WithPermit(t.Context(), func() error { return errLost }), tr, "GET", "")
		require.ErrorIs(t, err, errLost)
		require.Equal(t, upstream.BreakerIsHalfOpen, tr.Status().Breaker, "nothing was learned")
		p.mu.Lock()
		p.steps = []step{answer(200, "")}
		p.mu.Unlock()
		_, err = send(t.Context(), tr, "GET", "")
		require.NoError(t, err)
		require.Equal(t, upstream.BreakerIsClosed, tr.Status().Breaker)
	})
}
