package rpc

import (
	"context"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Admission bounds what a server takes on, so that under too much load it answers few callers well and the others at
// once, instead of all of them late. A bound of 0 is none.
type Admission struct {
	Calls   int  // unary calls under way at a time
	Streams int  // streams open at a time
	Rate    Rate // what each principal may ask; nil: as much as it likes
}

// Rate is the share of each principal.
type Rate interface {
	// Take counts one call of the principal. Beyond its share it returns fault.Throttled with RetryAfter.
	Take(ctx context.Context, principal string) error
}

// comeBack is when a caller who found the server full should try again: most calls take less.
const comeBack = time.Second

// concurrency refuses what is more than can be served at a time, before anything is spent on it. Health checks pass: a
// server that is busy is not ill.
func concurrency(a Admission) Link {
	calls, streams := make(chan struct{}, a.Calls), make(chan struct{}, a.Streams)
	return Link{Name: "concurrency", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		places := calls
		if call.Stream {
			places = streams
		}
		if cap(places) == 0 || exempt(call.Method) {
			return next(ctx)
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			return next(ctx)
		default:
			return fault.New(fault.Throttled, "the server is serving as many calls as it can; try again in a moment", nil).
				WithReason("SERVER_BUSY").WithRetryAfter(comeBack)
		}
	}}
}

// rates keeps each principal to its share.
func rates(a Admission) Link {
	return Link{Name: "rate", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		if a.Rate == nil || exempt(call.Method) {
			return next(ctx)
		}
		if err := a.Rate.Take(ctx, call.Principal.Subject); err != nil {
			return err
		}
		return next(ctx)
	}}
}
