package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// ignoreFor is how long an ignore rule lasts that says nothing about it.
const ignoreFor = 90 * 24 * time.Hour

// IgnoreRule is an ignore rule with its history. Rules are never changed: one that shall last longer is made anew.
type IgnoreRule struct {
	ownership.IgnoreRule
	CreatedAt time.Time
	CreatedBy string
	DeletedAt *time.Time // nil: nobody has
	DeletedBy string
}

// The states of an ignore rule.
const (
	RuleActive  = "active"
	RuleExpired = "expired"
	RuleDeleted = "deleted"
)

// Status is what has become of the rule by a time.
func (r IgnoreRule) Status(now time.Time) string {
	switch {
	case r.DeletedAt != nil:
		return RuleDeleted
	case !now.Before(r.ExpiresAt):
		return RuleExpired
	default:
		return RuleActive
	}
}

// IgnoreRules are the rules that are in force for a team, its own before the fleet's.
func (s *Store) IgnoreRules(ctx context.Context, teamID string) ([]ownership.IgnoreRule, error) {
	rules, err := s.ignoreRulesOf(ctx, []string{teamID})
	return rules[teamID], err
}

// ignoreRulesOf are the rules that are in force for each of some teams, in one read.
func (s *Store) ignoreRulesOf(ctx context.Context, teamIDs []string) (map[string][]ownership.IgnoreRule, error) {
	rows, err := s.q.RulesInForce(ctx, orNone(teamIDs))
	if err != nil {
		return nil, wrap(err, "read ignore rules")
	}
	rules := map[string][]ownership.IgnoreRule{}
	for _, row := range rows {
		rule := ignoreRuleFrom(row).IgnoreRule
		for _, id := range teamIDs {
			if rule.Covers(id) {
				rules[id] = append(rules[id], rule)
			}
		}
	}
	return rules, nil
}

// CreateIgnoreRule adds a rule, for 90 days where it names no end. Asking twice is the same as once; another rule that hides the
// same and is in force is a Conflict. One transaction.
func (s *Store) CreateIgnoreRule(ctx context.Context, rule ownership.IgnoreRule, who string) (IgnoreRule, error) {
	if field, problem := rule.Check(); field != "" {
		return IgnoreRule{}, fault.Field(field, problem)
	}
	id, err := newID()
	if err != nil {
		return IgnoreRule{}, err
	}
	rule.ExpiresAt = rule.ExpiresAt.Truncate(time.Microsecond) // as the database keeps it
	expires := rule.ExpiresAt
	if expires.IsZero() {
		expires = time.Now().Add(ignoreFor)
	}
	var standing IgnoreRule
	err = s.tx(ctx, "create an ignore rule", func(q *db.Queries) error {
		if err := q.ReplaceExpiredRule(ctx, db.ReplaceExpiredRuleParams{
			TeamID: rule.TeamID, Kind: string(rule.Kind), ValueKey: rule.Key(),
		}); err != nil {
			return err
		}
		if _, err := q.InsertIgnoreRule(ctx, db.InsertIgnoreRuleParams{
			RuleID: id, TeamID: rule.TeamID, Kind: string(rule.Kind), Value: rule.Value, ValueKey: rule.Key(),
			Reason: text(rule.Reason), Owner: text(rule.Owner), CreatedBy: who, ExpiresAt: expires,
		}); err != nil {
			return err
		}
		row, err := q.StandingRule(ctx, db.StandingRuleParams{TeamID: rule.TeamID, Kind: string(rule.Kind), ValueKey: rule.Key()})
		if err != nil {
			return err
		}
		standing = ignoreRuleFrom(row)
		return nil
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return IgnoreRule{}, fault.New(fault.Conflict, "somebody has removed the same rule meanwhile; ask again", err).WithReason("IGNORE_RULE_REMOVED")
	case err != nil:
		return IgnoreRule{}, err
	case standing.ID == id.String(), // or the same was asked before
		standing.Reason == rule.Reason && standing.Owner == rule.Owner && (rule.ExpiresAt.IsZero() || standing.ExpiresAt.Equal(rule.ExpiresAt)):
		return standing, nil
	}
	return IgnoreRule{}, fault.New(fault.Conflict, fmt.Sprintf(
		"rule %s hides the same until %s (ask %s); remove it first to have another end, reason or owner",
		standing.ID, standing.ExpiresAt.UTC().Format(time.DateOnly), standing.Owner), nil).WithReason("IGNORE_RULE_EXISTS")
}

// DeleteIgnoreRule takes a rule of a team (empty: of the fleet) back; it stays to be read. Asking twice is the same as once.
func (s *Store) DeleteIgnoreRule(ctx context.Context, ruleID uuid.UUID, teamID, who string) (IgnoreRule, error) {
	if _, err := s.q.DeleteIgnoreRule(ctx, db.DeleteIgnoreRuleParams{RuleID: ruleID, TeamID: teamID, Who: who}); err != nil {
		return IgnoreRule{}, wrap(err, "delete an ignore rule")
	}
	row, err := s.q.GetIgnoreRule(ctx, ruleID)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && row.TeamID != teamID:
		of, way := "the fleet", "name its team where it is a team's"
		if teamID != "" {
			of, way = "team "+teamID, "name no team where it is the fleet's"
		}
		return IgnoreRule{}, fault.New(fault.NotFound, fmt.Sprintf("%s has no ignore rule %s; %s", of, ruleID, way), nil).
			WithReason("IGNORE_RULE_NOT_FOUND")
	case err != nil:
		return IgnoreRule{}, wrap(err, "read an ignore rule")
	}
	return ignoreRuleFrom(row), nil
}

