package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// The kinds and statuses of dead letters.
const (
	RunLetter     = "run"
	MessageLetter = "message"

	LetterDead      = "dead"
	LetterRequeued  = "requeued"
	LetterDiscarded = "discarded"
)

// DeadLetter is what was given up and waits for somebody: a run, or a message that nobody could read.
type DeadLetter struct {
	ID        uuid.UUID // of a run its job id
	Kind      string
	Status    string
	Queue     string // the logical queue
	TeamID    string // of a run
	MessageID string // of a message: the queue's own id
	Body      string // of a message, as it came, cut at maxBody
	Reason    string
	Error     string
	Attempts  int
	DiedAt    time.Time
	SettledAt *time.Time
	SettledBy string
}

// maxBody bounds what is kept of a message that nobody could read.
const maxBody = 16 << 10

// Bury keeps a message that nobody can work on, once, as a dead letter of a logical queue. One round trip.
func (s *Store) Bury(ctx context.Context, logicalQueue string, m queue.Received, cause error) error {
	id, err := newID()
	if err != nil {
		return err
	}
	problem := "the message cannot be worked on"
	if f, ok := fault.As(cause); ok {
		problem = f.Text
	}
	_, err = s.q.BuryMessage(ctx, db.BuryMessageParams{
		LetterID: id, Queue: logicalQueue, MessageID: m.ID, Body: shortened(string(m.Body)),
		Reason: fault.ReasonOf(cause), Error: text(problem), Attempts: int32(m.ReceiveCount),
	})
	return wrap(err, "keep a dead letter")
}

// shortened is a body that may be anything, as text and within maxBody.
func shortened(body string) string {
	body = text(body)
	if len(body) > maxBody {
		body = strings.ToValidUTF8(body[:maxBody], "")
	}
	return body
}

// DeadLetterFilter selects dead letters; empty fields select all. The After fields are those of the last one of the page
// before.
type DeadLetterFilter struct {
	AfterDiedAt time.Time
	AfterID     uuid.UUID
	Status      string
	Kind        string
	TeamID      string
	Reason      string
	Limit       int
	Teams       []string // only those of these teams; nil: of all
}

// DeadLetters lists dead letters, newest first.
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error) {
	rows, err := s.q.ListDeadLetters(ctx, db.ListDeadLettersParams{
		AfterDiedAt: f.AfterDiedAt, AfterID: f.AfterID, Status: f.Status, Kind: f.Kind, TeamID: f.TeamID, Reason: f.Reason, Teams: f.Teams,
		PageSize: int32(f.Limit),
	})
	if err != nil {
		return nil, wrap(err, "list dead letters")
	}
	letters := make([]DeadLetter, len(rows))
	for i, row := range rows {
		letters[i] = letterFrom(row)
	}
	return letters, nil
}

// DeadLetter reads one.
func (s *Store) DeadLetter(ctx context.Context, id uuid.UUID) (DeadLetter, error) {
	row, err := s.q.GetDeadLetter(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return DeadLetter{}, fault.New(fault.NotFound, "there is no dead letter "+id.String(), nil).WithReason("DEAD_LETTER_NOT_FOUND")
	}
	if err != nil {
		return DeadLetter{}, wrap(err, "read a dead letter")
	}
	return letterFrom(row), nil
}

// CountDead is how many dead letters wait for somebody.
func (s *Store) CountDead(ctx context.Context) (int64, error) {
	n, err := s.q.CountDead(ctx)
	return n, wrap(err, "count dead letters")
}

// Which selects the dead letters to settle: those that every field that is set selects. All alone selects all; nothing
// selects none.
type Which struct {
	ID         uuid.UUID
	TeamID     string
	Reason     string
	DiedBefore *time.Time // a request that is repeated must not meet what has died again
	All        bool
}

func (w Which) check() error {
	if w.ID == uuid.Nil && w.TeamID == "" && w.Reason == "" && !w.All {
		return fault.New(fault.Invalid, "say which dead letters are meant", nil)
	}
	return nil
}

// Requeue gives dead runs another life and lists them. Messages that nobody could read stay: sent again they would be
// the same. One statement, so a repeated request finds nothing more to do.
func (s *Store) Requeue(ctx context.Context, which Which, by string) ([]DeadLetter, error) {
	if err := which.check(); err != nil {
		return nil, err
	}
	rows, err := s.q.RequeueDead(ctx, db.RequeueDeadParams{
		LetterID: nullable(which.ID), TeamID: which.TeamID, Reason: which.Reason, DiedBefore: which.DiedBefore, SettledBy: by, Queue: ReconcileQueue,
	})
	if err != nil {
		return nil, wrap(err, "requeue dead letters")
	}
	letters := make([]DeadLetter, len(rows))
	for i, row := range rows {
		letters[i] = letterFrom(db.DeadLetter(row))
	}
	return letters, nil
}

// Discard gives dead letters up for good and lists them. One statement.
func (s *Store) Discard(ctx context.Context, which Which, by string) ([]DeadLetter, error) {
	if err := which.check(); err != nil {
		return nil, err
	}
	rows, err := s.q.DiscardDead(ctx, db.DiscardDeadParams{
		LetterID: nullable(which.ID), TeamID: which.TeamID, Reason: which.Reason, DiedBefore: which.DiedBefore, SettledBy: by,
	})
	if err != nil {
		return nil, wrap(err, "discard dead letters")
	}
	letters := make([]DeadLetter, len(rows))
	for i, row := range rows {
		letters[i] = letterFrom(db.DeadLetter(row))
	}
	return letters, nil
}

func nullable(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }

func letterFrom(row db.DeadLetter) DeadLetter {
	return DeadLetter{
		ID: row.LetterID, Kind: row.Kind, Status: row.Status, Queue: row.Queue, TeamID: row.TeamID, MessageID: row.MessageID,
		Body: row.Body, Reason: row.Reason, Error: row.Error, Attempts: int(row.Attempts),
		DiedAt: row.DiedAt, SettledAt: row.SettledAt, SettledBy: row.SettledBy,
	}
}
