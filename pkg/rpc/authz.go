package rpc

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// Authorizer decides who may do what: see auth.Authorizer.
type Authorizer interface {
	Authorize(ctx context.Context, p auth.Principal, action string, r auth.Resource) (auth.Decision, error)
	RolesOn(ctx context.Context, p auth.Principal, teamID string) ([]string, error)
}

// authorizing refuses what the principal may not do, and every method that does not say what it is.
func authorizing(authorizer Authorizer) Link {
	return Link{Name: "authz", Check: func(ctx context.Context, call *Call, request proto.Message) error {
		if exempt(call.Method) {
			return nil
		}
		access, ok := Access(call.Method)
		if !ok {
			return fault.New(fault.PermissionDenied, "nobody may call "+call.Method+": it declares no access", nil)
		}
		call.Action, call.Resource = access.GetAction(), resourceOf(access, request)
		decision, err := authorizer.Authorize(ctx, call.Principal, call.Action, auth.Resource{Field: access.GetResource(), ID: call.Resource})
		if err != nil {
			return err
		}
		call.Why, call.visible, call.authorize = decision.Why, decision.Visible, authorizer
		return nil
	}}
}

// callOf is the call that ctx belongs to, once it was authorized.
func callOf(ctx context.Context) (*Call, error) {
	if call, ok := ctx.Value(callKey{}).(*Call); ok && call.authorize != nil {
		return call, nil
	}
	return nil, fault.New(fault.Internal, "nobody has authorized the call", nil)
}

// VisibleTeams is what of a list the caller may see: nil is everything, an empty list nothing.
func VisibleTeams(ctx context.Context) []string {
	call, err := callOf(ctx)
	switch {
	case err != nil || !call.visible.Everything && call.visible.Teams == nil:
		return []string{}
	case call.visible.Everything:
		return nil
	default:
		return call.visible.Teams
	}
}

// May says whether the caller may take another action than the one it was let in for.
func May(ctx context.Context, action string, r auth.Resource) error {
	_, err := Decide(ctx, action, r)
	return err
}

// Decide is May with what allows it, and until when.
func Decide(ctx context.Context, action string, r auth.Resource) (auth.Decision, error) {
	call, err := callOf(ctx)
	if err != nil {
		return auth.Decision{}, err
	}
	return call.authorize.Authorize(ctx, call.Principal, action, r)
}

// RolesOn are the roles that the caller holds on a team.
func RolesOn(ctx context.Context, teamID string) ([]string, error) {
	call, err := callOf(ctx)
	if err != nil {
		return nil, err
	}
	return call.authorize.RolesOn(ctx, call.Principal, teamID)
}

// auditing notes every call that asks for an effect and every refusal: who, what, on what, why they may, and how it ended.
// The effects themselves are in the trail.
func auditing(log *slog.Logger) Link {
	return Link{Name: "audit", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		err := next(ctx)
		refused := fault.Is(err, fault.PermissionDenied)
		if call.Action == "" || auth.ReadOnly(call.Action) && !refused {
			return err
		}
		why := call.Why
		if refused {
			why = fault.ReasonOf(err)
		}
		log.InfoContext(ctx, "audit",
			"action", call.Action, "resource", call.Resource, "refused", refused, "why", why,
			"principal", call.Principal.Subject, "client_id", call.Principal.ClientID,
			"code", grpcfault.ToStatus(err).Code().String())
		return err
	}}
}
