package client

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	maxTries  = 5
	firstWait = 200 * time.Millisecond
	longest   = 10 * time.Second
)

// retry tries calls again that failed for a passing reason.
type retry struct {
	sleep    func(context.Context, time.Duration) error
	random   func() float64 // in [0, 1)
	patience time.Duration  // the most to wait between all the tries of a call; 0: as long as the call may take
}

func newRetry() retry { return retry{sleep: sleep, random: rand.Float64} }

func (r retry) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for tries := (tries{retry: r}); ; {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil || !repeatable(method) || !tries.again(ctx, err) {
			return err // what went wrong says more than that time ran out
		}
	}
}

// repeatable: asking again is asking the same. What is not may have been done although its answer got lost: a resend would
// be done twice; an update would find its own new revision, a deletion nothing to delete, and both would be told as failures.
func repeatable(method string) bool {
	switch method {
	case nthlayerv1.DeliveryService_ResendDelivery_FullMethodName,
		nthlayerv1.ScheduleService_UpdateSchedule_FullMethodName,
		nthlayerv1.ScheduleService_DeleteSchedule_FullMethodName:
		return false
	default:
		return true
	}
}

func passing(ctx context.Context, err error) bool {
	return ctx.Err() == nil && fault.Passing(err) && !fault.Is(err, fault.Canceled)
}

// tries are those of one call, and what was waited between them.
type tries struct {
	retry
	failed int
	waited time.Duration
}

// again waits as long as the server asked for, or longer with each try: 0.2 s, 0.4 s, … with up to half of it taken off,
// so that clients that failed together do not come back together. It says whether to try again: not for errors that do
// not pass, not where the wait would outlast the deadline or the patience.
func (t *tries) again(ctx context.Context, err error) bool {
	t.failed++
	if t.failed == maxTries || !passing(ctx, err) {
		return false
	}
	pause := min(firstWait<<min(t.failed-1, 10), longest)
	pause -= time.Duration(t.random() * float64(pause) / 2)
	if f, ok := fault.As(err); ok && f.RetryAfter > pause {
		pause = f.RetryAfter
	}
	t.waited += pause
	if t.patience > 0 && t.waited > t.patience {
		return false
	}
	if deadline, set := ctx.Deadline(); set && time.Until(deadline) < pause {
		return false
	}
	return t.sleep(ctx, pause) == nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
