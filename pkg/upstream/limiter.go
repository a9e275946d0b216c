package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Limiter keeps the calls with one credential inside the platform's quota.
type Limiter interface {
	// Wait returns when the next call may be made. It never waits past ctx's deadline: then it returns
	// fault.Throttled with RetryAfter at once.
	Wait(ctx context.Context) error
	// Observe learns from an answer's headers: the quota, and that it is used up.
	Observe(h http.Header)
}

type unlimited struct{}

func (unlimited) Wait(context.Context) error { return nil }
func (unlimited) Observe(http.Header)        {}

// pace is what is known about a quota: the limit as configured or as the platform states it, and until when nothing
// may be sent.
type pace struct {
	mu        sync.Mutex
	perMinute int
	until     time.Time
}

func (p *pace) observe(h http.Header, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit, ok := quotaLimit(h); ok {
		p.perMinute = limit
	}
	wait, ok := retryAfter(h, now)
	if reset, stated := quotaReset(h); stated && quotaUsedUp(h) {
		wait, ok = reset, true
	}
	if until := now.Add(wait); ok && until.After(p.until) {
		p.until = until
	}
}

// now gives the limit for one of `shares` users of the quota, and the end of the pause (or a time in the past).
func (p *pace) state(shares int) (rate, burst int, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate, burst = divide(max(p.perMinute/shares, 1))
	return rate, burst, p.until
}

// divide splits a quota of limit requests a minute into a steady rate and a burst whose sum is the quota: whenever
// the platform's window begins, one window never sees more than rate + burst.
func divide(limit int) (rate, burst int) {
	burst = min(max(limit/20, 1), 50)
	return max(limit-burst, 1), burst
}

// Local limits the calls of this process alone. Callers are served in the order in which they came.
type Local struct {
	platform string
	pace     *pace
	shares   int

	mu   sync.Mutex
	next time.Time // the theoretical arrival time of GCRA: when the bucket is full again
}

// NewLocal makes a limiter of perMinute calls a minute, until the platform states another limit.
func NewLocal(platform string, perMinute int) *Local {
	return &Local{platform: platform, pace: &pace{perMinute: perMinute}, shares: 1}
}

// Observe implements Limiter.
func (l *Local) Observe(h http.Header) { l.pace.observe(h, time.Now()) }

// Wait implements Limiter.
func (l *Local) Wait(ctx context.Context) error {
	wait, ok := l.reserve(ctx, time.Now())
	if !ok {
		return throttled(l.platform, wait)
	}
	for wait > 0 {
		if err := sleep(ctx, l.platform, wait); err != nil {
			return err
		}
		_, _, until := l.pace.state(l.shares)
		wait = time.Until(until) // the platform may have asked for a pause meanwhile
	}
	return nil
}

// reserve takes the next place in the queue and says how long it is away. It takes none beyond ctx's deadline.
func (l *Local) reserve(ctx context.Context, now time.Time) (time.Duration, bool) {
	rate, burst, until := l.pace.state(l.shares)
	interval := time.Minute / time.Duration(rate)
	l.mu.Lock()
	defer l.mu.Unlock()
	next := latest(l.next, now)
	at := latest(next.Add(-time.Duration(burst-1)*interval), latest(until, now))
	if deadline, ok := ctx.Deadline(); ok && at.After(deadline) {
		return at.Sub(now), false
	}
	l.next = latest(next, at).Add(interval)
	return at.Sub(now), true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sleep waits, unless ctx would end first.
func sleep(ctx context.Context, platform string, wait time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Now().Add(wait).After(deadline) {
		return throttled(platform, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx, platform, wait)
	}
}

// gaveUp is the fault for a caller whose context ended in the queue.
func gaveUp(ctx context.Context, platform string, wait time.Duration) *fault.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return throttled(platform, wait)
	}
	return fault.New(fault.Canceled, "gave up waiting for "+platform+"'s quota", context.Cause(ctx))
}

func throttled(platform string, wait time.Duration) *fault.Error {
	wait = max(wait, time.Second)
	return fault.New(fault.Throttled,
		fmt.Sprintf("the quota of %s is in use; try again in %s", platform, wait.Round(time.Second)), nil).
		WithReason(reason(platform, "THROTTLED")).WithRetryAfter(wait)
}
