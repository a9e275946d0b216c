package rpc

import (
	"log/slog"
	"strings"
	"time"
)

const (
	unaryWithin  = time.Minute // a plan reads both platforms whole
	streamWithin = time.Hour   // watchers reconnect with after_seq; a forgotten one does not stay for ever
)

// Public is the chain of the API: bounded load, tokens, validation, and an access option on every method.
func Public(log *slog.Logger, authenticate Authenticator, admission Admission, authorizer Authorizer) (Chain, error) {
	validate, err := validating()
	if err != nil {
		return nil, err
	}
	return Chain{
		recovering(log),
		requestIDs(),
		metrics(),
		logging(log),
		concurrency(admission),
		deadlines(unaryWithin, streamWithin),
		authenticating(authenticate),
		rates(admission),
		validate,
		authorizing(authorizer),
		auditing(log),
	}, nil
}

// Internal is the chain between services. Who may call is decided by the role in the caller's certificate, for the
// service as a whole, so there are no actions to authorize.
func Internal(log *slog.Logger, allowedRoles ...string) (Chain, error) {
	validate, err := validating()
	if err != nil {
		return nil, err
	}
	return Chain{
		recovering(log),
		requestIDs(),
		metrics(),
		logging(log),
		deadlines(unaryWithin, streamWithin),
		authenticating(PeerRole(allowedRoles...)),
		validate,
	}, nil
}

// exempt names the services that anybody who reaches the port may ask: health says up or down, reflection shows the
// published API.
func exempt(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	switch service {
	case "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection":
		return true
	}
	return false
}
