package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Limiter keeps the calls with one credential inside the platform's quota.
type Limiter interface {
	// Wait returns when the next call may be made, those of ctx's priority in the order in which they came. It never
	// waits past ctx's deadline: as soon as that is known to be too early it returns fault.Throttled with RetryAfter.
	Wait(ctx context.Context) error
	// Observe learns from an answer's headers: the quota, and that it is used up. throttled says that the answer was a
	// refusal for that reason.
	Observe(ctx context.Context, h http.Header, throttled bool)
	// Quota says how things stand. It asks nobody.
	Quota() Quota
}

// Quota is how things stand with a platform's quota, as far as this process knows.
type Quota struct {
	Limiter     string    // LimiterShared, LimiterOwnShare, LimiterLocal or LimiterNone
	Limit       int       // calls a minute, by all users of the credential together; 0: not known
	Remaining   int       // calls that could be made at once, now
	PausedUntil time.Time // the platform asked that nothing be sent before; zero: it did not
}

// What counts the calls.
const (
	LimiterShared   = "shared"    // one bucket for all processes
	LimiterOwnShare = "own share" // this process alone, to a part of the quota, because the shared bucket is away
	LimiterLocal    = "local"     // this process alone
	LimiterNone     = "none"      // nobody
)

type unlimited struct{}

func (unlimited) Wait(context.Context) error                 { return nil }
func (unlimited) Observe(context.Context, http.Header, bool) {}
func (unlimited) Quota() Quota                               { return Quota{Limiter: LimiterNone} }

// gate is where callers wait for a bucket: in one line for each priority, so that an interactive caller does not stand
// behind bulk ones. Only the first of a line asks the bucket. The others cost nothing.
type gate struct {
	platform string
	pace     *pace
	lines    [priorities]line
}

type line struct {
	turn   chan struct{}
	length atomic.Int64
}

func newGate(platform string, pace *pace) *gate {
	g := &gate{platform: platform, pace: pace}
	for i := range g.lines {
		g.lines[i].turn = make(chan struct{}, 1)
	}
	return g
}

// pass lets the caller through when take, asked again and again, has no more wait for it.
func (g *gate) pass(ctx context.Context, take func(context.Context, Priority) time.Duration) error {
	p := priorityOf(ctx)
	line := &g.lines[p]
	ahead := line.length.Add(1) - 1
	defer line.length.Add(-1)
	// Those ahead, or the pause, need this long. Where that is too long there is no point in standing in line.
	least := max(g.pace.plan(1).least(ahead), g.pace.pause(time.Now()))
	if deadline, ok := ctx.Deadline(); ok && time.Now().Add(least).After(deadline) {
		return throttled(g.platform, least)
	}
	select {
	case line.turn <- struct{}{}:
		defer func() { <-line.turn }()
	case <-ctx.Done():
		return gaveUp(ctx, g.platform, least)
	}
	for {
		wait := take(ctx, p)
		if ctx.Err() != nil {
			return gaveUp(ctx, g.platform, wait)
		}
		if wait <= 0 {
			return nil
		}
		if err := sleep(ctx, g.platform, wait); err != nil {
			return err
		}
	}
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
