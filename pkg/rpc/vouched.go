package rpc

import (
	"context"

	"github.com/fullstorydev/grpchan/inprocgrpc"

	"github.com/nthlayer/nthlayer/pkg/auth"
)

// vouched is for whom code of this process makes a call, and how they asked for it.
type vouched struct {
	principal auth.Principal
	via       string
}

type vouchedKey struct{}

// For lets calls under ctx be made for a principal whom code of this process has authenticated otherwise than by a token;
// via names the way they came. It holds for Server.InProcess and a chain that authenticates by Vouched, and nowhere else:
// what it adds is a value of the context, which no caller over the network has a hand in, and no header.
func For(ctx context.Context, principal auth.Principal, via string) context.Context {
	return context.WithValue(ctx, vouchedKey{}, vouched{principal, via})
}

// Vouched authenticates calls made under For, and all others as otherwise does.
func Vouched(otherwise Authenticator) Authenticator {
	return func(ctx context.Context) (auth.Principal, error) {
		if v, ok := vouchedFor(ctx); ok {
			return v.principal, nil
		}
		return otherwise(ctx)
	}
}

// viaAPI is the way of everybody who brings a token.
const viaAPI = "api"

// Via is the way by which whoever asks for the call being served came: slack, or api.
func Via(ctx context.Context) string {
	if v, ok := vouchedFor(ctx); ok {
		return v.via
	}
	return viaAPI
}

// vouchedFor reads the context of the caller, which a call in process alone still has.
func vouchedFor(ctx context.Context) (vouched, bool) {
	caller := inprocgrpc.ClientContext(ctx)
	if caller == nil {
		return vouched{}, false
	}
	v, ok := caller.Value(vouchedKey{}).(vouched)
	return v, ok
}
