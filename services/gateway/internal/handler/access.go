package handler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// AccessStore is what Access needs of the store.
type AccessStore interface {
	Bindings(context.Context, store.BindingFilter) ([]auth.Binding, error)
	Bind(ctx context.Context, b auth.Binding) (auth.Binding, error)
	Unbind(ctx context.Context, subject, role, teamID, by string) (auth.Binding, error)
	CustomRoles(ctx context.Context, ended bool) ([]store.CustomRole, error)
	SetRole(ctx context.Context, role string, actions []string, by string) (store.CustomRole, error)
	DeleteRole(ctx context.Context, role, by string) error
	Identities(ctx context.Context, ended bool) ([]store.Identity, error)
	LinkIdentity(ctx context.Context, email, subject, by string) (store.Identity, error)
	UnlinkIdentity(ctx context.Context, email, by string) error
}

// Access serves AccessService.
type Access struct {
	nthlayerv1.UnimplementedAccessServiceServer
	Store      AccessStore
	Authorizer *auth.Authorizer
}

// CheckAccess says whether somebody may take an action, and why.
func (a *Access) CheckAccess(ctx context.Context, request *nthlayerv1.CheckAccessRequest) (*nthlayerv1.CheckAccessResponse, error) {
	if !slices.Contains(rpc.Actions(), request.GetAction()) {
		return nil, fault.Field("action", "there is no action "+request.GetAction()+"; see: nthlayer access role list")
	}
	principal, _ := auth.PrincipalFrom(ctx)
	if subject := request.GetSubject(); subject != "" && subject != principal.Subject {
		if err := rpc.May(ctx, "access.list", auth.All); err != nil {
			return nil, err
		}
		principal = auth.Principal{Subject: subject}
	}
	on := auth.All
	if request.GetTeamId() != "" {
		on = auth.Team(request.GetTeamId())
	}
	roles, err := a.Authorizer.RolesOn(ctx, principal, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.CheckAccessResponse{Roles: roles}
	decision, err := a.Authorizer.Authorize(ctx, principal, request.GetAction(), on)
	switch {
	case err == nil:
		response.Allowed, response.Why = true, decision.Why
	case fault.Is(err, fault.PermissionDenied):
		f, _ := fault.As(err)
		response.Why = f.Text
	default:
		return nil, err
	}
	return response, nil
}

// ListGrants lists grants, newest first.
func (a *Access) ListGrants(ctx context.Context, request *nthlayerv1.ListGrantsRequest) (*nthlayerv1.ListGrantsResponse, error) {
	after, err := lastID(request)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	bindings, err := a.Store.Bindings(ctx, store.BindingFilter{
		After: after, Subject: request.GetSubject(), TeamID: request.GetTeamId(), Ended: request.GetEnded(), Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListGrantsResponse{}
	if len(bindings) > size {
		bindings = bindings[:size]
		response.NextPageToken = pagetoken.Next(request, bindings[size-1].ID)
	}
	for _, b := range bindings {
		response.Grants = append(response.Grants, showGrant(b))
	}
	return response, nil
}

// GrantRole gives a role.
func (a *Access) GrantRole(ctx context.Context, request *nthlayerv1.GrantRoleRequest) (*nthlayerv1.Grant, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	actions, err := a.actionsOf(ctx, request.GetRole())
	if err != nil {
		return nil, err
	}
	b := auth.Binding{
		Subject: request.GetSubject(), Role: request.GetRole(), TeamID: request.GetTeamId(), Reason: request.GetReason(), GrantedBy: who,
	}
	if request.GetExpiresAt() != nil {
		ends := request.GetExpiresAt().AsTime()
		if !ends.After(time.Now()) {
			return nil, fault.Field("expires_at", "must lie in the future")
		}
		b.ExpiresAt = &ends
	}
	if err := mayAll(ctx, actions, b.ExpiresAt); err != nil {
		return nil, err
	}
	if b, err = a.Store.Bind(ctx, b); err != nil {
		return nil, err
	}
	noteGrant(ctx, b)
	return showGrant(b), nil
}

// noteGrant lets the log say who was given, or lost, what.
func noteGrant(ctx context.Context, b auth.Binding) {
	rpc.Note(ctx, slog.String("subject", b.Subject), slog.String("role", b.Role), slog.String("team_id", b.TeamID))
}

// actionsOf are the actions that a role grants: built in, of the company's own, or an action itself.
func (a *Access) actionsOf(ctx context.Context, role string) ([]string, error) {
	if slices.Contains(auth.BuiltIn(), role) {
		return builtIn(role), nil
	}
	if slices.Contains(rpc.Actions(), role) {
		return []string{role}, nil
	}
	roles, err := a.Store.CustomRoles(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if r.Role == role {
			return r.Actions, nil
		}
	}
	return nil, fault.Field("role", fmt.Sprintf("there is no role %s; there are %s, the company's own (nthlayer access role list) and single actions",
		role, strings.Join(auth.BuiltIn(), ", ")))
}

// mayAll keeps callers from giving what they do not hold everywhere themselves, and for longer than they hold it: ends is when
// what they give ends; nil: it does not end by itself.
func mayAll(ctx context.Context, actions []string, ends *time.Time) error {
	for _, action := range actions {
		own, err := rpc.Decide(ctx, action, auth.All)
		switch {
		case err != nil:
			return fault.New(fault.PermissionDenied, "nobody gives what they do not hold themselves: "+action, err).WithReason("GRANT_EXCEEDS_OWN")
		case own.Until != nil && (ends == nil || ends.After(*own.Until)):
			return fault.New(fault.PermissionDenied, "nobody gives for longer what they hold themselves until "+own.Until.UTC().Format(time.RFC3339)+": "+action, nil).
				WithReason("GRANT_EXCEEDS_OWN")
		}
	}
	return nil
}

// RevokeRole takes a role back.
func (a *Access) RevokeRole(ctx context.Context, request *nthlayerv1.RevokeRoleRequest) (*nthlayerv1.Grant, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	b, err := a.Store.Unbind(ctx, request.GetSubject(), request.GetRole(), request.GetTeamId(), who)
	if err != nil {
		return nil, err
	}
	noteGrant(ctx, b)
	return showGrant(b), nil
}

// ListRoles lists all roles with their actions.
func (a *Access) ListRoles(ctx context.Context, request *nthlayerv1.ListRolesRequest) (*nthlayerv1.ListRolesResponse, error) {
	custom, err := a.Store.CustomRoles(ctx, request.GetEnded())
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListRolesResponse{}
	for _, role := range auth.BuiltIn() {
		response.Roles = append(response.Roles, &nthlayerv1.Role{Role: role, Actions: builtIn(role), BuiltIn: true})
	}
	for _, r := range custom {
		response.Roles = append(response.Roles, showRole(r))
	}
	return response, nil
}

// builtIn are the actions of a role that is built in.
func builtIn(role string) (actions []string) {
	for _, action := range rpc.Actions() {
		if auth.Grant(role, action) {
			actions = append(actions, action)
		}
	}
	return actions
}

// SetRole makes or changes a role of the company's own.
func (a *Access) SetRole(ctx context.Context, request *nthlayerv1.SetRoleRequest) (*nthlayerv1.Role, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(auth.BuiltIn(), request.GetRole()) || request.GetRole() == auth.Manager {
		return nil, fault.Field("role", request.GetRole()+" is built in; choose another name")
	}
	for i, action := range request.GetActions() {
		if !slices.Contains(rpc.Actions(), action) {
			return nil, fault.Field(fmt.Sprintf("actions[%d]", i), "there is no action "+action)
		}
	}
	if err := mayAll(ctx, request.GetActions(), nil); err != nil {
		return nil, err
	}
	role, err := a.Store.SetRole(ctx, request.GetRole(), request.GetActions(), who)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("role", role.Role), slog.Any("actions", role.Actions))
	return showRole(role), nil
}

// DeleteRole removes a role of the company's own.
func (a *Access) DeleteRole(ctx context.Context, request *nthlayerv1.DeleteRoleRequest) (*nthlayerv1.DeleteRoleResponse, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("role", request.GetRole()))
	return &nthlayerv1.DeleteRoleResponse{}, a.Store.DeleteRole(ctx, request.GetRole(), who)
}

// ListIdentities lists whose address is whose.
func (a *Access) ListIdentities(ctx context.Context, request *nthlayerv1.ListIdentitiesRequest) (*nthlayerv1.ListIdentitiesResponse, error) {
	identities, err := a.Store.Identities(ctx, request.GetEnded())
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListIdentitiesResponse{}
	for _, i := range identities {
		response.Identities = append(response.Identities, showIdentity(i))
	}
	return response, nil
}

// LinkIdentity says whose an address is.
func (a *Access) LinkIdentity(ctx context.Context, request *nthlayerv1.LinkIdentityRequest) (*nthlayerv1.Identity, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	// Who says whose an address is may act in anybody's name: in Slack, and as the manager of any team.
	if err := mayAll(ctx, rpc.Actions(), nil); err != nil {
		return nil, err
	}
	linked, err := a.Store.LinkIdentity(ctx, request.GetEmail(), request.GetSubject(), who)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("subject", linked.Subject))
	return showIdentity(linked), nil
}

