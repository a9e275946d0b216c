package rest

import (
	"context"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// newMux is the grpc-gateway as we want it: strict in what it takes, our own errors, and no header reaches the call but
// the few that mean something to it.
func newMux(c Config) *runtime.ServeMux {
	json := &strictJSON{runtime.JSONPb{
		// Absent and zero look alike to the reader of an answer otherwise: "findings": [] says there are none.
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
	}}
	return runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, json),
		runtime.WithMarshalerOption("text/event-stream", &eventStream{json}),
		runtime.WithIncomingHeaderMatcher(forwarded),
		runtime.WithOutgoingHeaderMatcher(returned),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(callFailed(c.Log)),
		runtime.WithRoutingErrorHandler(notRouted(c.Log, methodsAt(c.Package))),
		runtime.WithForwardResponseOption(func(_ context.Context, w http.ResponseWriter, answer proto.Message) error {
			if answer != nil { // nil: the start of a stream
				if status, ok := c.Statuses[answer.ProtoReflect().Descriptor().FullName()]; ok {
					w.WriteHeader(status)
				}
			}
			return nil
		}),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptSlash),
		runtime.WithMiddlewares(slashes, knowPath, knownQuery(c.Package, c.Log), onlyText(c.Log)),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
}

// forwarded says which headers of a request a call sees. Authorization is always forwarded.
func forwarded(header string) (string, bool) {
	switch header {
	case "Idempotency-Key", "X-Request-Id", "Traceparent", "Tracestate", "X-Amzn-Trace-Id":
		return header, true
	}
	return "", false
}

// returned says which headers of a call an answer shows. X-Request-Id is set by guarded, for every answer.
func returned(key string) (string, bool) {
	if key == "location" {
		return "Location", true
	}
	return "", false
}
