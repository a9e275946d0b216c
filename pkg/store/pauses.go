package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Pause is somebody's decision that no run of a team is begun before Until. Plans and dry runs go on.
type Pause struct {
	TeamID   string
	Reason   string
	PausedBy string
	PausedAt time.Time
	Until    time.Time
	Unknown  bool // no such team has been seen yet; set by PauseTeam
}

// PauseTeam begins a pause, or replaces the one there is. Runs that wait are put off; one that is being worked on stops
// between two steps. One transaction.
func (s *Store) PauseTeam(ctx context.Context, teamID, by, reason string, duration time.Duration) (Pause, error) {
	var pause Pause
	err := s.tx(ctx, "pause a team", func(q *db.Queries) error {
		row, err := q.SavePause(ctx, db.SavePauseParams{TeamID: teamID, Reason: reason, PausedBy: by, Duration: duration})
		if err != nil {
			return err
		}
		pause = pauseFrom(row.Pause)
		pause.Unknown = row.Unknown
		if err := q.HoldRuns(ctx, db.HoldRunsParams{TeamID: teamID, Queue: ReconcileQueue}); err != nil {
			return err
		}
		return q.TellRunning(ctx, teamID)
	})
	return pause, err
}

// ResumeTeam ends a pause; what it held back is due at once. It is not an error where there is none. One transaction.
func (s *Store) ResumeTeam(ctx context.Context, teamID string) error {
	return s.tx(ctx, "resume a team", func(q *db.Queries) error {
		if _, err := q.DeletePause(ctx, teamID); err != nil {
			return err
		}
		if err := q.ReleaseRuns(ctx, db.ReleaseRunsParams{TeamID: teamID, Queue: ReconcileQueue}); err != nil {
			return err
		}
		return q.TellRunning(ctx, teamID)
	})
}

// Pause gives the pause of a team that is not over yet, or nil.
func (s *Store) Pause(ctx context.Context, teamID string) (*Pause, error) {
	row, err := s.q.GetPause(ctx, teamID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "read a pause")
	}
	pause := pauseFrom(row)
	return &pause, nil
}

func pauseFrom(row db.Pause) Pause {
	return Pause{TeamID: row.TeamID, Reason: row.Reason, PausedBy: row.PausedBy, PausedAt: row.PausedAt, Until: row.Until}
}
