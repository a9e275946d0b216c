package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// The names of the two platforms in links.
const (
	SourceCortex    = "cortex"
	TargetPagerDuty = "pagerduty"
)

// Link is the remembered pair of source and target team.
type Link struct {
	Source   string
	SourceID string // the source's immutable id; empty where the desired state came with the request
	Target   string
	TargetID string
	LinkedAt time.Time
}

// Team is what is known of a team.
type Team struct {
	TeamID          string
	Name            string
	Archived        bool
	Members         []ownership.Member // as declared when last read
	MemberCount     int
	SyncStatus      ownership.SyncStatus
	SyncStatusSince time.Time
	LastJobID       uuid.NullUUID
	SourceReadAt    *time.Time
	AutoReconcile   string // what audits do when they find it out of sync; empty: what they are told
	Link            *Link
}

// Team reads one team.
func (s *Store) Team(ctx context.Context, teamID string) (Team, error) {
	row, err := s.q.GetTeam(ctx, teamID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Team{}, fault.New(fault.NotFound, "there is no team "+teamID+"; `nthlayer team list` shows those the source declares", nil).
			WithReason("TEAM_NOT_FOUND")
	}
	if err != nil {
		return Team{}, wrap(err, "read a team")
	}
	return teamFrom(db.ListTeamsRow(row))
}

// TeamFilter selects teams; empty fields select all. After is the last team of the page before.
type TeamFilter struct {
	After      string
	SyncStatus string
	Query      string
	Limit      int
	Teams      []string // only those of these teams; nil: of all
}

// Teams lists teams by id.
func (s *Store) Teams(ctx context.Context, f TeamFilter) ([]Team, error) {
	rows, err := s.q.ListTeams(ctx, db.ListTeamsParams{
		After: f.After, SyncStatus: f.SyncStatus, Query: f.Query, Teams: f.Teams, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list teams")
	}
	teams := make([]Team, len(rows))
	for i, row := range rows {
		if teams[i], err = teamFrom(row); err != nil {
			return nil, err
		}
	}
	return teams, nil
}

// Link gives the remembered pair of a team, or nil.
func (s *Store) Link(ctx context.Context, teamID string) (*Link, error) {
	row, err := s.q.GetLink(ctx, teamID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "read a link")
	}
	return &Link{
		Source: row.Source, SourceID: row.SourceID, Target: row.Target, TargetID: row.TargetID, LinkedAt: row.LinkedAt,
	}, nil
}

// LinkedTeam tells which team a target team is linked to; empty: none.
func (s *Store) LinkedTeam(ctx context.Context, target, targetID string) (string, error) {
	teamID, err := s.q.GetLinkedTeam(ctx, db.GetLinkedTeamParams{Target: target, TargetID: targetID})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return teamID, wrap(err, "read a link")
}

// Declare remembers what the source declares of teams. One statement, whatever their number.
func (s *Store) Declare(ctx context.Context, teams []ownership.Desired) error {
	if len(teams) == 0 {
		return nil
	}
	return wrap(s.q.DeclareTeams(ctx, declareParams(teams)), "remember the declared teams")
}

// ClaimChore reports whether the caller is the one to do a chore that one process does once in a period.
func (s *Store) ClaimChore(ctx context.Context, name string, period time.Duration) (bool, error) {
	n, err := s.q.ClaimChore(ctx, db.ClaimChoreParams{Name: name, Period: period})
	return n == 1, wrap(err, "claim a chore")
}

func declareParams(teams []ownership.Desired) db.DeclareTeamsParams {
	var p db.DeclareTeamsParams
	for _, t := range teams {
		members := t.Members
		if members == nil {
			members = []ownership.Member{}
		}
		p.TeamIds = append(p.TeamIds, text(t.TeamID))
		p.SourceIds = append(p.SourceIds, text(t.SourceID))
		p.Names = append(p.Names, text(t.Name))
		p.Archived = append(p.Archived, t.Archived)
		p.Members = append(p.Members, encode(members))
		p.MemberCounts = append(p.MemberCounts, int32(len(members)))
	}
	return p
}

func teamFrom(row db.ListTeamsRow) (Team, error) {
	t := Team{
		TeamID: row.Team.TeamID, Name: row.Team.Name, Archived: row.Team.Archived, MemberCount: int(row.Team.MemberCount),
		SyncStatus: ownership.SyncStatus(row.Team.SyncStatus), SyncStatusSince: row.Team.SyncStatusSince,
		LastJobID: row.Team.LastJobID, SourceReadAt: row.Team.SourceReadAt,
		AutoReconcile: row.Team.AutoReconcile,
	}
	if row.TargetID != nil {
		t.Link = &Link{Source: *row.Source, SourceID: *row.LinkSourceID, Target: *row.Target, TargetID: *row.TargetID, LinkedAt: *row.LinkedAt}
	}
	return t, decode(row.Team.Members, &t.Members)
}
