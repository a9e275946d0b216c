package client

import (
	"google.golang.org/grpc/status"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Unreached reports whether err says that no NthLayer answered: there is nothing at the address, something else is, or
// the connection broke. That something behind a reached NthLayer is away is another error.
func Unreached(err error) bool {
	f, ok := fault.As(err)
	if !ok || f.Kind != fault.Unavailable || f.Unwrap() == nil {
		return false
	}
	// What NthLayer says itself arrives whole and without a cause; what gRPC says of the connection is the cause.
	_, ofGRPC := status.FromError(f.Unwrap())
	return ofGRPC
}