// UnlinkIdentity takes that back.
func (a *Access) UnlinkIdentity(ctx context.Context, request *nthlayerv1.UnlinkIdentityRequest) (*nthlayerv1.UnlinkIdentityResponse, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	return &nthlayerv1.UnlinkIdentityResponse{}, a.Store.UnlinkIdentity(ctx, request.GetEmail(), who)
}

func showGrant(b auth.Binding) *nthlayerv1.Grant {
	return &nthlayerv1.Grant{
		GrantId: b.ID, Subject: b.Subject, Role: b.Role, TeamId: b.TeamID, Reason: b.Reason, GrantedBy: b.GrantedBy,
		GrantedAt: timestamppb.New(b.GrantedAt), ExpiresAt: api.Time(b.ExpiresAt), RevokedBy: b.RevokedBy, RevokedAt: api.Time(b.RevokedAt),
	}
}

func showRole(r store.CustomRole) *nthlayerv1.Role {
	return &nthlayerv1.Role{
		Role: r.Role, Actions: r.Actions, ChangedBy: r.ChangedBy, ChangedAt: timestamppb.New(r.ChangedAt), EndedBy: r.EndedBy, EndedAt: api.Time(r.EndedAt),
	}
}

func showIdentity(i store.Identity) *nthlayerv1.Identity {
	return &nthlayerv1.Identity{
		Email: i.Email, Subject: i.Subject, LinkedBy: i.LinkedBy, LinkedAt: timestamppb.New(i.LinkedAt), EndedBy: i.EndedBy, EndedAt: api.Time(i.EndedAt),
	}
}
