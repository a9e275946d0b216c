package deliver

import (
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	firstWait = 2 * time.Second
	lastWait  = 5 * time.Minute
	// quotaWait is for a platform that does not say how long its quota is used up: half of Slack's window.
	quotaWait = 30 * time.Second
)

// next is what to do after an attempt that did not tell everything.
type next struct {
	giveUp  bool
	counted bool
	delay   time.Duration
	why     string
}

// verdict decides by the kind of the error. attempts counts the one that just ended.
func verdict(attempts int, opts Options, uncertain bool, cause error) next {
	if cause == nil {
		return next{}
	}
	n := next{why: "the message could not be posted", counted: !waiting(cause)}
	f, typed := fault.As(cause)
	if typed {
		n.why = f.Text
	}
	used := attempts
	if !n.counted {
		used--
	}
	switch {
	case !fault.Passing(cause):
		n.giveUp = true
	case uncertain:
		// One more look must tell whether it is there. Where even looking keeps failing, somebody has to see it.
		n.delay, n.giveUp = opts.Settled, used >= 2*opts.MaxAttempts
	case used >= opts.MaxAttempts:
		n.giveUp = true
	case fault.KindOf(cause) == fault.Throttled:
		n.delay = quotaWait
		if f.RetryAfter > 0 {
			n.delay = f.RetryAfter
		}
	default:
		n.delay = backoff(attempts)
		if typed {
			n.delay = max(n.delay, f.RetryAfter)
		}
	}
	return n
}

// waiting reports whether the error says "not now" and not "it failed".
func waiting(err error) bool {
	switch fault.KindOf(err) {
	case fault.Throttled, fault.Canceled:
		return true
	default:
		return strings.HasSuffix(fault.ReasonOf(err), "_BREAKER_OPEN")
	}
}

// backoff doubles from two seconds to five minutes.
func backoff(attempts int) time.Duration {
	d := firstWait
	for range attempts - 1 {
		if d *= 2; d >= lastWait {
			return lastWait
		}
	}
	return d
}
