package handler

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// IgnoreStore is what Ignores needs of the store.
type IgnoreStore interface {
	ListIgnoreRules(context.Context, store.IgnoreRuleFilter) ([]store.IgnoreRule, error)
	CreateIgnoreRule(ctx context.Context, rule ownership.IgnoreRule, who string) (store.IgnoreRule, error)
	DeleteIgnoreRule(ctx context.Context, ruleID uuid.UUID, teamID, who string) (store.IgnoreRule, error)
}

// Ignores serves IgnoreService.
type Ignores struct {
	nthlayerv1.UnimplementedIgnoreServiceServer
	Store IgnoreStore
}

// ListIgnoreRules lists rules, newest first.
func (i *Ignores) ListIgnoreRules(ctx context.Context, request *nthlayerv1.ListIgnoreRulesRequest) (*nthlayerv1.ListIgnoreRulesResponse, error) {
	after, err := lastID(request)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	rules, err := i.Store.ListIgnoreRules(ctx, store.IgnoreRuleFilter{
		After: after, TeamID: request.GetTeamId(), Kind: request.GetKind(), Past: request.GetPast(), Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListIgnoreRulesResponse{}
	if len(rules) > size {
		rules = rules[:size]
		response.NextPageToken = pagetoken.Next(request, rules[size-1].ID)
	}
	for _, rule := range rules {
		response.Rules = append(response.Rules, showIgnoreRule(rule))
	}
	return response, nil
}

// CreateIgnoreRule adds a rule.
func (i *Ignores) CreateIgnoreRule(ctx context.Context, request *nthlayerv1.CreateIgnoreRuleRequest) (*nthlayerv1.IgnoreRule, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	rule := ownership.IgnoreRule{
		TeamID: request.GetTeamId(), Kind: ownership.IgnoreKind(request.GetKind()), Value: request.GetValue(),
		Reason: request.GetReason(), Owner: request.GetOwner(),
	}
	if rule.Kind == ownership.IgnoreTeam && rule.Value == "" {
		rule.Value = rule.TeamID
	}
	if request.GetExpiresAt() != nil {
		rule.ExpiresAt = request.GetExpiresAt().AsTime()
	}
	created, err := i.Store.CreateIgnoreRule(ctx, rule, who)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("rule_id", created.ID), slog.String("team_id", created.TeamID))
	return showIgnoreRule(created), nil
}

// DeleteIgnoreRule takes a rule back.
func (i *Ignores) DeleteIgnoreRule(ctx context.Context, request *nthlayerv1.DeleteIgnoreRuleRequest) (*nthlayerv1.IgnoreRule, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	id, err := parseID("rule_id", request.GetRuleId())
	if err != nil {
		return nil, err
	}
	deleted, err := i.Store.DeleteIgnoreRule(ctx, id, request.GetTeamId(), who)
	if err != nil {
		return nil, err
	}
	return showIgnoreRule(deleted), nil
}

func showIgnoreRule(r store.IgnoreRule) *nthlayerv1.IgnoreRule {
	shown := api.IgnoreRule(r.IgnoreRule)
	shown.Status, shown.CreatedAt, shown.CreatedBy = r.Status(time.Now()), timestamppb.New(r.CreatedAt), r.CreatedBy
	shown.DeletedAt, shown.DeletedBy = api.Time(r.DeletedAt), r.DeletedBy
	return shown
}
