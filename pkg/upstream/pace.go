package upstream

import (
	"net/http"
	"sync"
	"time"
)

// pace is what is known about a quota: the limit as configured or as the platform states it, and until when nothing
// may be sent.
type pace struct {
	mu        sync.Mutex
	perMinute int
	until     time.Time
}

// observe learns from an answer and reports whether it brought a pause, or a longer one.
func (p *pace) observe(h http.Header, throttled bool, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit, ok := quotaLimit(h); ok {
		p.perMinute = limit
	}
	wait, ok := quotaReset(h)
	if !throttled && !quotaUsedUp(h) {
		return false
	}
	if !ok {
		wait, ok = retryAfter(h, now)
	}
	if until := now.Add(wait); ok && until.After(p.until) {
		p.until = until
		return true
	}
	return false
}

// pause is how much longer nothing may be sent, or 0.
func (p *pace) pause(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.until.Sub(now), 0)
}

// resume forgets the pause.
func (p *pace) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
}

func (p *pace) limit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.perMinute
}

// plan divides the quota for one of so many users of it.
func (p *pace) plan(shares int) plan { return divide(max(p.limit()/shares, 1)) }

// plan is how a quota is used: calls at a steady interval, and some of them at once. A bucket that keeps to it is known
// by one number, the theoretical arrival time (TAT): when a call that comes then finds the whole burst. A call may be
// made when the TAT is not further ahead than its priority tolerates, and moves it on by one interval.
type plan struct {
	interval time.Duration
	burst    int // calls at once
	bulk     int // of these, for calls of the priority Bulk
}

// divide plans for a quota of limit requests a minute. Whenever the platform's window begins, no minute sees more than
// the steady rate and the burst less one, which leaves 1 % (and 1 call) for calls that the network pushes together; the
// steady rate is 97 % of the limit (96 % below 100 a minute, 90 % below 20, where a burst is not to be had).
func divide(limit int) plan {
	burst := min(max(limit/50, 2), 50)
	if limit < 20 {
		burst = 1
	}
	rate := max(limit-limit/100-burst, 1)
	// Rounded up to what a bucket in Redis counts, which is never faster.
	interval := (time.Minute + time.Duration(rate) - 1) / time.Duration(rate)
	interval = (interval + time.Microsecond - 1).Truncate(time.Microsecond)
	return plan{interval: interval, burst: burst, bulk: max(burst/2, 1)}
}

// tolerance is how far ahead the TAT may be when a call of the priority is made.
func (p plan) tolerance(priority Priority) time.Duration {
	if priority == Bulk {
		return time.Duration(p.bulk-1) * p.interval
	}
	return time.Duration(p.burst-1) * p.interval
}

// full is how far ahead the TAT is when no call is left.
func (p plan) full() time.Duration { return time.Duration(p.burst) * p.interval }

// remaining is how many calls could be made at once when the TAT is so far ahead.
func (p plan) remaining(ahead time.Duration) int {
	return int(min(max((p.full()-max(ahead, 0))/p.interval, 0), time.Duration(p.burst)))
}

// least is how long so many calls take at least.
func (p plan) least(calls int64) time.Duration {
	return time.Duration(max(calls-int64(p.burst), 0)) * p.interval
}
