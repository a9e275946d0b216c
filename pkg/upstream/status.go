package upstream

import (
	"fmt"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
)

// The states of a breaker.
const (
	BreakerIsClosed   = "closed"
	BreakerIsHalfOpen = "half_open"
	BreakerIsOpen     = "open"
)

// Status is how things stand between this process and a platform.
type Status struct {
	Platform     string
	Breaker      string    // BreakerIsClosed, BreakerIsHalfOpen or BreakerIsOpen
	BreakerUntil time.Time // an open breaker lets an attempt through then; zero unless open
	Quota
	LastError   string // what the last failed attempt ended with; empty: none failed so far
	LastErrorAt time.Time
}

type lastError struct {
	text string
	at   time.Time
}

// Status says how things stand, without asking the platform or Redis.
func (t *Transport) Status() Status {
	s := Status{Platform: t.cfg.Platform, Breaker: BreakerIsClosed, Quota: t.cfg.Limiter.Quota()}
	state, until := t.breaker.state()
	switch state {
	case gobreaker.StateOpen:
		s.Breaker, s.BreakerUntil = BreakerIsOpen, until
	case gobreaker.StateHalfOpen:
		s.Breaker = BreakerIsHalfOpen
	case gobreaker.StateClosed:
	}
	if last := t.lastError.Load(); last != nil {
		s.LastError, s.LastErrorAt = last.text, last.at
	}
	return s
}

// Hold is how long whoever takes work for this platform should leave it where it is, because the breaker is open. 0: go
// on. A half-open breaker needs one attempt to close, and holds everybody else for as long as that is under way.
func (t *Transport) Hold() time.Duration {
	switch state, until := t.breaker.state(); {
	case state == gobreaker.StateOpen:
		return max(time.Until(until), 0)
	case state == gobreaker.StateHalfOpen && t.breaker.trying():
		return time.Second
	default:
		return 0
	}
}

// remember keeps what the last failed attempt ended with. Refusals of one request are no news about the platform, but
// one of the credential is.
func (t *Transport) remember(req *http.Request, o outcome) {
	switch o.class {
	case Throttled, Busy, Retryable, Unauthorized:
	default:
		return
	}
	text := req.Method + " " + routeOf(req.Context()) + ": "
	if o.response != nil {
		text += fmt.Sprintf("HTTP %d (%s)", o.response.StatusCode, o.class)
	} else {
		text += o.err.Error()
	}
	t.lastError.Store(&lastError{text: text, at: time.Now()})
}
