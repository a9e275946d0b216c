package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// The statuses of a finding.
const (
	FindingOpen         = "open"
	FindingAcknowledged = "acknowledged" // somebody knows of it, until a time
	FindingResolved     = "resolved"
)

// AuditFinding is one thing that audits found wrong, as it stands.
type AuditFinding struct {
	FindingID         uuid.UUID
	TeamID            string
	Kind              string
	Category          string
	EntityRef         string
	Message           string
	Status            string
	FirstSeenAt       time.Time
	FirstAuditID      uuid.UUID
	LastSeenAt        time.Time
	LastAuditID       uuid.UUID
	Reopened          int32 // how often it came back after it was resolved
	ReopenedAt        *time.Time
	ReopenedAuditID   uuid.NullUUID
	AcknowledgedBy    string
	AcknowledgeReason string
	AcknowledgedUntil *time.Time
	ResolvedAt        *time.Time
	ResolvedBy        string // run:<job_id> or audit:<audit_id>
	ChangedBy         string // who made it so on the target, as far as its records tell
	ChangedAt         *time.Time
}

// AuditFindingFilter selects findings; empty fields select all. After is the last finding of the page before.
type AuditFindingFilter struct {
	After   uuid.UUID
	Status  string
	Kind    string
	TeamID  string
	AuditID uuid.UUID // that saw it last
	Limit   int
	Teams   []string // only those of these teams; nil: of all
}

// AuditFindings lists findings, newest first.
func (s *Store) AuditFindings(ctx context.Context, f AuditFindingFilter) ([]AuditFinding, error) {
	rows, err := db.New(customPlans{s.pool}).ListAuditFindings(ctx, db.ListAuditFindingsParams{
		After: f.After, Status: f.Status, Kind: f.Kind, TeamID: f.TeamID, AuditID: f.AuditID, Teams: f.Teams, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list findings of audits")
	}
	findings := make([]AuditFinding, len(rows))
	for i, row := range rows {
		findings[i] = AuditFinding(row)
	}
	return findings, nil
}

// AuditFinding reads one finding.
func (s *Store) AuditFinding(ctx context.Context, id uuid.UUID) (AuditFinding, error) {
	row, err := s.q.GetAuditFinding(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return AuditFinding{}, fault.New(fault.NotFound, "there is no finding "+id.String(), nil).WithReason("FINDING_NOT_FOUND")
	}
	return AuditFinding(row), wrap(err, "read a finding")
}

// Acknowledge notes that somebody knows of a finding, until a time. A resolved finding is a Precondition.
func (s *Store) Acknowledge(ctx context.Context, id uuid.UUID, who, reason string, until time.Time) (AuditFinding, error) {
	n, err := s.q.AcknowledgeAuditFinding(ctx, db.AcknowledgeAuditFindingParams{FindingID: id, Who: who, Reason: text(reason), Until: until})
	if err != nil {
		return AuditFinding{}, wrap(err, "acknowledge a finding")
	}
	f, err := s.AuditFinding(ctx, id)
	if err == nil && n == 0 {
		err = fault.New(fault.Precondition, "the finding is resolved already; there is nothing to acknowledge", nil).WithReason("FINDING_RESOLVED")
	}
	return f, err
}

// Unacknowledge takes an acknowledgement back. It is no error where there is none.
func (s *Store) Unacknowledge(ctx context.Context, id uuid.UUID) (AuditFinding, error) {
	if _, err := s.q.ReopenAuditFinding(ctx, id); err != nil {
		return AuditFinding{}, wrap(err, "reopen a finding")
	}
	return s.AuditFinding(ctx, id)
}

// ExpireAcknowledgements reopens findings whose acknowledgement is over.
func (s *Store) ExpireAcknowledgements(ctx context.Context) (int, error) {
	n, err := s.q.ExpireAcknowledgements(ctx)
	return int(n), wrap(err, "end acknowledgements")
}

// explained is the target team whose records tell who made it so; empty: no record of a team or a membership explains it.
func explained(f audit.Finding) string {
	switch {
	case f.Kind == audit.OrphanTeam, f.Kind == string(ownership.UpdateTeam),
		f.UserID != "" && audit.CategoryOf(f.Kind) == audit.Drift:
		return f.TargetID
	default:
		return ""
	}
}

// saveFindings writes what an audit saw of the compared teams; what it did not see of them is resolved. fleet: the kinds
// are those that only the fleet as a whole shows, and else all others.
func saveFindings(ctx context.Context, q *db.Queries, a Audit, compared []string, findings []audit.Finding, fleet bool) error {
	p := db.SaveAuditFindingsParams{AuditID: a.AuditID, Compared: orNone(compared), FleetKinds: fleetKinds, Fleet: fleet}
	seen := map[[3]string]bool{}
	slices.SortStableFunc(findings, func(a, b audit.Finding) int {
		return strings.Compare(a.TeamID+a.Kind+a.EntityRef, b.TeamID+b.Kind+b.EntityRef)
	})
	for _, f := range findings {
		key := [3]string{text(f.TeamID), f.Kind, text(f.EntityRef)}
		if seen[key] {
			continue
		}
		seen[key] = true
		id, err := newID()
		if err != nil {
			return err
		}
		p.FindingIds = append(p.FindingIds, id)
		p.TeamIds = append(p.TeamIds, key[0])
		p.Kinds = append(p.Kinds, f.Kind)
		p.Categories = append(p.Categories, audit.CategoryOf(f.Kind))
		p.EntityRefs = append(p.EntityRefs, key[2])
		p.Messages = append(p.Messages, text(f.Message))
		p.TargetIds = append(p.TargetIds, explained(f))
		p.UserIds = append(p.UserIds, f.UserID)
	}
	return q.SaveAuditFindings(ctx, p)
}
