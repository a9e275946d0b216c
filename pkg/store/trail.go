package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// FindingFilter selects findings; empty fields select all. After is the last entry of the page before, Last the last one
// that is wanted.
type FindingFilter struct {
	After   int64
	Last    int64
	TeamID  string
	JobID   uuid.UUID
	Outcome string
	Limit   int
	Teams   []string // only those of these teams; nil: of all
}

// Findings lists the trail from its beginning. What the table repeats of the sealed content comes from the table, so
// that verification sees an edit of either.
func (s *Store) Findings(ctx context.Context, f FindingFilter) ([]trail.Entry, error) {
	rows, err := s.q.ListFindings(ctx, db.ListFindingsParams{
		After: f.After, Last: f.Last, TeamID: f.TeamID, JobID: f.JobID, Outcome: f.Outcome, Teams: f.Teams, PageSize: int32(f.Limit),
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

// RemovedLately are the users whom runs removed from a team in the time before that nobody approved. Where it is not known
// whether somebody was removed, they may have been.
func (s *Store) RemovedLately(ctx context.Context, teamID string, within time.Duration) ([]string, error) {
	users, err := s.q.RemovedLately(ctx, db.RemovedLatelyParams{TeamID: teamID, Within: within})
	return users, wrap(err, "read who was removed of late")
}

// Effects lists the changes of a run that took effect, or may have, as the trail has them, in their order. What is not known to
// have happened is for whoever looks at the target to tell.
func (s *Store) Effects(ctx context.Context, jobID uuid.UUID) (changes []ownership.Change, err error) {
	var entries []trail.Entry
	filter := FindingFilter{JobID: jobID, Limit: 1000}
	for {
		page, err := s.Findings(ctx, filter)
		if err != nil {
			return nil, err
		}
		entries = append(entries, page...)
		if len(page) < filter.Limit {
			break
		}
		filter.After = page[len(page)-1].Seq
	}
	settled, refs := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		if ref, later := strings.CutSuffix(e.ChangeID, trail.Settled); later {
			settled[ref] = true
		}
	}
	for _, e := range entries {
		if e.Outcome == trail.Applied || e.Outcome == trail.Unknown && !settled[e.ChangeID] {
			c := ownership.Change{ID: e.Action + ":" + e.EntityRef, Kind: ownership.Kind(e.Action), EntityRef: e.EntityRef, UserID: e.UserID}
			if err := errors.Join(entity(e.Before, &c.Before), entity(e.After, &c.After)); err != nil {
				return nil, err
			}
			if slices.Contains(ownership.Kinds(), c.Kind) {
				changes = append(changes, c)
				refs[strings.TrimSuffix(e.ChangeID, trail.Settled)] = true
			}
		}
	}
	made, err := s.q.CountApplied(ctx, jobID)
	if err != nil {
		return nil, wrap(err, "count the changes of a run")
	}
	if int64(len(refs)) < made {
		return nil, fault.New(fault.Precondition, "what the run did was moved to the trail's archives: it is too old to be undone from here", nil).
			WithReason("TRAIL_ARCHIVED")
	}
	return changes, nil
}

func entity(content json.RawMessage, into **ownership.Entity) error {
	if len(content) == 0 {
		return nil
	}
	return decode(content, into)
}

// record appends what is not there yet of a run's findings after the trail's head, which the transaction has locked.
func record(ctx context.Context, q *db.Queries, head trail.Head, run Run, findings []trail.Finding) error {
	recorded, err := q.RecordedChanges(ctx, run.JobID)
	if err != nil {
		return err
	}
	done := make(map[string]bool, len(recorded))
	for _, id := range recorded {
		done[id] = true
	}
	var p db.AppendFindingsParams
	for _, f := range findings {
		if done[f.ChangeID] {
			continue
		}
		done[f.ChangeID] = true
		f.JobID, f.TeamID = run.JobID.String(), run.TeamID
		f.Reason, f.RequestID = cmp.Or(f.Reason, run.Request.Reason), run.Request.RequestID
		entry, next, err := head.Append(f)
		if err != nil {
			return fault.New(fault.Internal, "seal a finding", err)
		}
		head = next
		p.Seqs = append(p.Seqs, entry.Seq)
		p.JobIds = append(p.JobIds, run.JobID)
		p.ChangeIds = append(p.ChangeIds, entry.ChangeID)
		p.TeamIds = append(p.TeamIds, entry.TeamID)
		p.Outcomes = append(p.Outcomes, entry.Outcome)
		p.RecordedAts = append(p.RecordedAts, entry.RecordedAt)
		p.Contents = append(p.Contents, entry.Content)
		p.PrevHashes = append(p.PrevHashes, entry.PrevHash)
		p.Hashes = append(p.Hashes, entry.Hash)
	}
	if len(p.Seqs) == 0 {
		return nil
	}
	// The head goes first: partitions are made where it goes.
	if err := q.MoveTrailHead(ctx, db.MoveTrailHeadParams{Seq: head.Seq, Hash: head.Hash}); err != nil {
		return err
	}
	return q.AppendFindings(ctx, p)
}

// TrailHead gives the newest entry of the trail.
func (s *Store) TrailHead(ctx context.Context) (trail.Head, error) {
	row, err := s.q.TrailHead(ctx)
	return trail.Head{Seq: row.Seq, Hash: row.Hash}, wrap(err, "read the trail's head")
}
