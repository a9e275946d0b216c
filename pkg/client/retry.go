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
	sleep  func(context.Context, time.Duration) error
	random func() float64 // in [0, 1)
}

func newRetry() retry { return retry{sleep: sleep, random: rand.Float64} }

func (r retry) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for try := 1; ; try++ {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil || try == maxTries || !repeatable(method) || !passing(ctx, err) {
			return err
		}
		if r.wait(ctx, try, err) != nil {
			return err // what went wrong says more than that time ran out
		}
	}
}

// repeatable: asking again is asking the same. A resend whose answer got lost may have been done.
func repeatable(method string) bool {
	return method != nthlayerv1.DeliveryService_ResendDelivery_FullMethodName
}

func passing(ctx context.Context, err error) bool {
	return ctx.Err() == nil && fault.Passing(err) && !fault.Is(err, fault.Canceled)
}

// wait waits as long as the server asked for, or longer with each try: 0.2 s, 0.4 s, … with up to half of it taken off,
// so that clients that failed together do not come back together. A deadline that comes before is not waited for.
func (r retry) wait(ctx context.Context, try int, err error) error {
	pause := min(firstWait<<min(try-1, 10), longest)
	pause -= time.Duration(r.random() * float64(pause) / 2)
	if f, ok := fault.As(err); ok && f.RetryAfter > pause {
		pause = f.RetryAfter
	}
	if deadline, set := ctx.Deadline(); set && time.Until(deadline) < pause {
		return context.DeadlineExceeded
	}
	return r.sleep(ctx, pause)
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
