package store

import (
	"context"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// FindingFilter selects findings; empty fields select all. After is the last entry of the page before.
type FindingFilter struct {
	After   int64
	TeamID  string
	JobID   uuid.UUID
	Outcome string
	Limit   int
}

// Findings lists the trail from its beginning. What the table repeats of the sealed content comes from the table, so
// that verification sees an edit of either.
func (s *Store) Findings(ctx context.Context, f FindingFilter) ([]trail.Entry, error) {
	rows, err := s.q.ListFindings(ctx, db.ListFindingsParams{
		After: f.After, TeamID: f.TeamID, JobID: f.JobID, Outcome: f.Outcome, PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list findings")
	}
	entries := make([]trail.Entry, len(rows))
	for i, row := range rows {
		// Content that cannot be decoded was tampered with: it is shown as it is, for the verifier to refuse.
		finding, _ := trail.Decode(row.Content)
		finding.Seq, finding.JobID, finding.ChangeID = row.Seq, row.JobID.String(), row.ChangeID
		finding.TeamID, finding.Outcome, finding.RecordedAt = row.TeamID, row.Outcome, row.RecordedAt
		entries[i] = trail.Entry{Finding: finding, Content: row.Content, PrevHash: row.PrevHash, Hash: row.Hash}
	}
	return entries, nil
}

// TrailHead gives the newest entry of the trail.
func (s *Store) TrailHead(ctx context.Context) (trail.Head, error) {
	row, err := s.q.TrailHead(ctx)
	return trail.Head{Seq: row.Seq, Hash: row.Hash}, wrap(err, "read the trail's head")
}
