package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// ScheduleSettings is what somebody decides about a schedule.
type ScheduleSettings struct {
	Cron          string        `json:"cron"`
	TimeZone      string        `json:"time_zone,omitempty"` // empty: UTC
	Scope         audit.Scope   `json:"scope"`
	Mode          string        `json:"mode,omitempty"`
	FullEvery     time.Duration `json:"full_every,omitempty"`
	Jitter        time.Duration `json:"jitter,omitempty"`
	Owner         string        `json:"owner,omitempty"`
	AutoReconcile string        `json:"auto_reconcile,omitempty"`
	Notify        string        `json:"notify,omitempty"`
	SlackChannel  string        `json:"slack_channel,omitempty"`
	Emails        []string      `json:"emails,omitempty"`
	IgnoreOrphans []string      `json:"ignore_orphans,omitempty"`
}

// Request is what an audit of the schedule is asked to do.
func (s ScheduleSettings) Request() AuditRequest {
	return AuditRequest{
		Scope: s.Scope, Mode: s.Mode, AutoReconcile: s.AutoReconcile, FullEvery: s.FullEvery, Notify: s.Notify,
		SlackChannel: s.SlackChannel, Emails: s.Emails, IgnoreOrphans: s.IgnoreOrphans,
	}
}

// Schedule is a recurring audit as it stands.
type Schedule struct {
	ScheduleID   string
	Settings     ScheduleSettings
	Revision     int64
	NextTickAt   *time.Time // nil: it is paused
	LastTickAt   *time.Time
	LastAuditID  uuid.NullUUID
	SkippedTicks int64
	PausedBy     string
	PauseReason  string
	CreatedAt    time.Time
	CreatedBy    string
	UpdatedAt    time.Time
	UpdatedBy    string
	Unreadable   error // of DueSchedules only: why the settings cannot be read; nil: they can
}

// CreateSchedule adds a schedule. An id that is taken is a Conflict, unless its settings are the same.
func (s *Store) CreateSchedule(ctx context.Context, id string, settings ScheduleSettings, next time.Time, who string) (Schedule, error) {
	n, err := s.q.InsertSchedule(ctx, db.InsertScheduleParams{ScheduleID: id, Settings: encode(settings), NextTickAt: &next, Who: who})
	if err != nil {
		return Schedule{}, wrap(err, "create a schedule")
	}
	have, err := s.Schedule(ctx, id)
	if err == nil && n == 0 && string(encode(have.Settings)) != string(encode(settings)) {
		return Schedule{}, fault.New(fault.Conflict, "there is a schedule "+id+" already, with other settings; choose another id, or update it", nil).
			WithReason("SCHEDULE_EXISTS")
	}
	return have, err
}

// Schedule reads one schedule.
func (s *Store) Schedule(ctx context.Context, id string) (Schedule, error) {
	row, err := s.q.GetSchedule(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Schedule{}, noSchedule(id)
	}
	if err != nil {
		return Schedule{}, wrap(err, "read a schedule")
	}
	return scheduleFrom(row)
}

// Schedules lists schedules by id. after is the last one of the page before.
func (s *Store) Schedules(ctx context.Context, after string, limit int) ([]Schedule, error) {
	rows, err := s.q.ListSchedules(ctx, db.ListSchedulesParams{After: after, PageSize: int32(limit)})
	return schedulesFrom(rows, wrap(err, "list schedules"))
}

// UpdateSchedule replaces the settings. Another revision than the one given is a Conflict; 0 is any.
func (s *Store) UpdateSchedule(ctx context.Context, id string, settings ScheduleSettings, revision int64, next time.Time, who string) (Schedule, error) {
	n, err := s.q.UpdateSchedule(ctx, db.UpdateScheduleParams{
		ScheduleID: id, Settings: encode(settings), Revision: revision, NextTickAt: next, Who: who,
	})
	if err != nil {
		return Schedule{}, wrap(err, "update a schedule")
	}
	have, err := s.Schedule(ctx, id)
	if err == nil && n == 0 {
		return Schedule{}, fault.New(fault.Conflict, "somebody has changed the schedule meanwhile; read it again and make your change anew", nil).
			WithReason("SCHEDULE_CHANGED")
	}
	return have, err
}

// DeleteSchedule removes a schedule; its audits stay.
func (s *Store) DeleteSchedule(ctx context.Context, id string) error {
	n, err := s.q.DeleteSchedule(ctx, id)
	if err == nil && n == 0 {
		return noSchedule(id)
	}
	return wrap(err, "delete a schedule")
}

// PauseSchedule keeps it from ticking.
func (s *Store) PauseSchedule(ctx context.Context, id, reason, who string) (Schedule, error) {
	if _, err := s.q.PauseSchedule(ctx, db.PauseScheduleParams{ScheduleID: id, Reason: text(reason), Who: who}); err != nil {
		return Schedule{}, wrap(err, "pause a schedule")
	}
	return s.Schedule(ctx, id)
}

