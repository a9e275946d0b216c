package upstream

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Local limits the calls of this process alone.
type Local struct {
	gate   *gate
	pace   *pace
	shares int

	mu  sync.Mutex
	tat time.Time // the bucket: see plan
}

// NewLocal makes a limiter of perMinute calls a minute, until the platform states another limit.
func NewLocal(platform string, perMinute int) *Local {
	pace := &pace{perMinute: perMinute}
	return &Local{gate: newGate(platform, pace), pace: pace, shares: 1}
}

// Wait implements Limiter.
func (l *Local) Wait(ctx context.Context) error {
	return l.gate.pass(ctx, func(_ context.Context, p Priority) time.Duration { return l.take(p, time.Now()) })
}

// Observe implements Limiter.
func (l *Local) Observe(_ context.Context, h http.Header, throttled bool) {
	l.pace.observe(h, throttled, time.Now())
}

// Quota implements Limiter.
func (l *Local) Quota() Quota { return l.quota(LimiterLocal, time.Now()) }

func (l *Local) quota(name string, now time.Time) Quota {
	l.mu.Lock()
	ahead := l.tat.Sub(now)
	l.mu.Unlock()
	q := Quota{Limiter: name, Limit: l.pace.limit(), Remaining: l.pace.plan(l.shares).remaining(ahead)}
	if pause := l.pace.pause(now); pause > 0 {
		q.Remaining, q.PausedUntil = 0, now.Add(pause)
	}
	return q
}

// take takes a call from the bucket, or says how long to wait before asking again.
func (l *Local) take(p Priority, now time.Time) time.Duration {
	plan := l.pace.plan(l.shares)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tat.Before(now) {
		l.tat = now
	}
	wait := max(l.tat.Sub(now)-plan.tolerance(p), l.pace.pause(now), 0)
	if wait == 0 {
		l.tat = l.tat.Add(plan.interval)
	}
	return wait
}

// useUp leaves no call in the bucket; it fills again at the steady rate.
func (l *Local) useUp(now time.Time) {
	full := now.Add(l.pace.plan(l.shares).full())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tat = full
}
