package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// TrailPart is a part of the trail that is full.
type TrailPart struct {
	Name        string
	First, Last int64
}

// TrailArchive is a part that was moved out of the database.
type TrailArchive struct {
	First      int64
	Anchor     string // the hash of the entry before its first
	Last       trail.Head
	Location   string
	SHA256     string // of the archive, in hex
	ArchivedAt time.Time
}

// OldestTrailPart gives the oldest part of the trail, where it is full and all of it was recorded before a time; nil: it is not.
func (s *Store) OldestTrailPart(ctx context.Context, before time.Time) (*TrailPart, error) {
	row, err := s.q.OldestPart(ctx, before)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "find the oldest part of the trail")
	}
	return &TrailPart{Name: row.Name, First: row.FirstSeq, Last: row.LastSeq}, nil
}

// MovedTrailPart takes a part away that is in an archive, and remembers where, in one transaction: it is in one of the two at
// any time.
func (s *Store) MovedTrailPart(ctx context.Context, part TrailPart, a TrailArchive) error {
	return s.tx(ctx, "take a part of the trail away", func(q *db.Queries) error {
		if _, err := q.LockTrailHead(ctx); err != nil {
			return err
		}
		if err := q.SaveArchive(ctx, db.SaveArchiveParams{
			FirstSeq: part.First, LastSeq: part.Last, AnchorHash: a.Anchor, LastHash: a.Last.Hash, Location: a.Location, Sha256: a.SHA256,
		}); err != nil {
			return err
		}
		return q.DropPart(ctx, part.Name)
	})
}

// TrailAnchor is the newest entry that was moved to an archive: the first that is here follows it. The zero Head: none was.
func (s *Store) TrailAnchor(ctx context.Context) (trail.Head, error) {
	row, err := s.q.TrailAnchor(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return trail.Head{}, nil
	}
	return trail.Head{Seq: row.LastSeq, Hash: row.LastHash}, wrap(err, "read the trail's anchor")
}

// TrailArchives lists the archives, the oldest first.
func (s *Store) TrailArchives(ctx context.Context) ([]TrailArchive, error) {
	rows, err := s.q.TrailArchives(ctx)
	if err != nil {
		return nil, wrap(err, "list the trail's archives")
	}
	archives := make([]TrailArchive, len(rows))
	for i, row := range rows {
		archives[i] = TrailArchive{
			First: row.FirstSeq, Anchor: row.AnchorHash, Last: trail.Head{Seq: row.LastSeq, Hash: row.LastHash}, Location: row.Location,
			SHA256: row.Sha256, ArchivedAt: row.ArchivedAt,
		}
	}
	return archives, nil
}

// Period finds the piece of the trail that was recorded in a period, from the first entry to the last; nil bounds are none. Empty
// is true where nothing was.
func (s *Store) Period(ctx context.Context, from, to *time.Time) (first, last int64, empty bool, err error) {
	row, err := s.q.PeriodBounds(ctx, db.PeriodBoundsParams{RecordedFrom: from, RecordedTo: to})
	if err != nil {
		return 0, 0, false, wrap(err, "find a period in the trail")
	}
	empty = from != nil && row.FirstSeq == 0 || to != nil && row.LastSeq == 0 || from != nil && to != nil && row.FirstSeq > row.LastSeq
	return row.FirstSeq, row.LastSeq, empty, nil
}
