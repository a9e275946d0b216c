package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// recovering turns a panic into an Internal fault: one bad request must not end the others.
func recovering(log *slog.Logger) Link {
	return Link{Name: "recover", Around: func(ctx context.Context, call *Call, next func(context.Context) error) (err error) {
		defer func() {
			if p := recover(); p != nil {
				log.ErrorContext(ctx, "panic in a call",
					"method", call.Method, "request_id", call.RequestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = fault.New(fault.Internal, "the call hit a bug; the log has the details under request id "+call.RequestID, nil).
					WithReason("PANIC")
			}
		}()
		return next(ctx)
	}}
}