// IgnoreRuleFilter selects ignore rules; empty fields select all. After is the last rule of the page before.
type IgnoreRuleFilter struct {
	After  uuid.UUID
	TeamID string // its own rules and the fleet's
	Kind   string
	Past   bool // also those that have expired or were deleted
	Limit  int
}

// ListIgnoreRules lists rules, newest first.
func (s *Store) ListIgnoreRules(ctx context.Context, f IgnoreRuleFilter) ([]IgnoreRule, error) {
	rows, err := s.q.ListIgnoreRules(ctx, db.ListIgnoreRulesParams{
		After: f.After, TeamID: f.TeamID, Kind: f.Kind, Past: f.Past, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list ignore rules")
	}
	rules := make([]IgnoreRule, len(rows))
	for i, row := range rows {
		rules[i] = ignoreRuleFrom(row)
	}
	return rules, nil
}

func ignoreRuleFrom(row db.IgnoreRule) IgnoreRule {
	return IgnoreRule{
		IgnoreRule: ownership.IgnoreRule{
			ID: row.RuleID.String(), TeamID: row.TeamID, Kind: ownership.IgnoreKind(row.Kind), Value: row.Value,
			Reason: row.Reason, Owner: row.Owner, ExpiresAt: row.ExpiresAt,
		},
		CreatedAt: row.CreatedAt, CreatedBy: row.CreatedBy, DeletedAt: row.DeletedAt, DeletedBy: row.DeletedBy,
	}
}

// hide resolves the findings of audits that ignore rules hide by now, and names the rules. Whoever calls holds the teams' rows.
func hide(ctx context.Context, q *db.Queries, ignored map[string][]ownership.Ignored) error {
	var p db.HideAuditFindingsParams
	for teamID, differences := range ignored {
		for _, i := range differences {
			kinds := []string{i.Kind()}
			if i.Change.Kind == ownership.RemoveMember { // without the rule it may have been held
				kinds = append(kinds, string(ownership.RemovalHeld), string(ownership.OnEscalationPolicy))
			}
			for _, kind := range kinds {
				p.TeamIds, p.Kinds = append(p.TeamIds, teamID), append(p.Kinds, kind)
				p.EntityRefs, p.RuleIds = append(p.EntityRefs, text(i.EntityRef())), append(p.RuleIds, i.RuleID)
			}
		}
	}
	if len(p.TeamIds) == 0 {
		return nil
	}
	return q.HideAuditFindings(ctx, p)
}

// countIgnored is how many differences of a team each rule hides.
func countIgnored(ignored []ownership.Ignored) json.RawMessage {
	counts := map[string]int{}
	for _, i := range ignored {
		counts[i.RuleID]++
	}
	return encode(counts)
}
