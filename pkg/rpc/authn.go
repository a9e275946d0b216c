package rpc

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
)

// Authenticator says who calls, or refuses.
type Authenticator func(ctx context.Context) (auth.Principal, error)

// Bearer authenticates by the token in the authorization metadata.
func Bearer(verify func(ctx context.Context, token string) (auth.Principal, error)) Authenticator {
	return func(ctx context.Context) (auth.Principal, error) {
		values := metadata.ValueFromIncomingContext(ctx, "authorization")
		if len(values) != 1 { // of two nobody knows which one counts
			return auth.Principal{}, fault.New(fault.Unauthenticated,
				"send one header Authorization: Bearer <token>", nil).WithReason("TOKEN_MISSING")
		}
		scheme, token, found := strings.Cut(values[0], " ")
		if !found || !strings.EqualFold(scheme, "bearer") {
			return auth.Principal{}, fault.New(fault.Unauthenticated,
				"the Authorization header must be: Bearer <token>", nil).WithReason("TOKEN_MISSING")
		}
		return verify(ctx, token)
	}
}

// PeerRole authenticates by the role in the caller's certificate, which must be one of the allowed ones.
func PeerRole(allowed ...string) Authenticator {
	return func(ctx context.Context) (auth.Principal, error) {
		p, ok := peer.FromContext(ctx)
		if !ok {
			return auth.Principal{}, fault.New(fault.Unauthenticated, "the caller shows no certificate", nil)
		}
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok {
			return auth.Principal{}, fault.New(fault.Unauthenticated, "internal calls need mutual TLS", nil)
		}
		role, err := mtls.Role(info.State)
		if err != nil {
			return auth.Principal{}, err
		}
		if !slices.Contains(allowed, role) {
			return auth.Principal{}, fault.New(fault.PermissionDenied,
				"the role "+role+" may not call this service; allowed: "+strings.Join(allowed, ", "), nil).WithReason("ROLE_NOT_ALLOWED")
		}
		return auth.Principal{Subject: "service:" + role, ClientID: role}, nil
	}
}

func authenticating(authenticate Authenticator) Link {
	return Link{Name: "authn", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		if exempt(call.Method) {
			return next(ctx)
		}
		principal, err := authenticate(ctx)
		if err != nil {
			return err
		}
		call.Principal = principal
		return next(auth.WithPrincipal(ctx, principal))
	}}
}
