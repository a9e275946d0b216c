package rpc

import (
	"context"
	"time"
)

// deadlines bounds every call. A shorter deadline of the caller stays.
func deadlines(unary, stream time.Duration) Link {
	return Link{Name: "deadline", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		within := unary
		if call.Stream {
			within = stream
		}
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return next(ctx)
	}}
}