// ResumeSchedule lets it tick again, from next on. One that is not paused stays as it is.
func (s *Store) ResumeSchedule(ctx context.Context, id string, next time.Time, who string) (Schedule, error) {
	if _, err := s.q.ResumeSchedule(ctx, db.ResumeScheduleParams{ScheduleID: id, NextTickAt: &next, Who: who}); err != nil {
		return Schedule{}, wrap(err, "resume a schedule")
	}
	return s.Schedule(ctx, id)
}

// DueSchedules lists schedules that should have ticked by a time. One that cannot be read says so, and hides no other.
func (s *Store) DueSchedules(ctx context.Context, at time.Time, limit int) ([]Schedule, error) {
	rows, err := s.q.DueSchedules(ctx, db.DueSchedulesParams{At: &at, PageSize: int32(limit)})
	if err != nil {
		return nil, wrap(err, "list due schedules")
	}
	schedules := make([]Schedule, len(rows))
	for i, row := range rows {
		schedules[i], err = scheduleFrom(row)
		schedules[i].Unreadable = err
	}
	return schedules, nil
}

// Tick makes the audit of a schedule's tick and moves the schedule on, in one transaction: of several who do, one does it.
// While an audit of the schedule is under way the tick is left out. made is nil where there is no audit of this call.
func (s *Store) Tick(ctx context.Context, due Schedule, tickAt, next time.Time, n NewAudit) (made *uuid.UUID, err error) {
	err = s.tx(ctx, "tick", func(q *db.Queries) error {
		made = nil
		// The lock keeps a Trigger from making another audit beside this one.
		now, err := q.LockSchedule(ctx, due.ScheduleID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil // deleted meanwhile
		case err != nil:
			return err
		case now.NextTickAt == nil || !now.NextTickAt.Equal(*due.NextTickAt) || now.Revision != due.Revision:
			return nil // moved on, paused or changed: whoever looks next sees what is due then
		}
		moved := db.MoveScheduleParams{ScheduleID: due.ScheduleID, Due: *due.NextTickAt, TickAt: tickAt, NextTickAt: &next}
		_, err = q.UnfinishedAudit(ctx, due.ScheduleID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			id, err := newID()
			if err != nil {
				return err
			}
			n.ScheduleID, n.TickAt = due.ScheduleID, &tickAt
			inserted, err := insertAudit(ctx, q, id, n)
			if err != nil {
				return err
			}
			if inserted { // else the tick has its audit already
				made, moved.AuditID = &id, uuid.NullUUID{UUID: id, Valid: true}
			}
		case err != nil:
			return err
		default:
			moved.Skipped = true
		}
		_, err = q.MoveSchedule(ctx, moved)
		return err
	})
	return made, err
}

// Trigger makes an audit of the schedule now, unless one is under way, which is given then. One transaction.
func (s *Store) Trigger(ctx context.Context, id string, n NewAudit) (auditID uuid.UUID, running bool, err error) {
	err = s.tx(ctx, "trigger a schedule", func(q *db.Queries) error {
		if _, err := q.LockSchedule(ctx, id); errors.Is(err, pgx.ErrNoRows) {
			return noSchedule(id)
		} else if err != nil {
			return err
		}
		auditID, err = q.UnfinishedAudit(ctx, id)
		if running = err == nil; running || !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if auditID, err = newID(); err != nil {
			return err
		}
		n.ScheduleID = id
		if _, err := insertAudit(ctx, q, auditID, n); err != nil {
			return err
		}
		return q.NoteTriggered(ctx, db.NoteTriggeredParams{ScheduleID: id, AuditID: auditID})
	})
	return auditID, running, err
}

// SetAutoReconcile says for one team what audits do when they find it out of sync; empty: what they are told.
func (s *Store) SetAutoReconcile(ctx context.Context, teamID, mode string) (Team, error) {
	if _, err := s.q.SetAutoReconcile(ctx, db.SetAutoReconcileParams{TeamID: teamID, AutoReconcile: mode}); err != nil {
		return Team{}, wrap(err, "set what audits do about a team")
	}
	return s.Team(ctx, teamID)
}

func schedulesFrom(rows []db.Schedule, err error) ([]Schedule, error) {
	if err != nil {
		return nil, err
	}
	schedules := make([]Schedule, len(rows))
	for i, row := range rows {
		if schedules[i], err = scheduleFrom(row); err != nil {
			return nil, err
		}
	}
	return schedules, nil
}

func scheduleFrom(row db.Schedule) (Schedule, error) {
	s := Schedule{
		ScheduleID: row.ScheduleID, Revision: row.Revision, NextTickAt: row.NextTickAt, LastTickAt: row.LastTickAt,
		LastAuditID: row.LastAuditID, SkippedTicks: row.SkippedTicks, PausedBy: row.PausedBy, PauseReason: row.PauseReason,
		CreatedAt: row.CreatedAt, CreatedBy: row.CreatedBy, UpdatedAt: row.UpdatedAt, UpdatedBy: row.UpdatedBy,
	}
	return s, decode(row.Settings, &s.Settings)
}

func noSchedule(id string) error {
	return fault.New(fault.NotFound, "there is no schedule "+id, nil).WithReason("SCHEDULE_NOT_FOUND")
}
