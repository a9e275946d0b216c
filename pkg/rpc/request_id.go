package rpc

import (
	"context"
	"log/slog"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/nthlayer/nthlayer/pkg/telemetry"
)

// RequestIDKey is the metadata key under which a request id comes in and goes out.
const RequestIDKey = "x-request-id"

type requestIDContextKey struct{}

// RequestID is the id of the request being served, for logs and for calls to other services; empty outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDContextKey{}).(string)
	return id
}

// requestIDs gives each call an id: the caller's where it is fit to stand in a log, else a new one. It goes back in the
// header, so that a caller can name the call when asking for help.
func requestIDs() Link {
	return Link{Name: "request_id", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		call.RequestID = incoming(ctx, RequestIDKey)
		if !VisibleASCII(call.RequestID, 128) {
			call.RequestID = uuid.NewString()
		}
		ctx = context.WithValue(ctx, requestIDContextKey{}, call.RequestID)
		ctx = telemetry.With(ctx, slog.String("request_id", call.RequestID))  // in every line logged on behalf of the call
		_ = grpc.SetHeader(ctx, metadata.Pairs(RequestIDKey, call.RequestID)) // fails only outside of a real call
		return next(ctx)
	}}
}

// VisibleASCII reports whether text has 1 to most characters, each of them visible ASCII.
func VisibleASCII(text string, most int) bool {
	if text == "" || len(text) > most {
		return false
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// incoming is the single value of a metadata key; empty where there is none, or several.
func incoming(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}
