package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Breaker says when a platform is left alone. Only failures of the platform count (no answer, 5xx): a refusal with 4xx
// is a healthy platform speaking.
type Breaker struct {
	Window   time.Duration // attempts of this long are judged together; 30 s
	Requests uint32        // no judgement below so many attempts; 10
	Ratio    float64       // it opens at this share of failures; 0.6
	Pause    time.Duration // it stays open this long, then lets one attempt through; 15 s
}

func (b Breaker) withDefaults() Breaker {
	if b.Window <= 0 {
		b.Window = 30 * time.Second
	}
	if b.Requests == 0 {
		b.Requests = 10
	}
	if b.Ratio <= 0 {
		b.Ratio = 0.6
	}
	if b.Pause <= 0 {
		b.Pause = 15 * time.Second
	}
	return b
}

var (
	errFailed = errors.New("platform failed")
	errUntold = errors.New("attempt says nothing about the platform")
)

type breaker struct {
	platform string
	pause    time.Duration
	inner    *gobreaker.CircuitBreaker[outcome]
	openedAt atomic.Pointer[time.Time]
}

func newBreaker(platform string, cfg Breaker, log *slog.Logger) *breaker {
	cfg = cfg.withDefaults()
	b := &breaker{platform: platform, pause: cfg.Pause}
	b.inner = gobreaker.NewCircuitBreaker[outcome](gobreaker.Settings{
		Name:         platform,
		MaxRequests:  1,
		Interval:     cfg.Window,
		BucketPeriod: cfg.Window / 6,
		Timeout:      cfg.Pause,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.Requests >= cfg.Requests && float64(counts.TotalFailures) >= cfg.Ratio*float64(counts.Requests)
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errUntold) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				now := time.Now()
				b.openedAt.Store(&now)
			}
			log.Warn("breaker changed", "platform", platform, "from", from.String(), "to", to.String())
		},
	})
	return b
}

// refusal is the fault for an attempt that is not made, or nil. It spares a caller the limiter's queue.
func (b *breaker) refusal() *fault.Error {
	if b.inner.State() == gobreaker.StateOpen {
		return b.open()
	}
	return nil
}

// state is the breaker's, and for an open one the time at which it lets an attempt through.
func (b *breaker) state() (state gobreaker.State, until time.Time) {
	state = b.inner.State()
	if at := b.openedAt.Load(); at != nil && state == gobreaker.StateOpen {
		until = at.Add(b.pause)
	}
	return state, until
}

// trying reports that a half-open breaker has its one attempt under way. One that ended without a word about the platform
// is counted and no longer under way.
func (b *breaker) trying() bool {
	counts := b.inner.Counts()
	return counts.Requests > counts.TotalExclusions
}

func (b *breaker) do(ctx context.Context, send func(context.Context) outcome) outcome {
	o, err := b.inner.Execute(func() (outcome, error) {
		o := send(ctx)
		return o, o.failure()
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return outcome{class: BreakerOpen, err: b.open()}
	}
	return o
}

func (b *breaker) open() *fault.Error {
	wait := time.Second // half open: the one attempt under way will tell soon
	if at := b.openedAt.Load(); at != nil {
		wait = max(wait, b.pause-time.Since(*at))
	}
	return fault.New(fault.Unavailable,
		fmt.Sprintf("%s keeps failing and is left alone for now; try again in %s", b.platform, wait.Round(time.Second)), nil).
		WithReason(reason(b.platform, "BREAKER_OPEN")).WithRetryAfter(wait)
}
