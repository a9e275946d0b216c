package rpc

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// authorizing refuses what the principal may not do, and every method that does not say what it is.
func authorizing() Link {
	return Link{Name: "authz", Check: func(_ context.Context, call *Call, request proto.Message) error {
		if exempt(call.Method) {
			return nil
		}
		access, ok := Access(call.Method)
		if !ok {
			return fault.New(fault.PermissionDenied, "nobody may call "+call.Method+": it declares no access", nil)
		}
		call.Action, call.Resource = access.GetAction(), resourceOf(access, request)
		return auth.Authorize(call.Principal, call.Action, call.Resource)
	}}
}

// auditing notes every call that asks for an effect and every refusal: who, what, on
// what, and how it ended. The effects themselves are in the trail.
func auditing(log *slog.Logger) Link {
	return Link{Name: "audit", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		err := next(ctx)
		refused := fault.Is(err, fault.PermissionDenied)
		if call.Action == "" || auth.ReadOnly(call.Action) && !refused {
			return err
		}
		log.InfoContext(ctx, "audit",
			"action", call.Action, "resource", call.Resource, "refused", refused,
			"principal", call.Principal.Subject, "client_id", call.Principal.ClientID,
			"code", grpcfault.ToStatus(err).Code().String())
		return err
	}}
}
