package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// TrailPartition is a part of the trail that can be moved away: the entries from First to Last.
type TrailPartition struct{ First, Last int64 }

// TrailArchive is a part of the trail that was moved: the entries from First to Last stand in an export at Location.
type TrailArchive struct {
	First, Last              int64
	AnchorHash, LastHash     string // of the entry before the first, and of the last
	Location                 string
	SHA256                   string // of the file, in hexadecimal
	RecordedFrom, RecordedTo time.Time
	ArchivedAt               time.Time
}

// TrailAnchor is the last entry that was moved away: the trail goes on after it. The zero Head: it begins at its beginning.
func (s *Store) TrailAnchor(ctx context.Context) (trail.Head, error) {
	row, err := s.q.TrailAnchor(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return trail.Head{}, nil
	}
	return trail.Head{Seq: row.LastSeq, Hash: row.LastHash}, wrap(err, "read where the trail begins")
}

// TrailArchives lists what was moved away, oldest first.
func (s *Store) TrailArchives(ctx context.Context) ([]TrailArchive, error) {
	rows, err := s.q.ListTrailArchives(ctx)
	return archives(rows), wrap(err, "list the trail's archives")
}

// RunArchives lists the archives that may hold findings of a run, because they are of its time.
func (s *Store) RunArchives(ctx context.Context, jobID uuid.UUID) ([]TrailArchive, error) {
	rows, err := s.q.RunArchives(ctx, jobID)
	return archives(rows), wrap(err, "list a run's archives")
}

func archives(rows []db.TrailArchive) []TrailArchive {
	var list []TrailArchive
	for _, r := range rows {
		list = append(list, TrailArchive{
			First: r.FirstSeq, Last: r.LastSeq, AnchorHash: r.AnchorHash, LastHash: r.LastHash, Location: r.Location, SHA256: r.Sha256,
			RecordedFrom: r.RecordedFrom, RecordedTo: r.RecordedTo, ArchivedAt: r.ArchivedAt,
		})
	}
	return list
}

// FindingRange gives the first and the last entry that was recorded in a period; zeros where none was. A nil bound is none.
func (s *Store) FindingRange(ctx context.Context, from, to *time.Time) (first, last int64, err error) {
	p := db.FindingRangeParams{RecordedFrom: time.Unix(0, 0), RecordedTo: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	if from != nil {
		p.RecordedFrom = *from
	}
	if to != nil {
		p.RecordedTo = *to
	}
	row, err := s.q.FindingRange(ctx, p)
	return row.FirstSeq, row.LastSeq, wrap(err, "look for the entries of a period")
}

// PartitionToArchive gives the oldest partition, where it can be moved away: it is full, all its entries are older than
// keep, and no run that could still record has findings in it. Otherwise it gives none, and says which run it waits for if
// that is what is left.
func (s *Store) PartitionToArchive(ctx context.Context, keep time.Duration) (p *TrailPartition, waitsFor uuid.UUID, err error) {
	head, err := s.TrailHead(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	oldest, waitsFor, err := movable(ctx, s.q, head.Seq, keep)
	return oldest, waitsFor, wrap(err, "look for a part of the trail to move")
}

func movable(ctx context.Context, q *db.Queries, head int64, keep time.Duration) (*TrailPartition, uuid.UUID, error) {
	oldest, err := q.OldestTrailPartition(ctx)
	if err != nil || oldest.ToSeq > head {
		return nil, uuid.Nil, err
	}
	old, err := q.TrailPartitionAge(ctx, db.TrailPartitionAgeParams{FromSeq: oldest.FromSeq, ToSeq: oldest.ToSeq, Keep: keep})
	if err != nil || !old {
		return nil, uuid.Nil, err
	}
	job, err := q.OpenJobIn(ctx, db.OpenJobInParams(oldest))
	if errors.Is(err, pgx.ErrNoRows) {
		return &TrailPartition{First: oldest.FromSeq, Last: oldest.ToSeq}, uuid.Nil, nil
	}
	return nil, job, err
}

// MoveTrail takes a partition out of the trail and remembers where its entries stand now, in one transaction. The archives
// hold the whole partition and nothing else, each going on where the one before ends; anything else is a Conflict, and so is a
// partition that is gone or can no longer be moved. Whoever appends waits meanwhile, for a moment: where long reads hold
// the table, MoveTrail gives up.
func (s *Store) MoveTrail(ctx context.Context, p TrailPartition, keep time.Duration, list []TrailArchive) error {
	return s.tx(ctx, "move a part of the trail", func(q *db.Queries) error {
		head, err := q.LockTrailHead(ctx)
		if err != nil {
			return err
		}
		switch now, _, err := movable(ctx, q, head.Seq, keep); {
		case err != nil:
			return err
		case now == nil || *now != p:
			return conflict("it is not the oldest part any more, or may not be moved now")
		}
		at, err := q.TrailAnchor(ctx)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if at.LastSeq+1 != p.First {
			return conflict(fmt.Sprintf("the archives end at entry %d", at.LastSeq))
		}
		for _, a := range list {
			hash, err := q.FindingHash(ctx, a.Last)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			if a.First != at.LastSeq+1 || a.AnchorHash != at.LastHash || a.Last < a.First || a.Last > p.Last || hash != a.LastHash {
				return conflict(fmt.Sprintf("%s does not hold what comes after entry %d", a.Location, at.LastSeq))
			}
			if err := q.AddTrailArchive(ctx, db.AddTrailArchiveParams{
				FirstSeq: a.First, LastSeq: a.Last, AnchorHash: a.AnchorHash, LastHash: a.LastHash, Location: a.Location,
				Sha256: a.SHA256, RecordedFrom: a.RecordedFrom, RecordedTo: a.RecordedTo,
			}); err != nil {
				return err
			}
			at = db.TrailAnchorRow{LastSeq: a.Last, LastHash: a.LastHash}
		}
		if at.LastSeq != p.Last {
			return conflict(fmt.Sprintf("the archives end at entry %d", at.LastSeq))
		}
		if err := q.WaitForPartitionsBriefly(ctx); err != nil {
			return err
		}
		return q.DropTrailPartition(ctx, p.First)
	})
}

func conflict(why string) error {
	return fault.New(fault.Conflict, "this part of the trail stays where it is: "+why, nil).WithReason("TRAIL_MOVED")
}
