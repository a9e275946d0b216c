package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

var (
	nightly = store.ScheduleSettings{Cron: "0 3 * * *", Scope: audit.Scope{Include: []string{"pay*"}}, Emails: []string{"ops@example.org"}, Notify: audit.OnChange}
	three   = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	day     = 24 * time.Hour
)

func schedule(t *testing.T, s *store.Store, id string) store.Schedule {
	t.Helper()
	have, err := s.CreateSchedule(t.Context(), id, nightly, three, "ann")
	require.NoError(t, err)
	return have
}

// tick is what the scheduler does about a schedule that is due.
func tick(t *testing.T, s *store.Store, due store.Schedule) *uuid.UUID {
	t.Helper()
	made, err := s.Tick(t.Context(), due, *due.NextTickAt, due.NextTickAt.Add(day), store.NewAudit{RequestedBy: "schedule:" + due.ScheduleID, Request: due.Settings.Request()})
	require.NoError(t, err)
	return made
}

func TestCreateSchedule_Again_IsTheSameOrAConflict(t *testing.T) {
	s, _ := open(t)
	first := schedule(t, s, "nightly")
	require.Equal(t, nightly, first.Settings)
	require.Equal(t, int64(1), first.Revision)
	require.True(t, three.Equal(*first.NextTickAt))

	again, err := s.CreateSchedule(t.Context(), "nightly", nightly, three.Add(day), "bob")
	require.NoError(t, err)
	require.Equal(t, first, again, "what is there stays")

	other := nightly
	other.Cron = "0 4 * * *"
	_, err = s.CreateSchedule(t.Context(), "nightly", other, three, "bob")
	require.Equal(t, "SCHEDULE_EXISTS", fault.ReasonOf(err))
	_, err = s.Schedule(t.Context(), "weekly")
	require.Equal(t, "SCHEDULE_NOT_FOUND", fault.ReasonOf(err))
}

func TestUpdateSchedule_StaleRevision_ChangesNothing(t *testing.T) {
	s, _ := open(t)
	first := schedule(t, s, "nightly")
	other := nightly
	other.Cron = "0 4 * * *"
	second, err := s.UpdateSchedule(t.Context(), "nightly", other, first.Revision, three.Add(time.Hour), "bob")
	require.NoError(t, err)
	require.Equal(t, first.Revision+1, second.Revision)
	require.Equal(t, other, second.Settings)
	require.Equal(t, "bob", second.UpdatedBy)
	require.True(t, three.Add(time.Hour).Equal(*second.NextTickAt))

	_, err = s.UpdateSchedule(t.Context(), "nightly", nightly, first.Revision, three, "cid")
	require.Equal(t, "SCHEDULE_CHANGED", fault.ReasonOf(err))
	have, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, second, have)

	_, err = s.UpdateSchedule(t.Context(), "nightly", nightly, 0, three, "cid")
	require.NoError(t, err, "0 is any revision")
	_, err = s.UpdateSchedule(t.Context(), "weekly", nightly, 0, three, "cid")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestPauseSchedule_TicksNotUntilResumed(t *testing.T) {
	s, _ := open(t)
	due := schedule(t, s, "nightly")
	paused, err := s.PauseSchedule(t.Context(), "nightly", "migration", "bob")
	require.NoError(t, err)
	require.Nil(t, paused.NextTickAt)
	require.Equal(t, []string{"bob", "migration"}, []string{paused.PausedBy, paused.PauseReason})
	list, err := s.DueSchedules(t.Context(), three.Add(day), 10)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Nil(t, tick(t, s, due), "somebody looked before the pause")
	updated, err := s.UpdateSchedule(t.Context(), "nightly", nightly, 0, three, "bob")
	require.NoError(t, err)
	require.Nil(t, updated.NextTickAt, "an update does not end a pause")

	resumed, err := s.ResumeSchedule(t.Context(), "nightly", three.Add(day), "ann")
	require.NoError(t, err)
	require.True(t, three.Add(day).Equal(*resumed.NextTickAt))
	require.Empty(t, resumed.PausedBy+resumed.PauseReason)
	again, err := s.ResumeSchedule(t.Context(), "nightly", three.Add(9*day), "ann")
	require.NoError(t, err)
	require.Equal(t, resumed, again, "one that is not paused stays as it is")
	for _, err := range []error{
		func() error { _, err := s.PauseSchedule(t.Context(), "weekly", "", "ann"); return err }(),
		func() error { _, err := s.ResumeSchedule(t.Context(), "weekly", three, "ann"); return err }(),
	} {
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
}

func TestDueSchedules_TheLongestDueFirst(t *testing.T) {
	s, _ := open(t)
	for id, next := range map[string]time.Time{"b": three, "a": three, "late": three.Add(-day), "later": three.Add(time.Second)} {
		_, err := s.CreateSchedule(t.Context(), id, nightly, next, "ann")
		require.NoError(t, err)
	}
	ids := func(list []store.Schedule, err error) (ids []string) {
		require.NoError(t, err)
		for _, one := range list {
			ids = append(ids, one.ScheduleID)
		}
		return ids
	}
	require.Equal(t, []string{"late", "a", "b"}, ids(s.DueSchedules(t.Context(), three, 10)))
	require.Equal(t, []string{"late", "a"}, ids(s.DueSchedules(t.Context(), three, 2)))
	require.Equal(t, []string{"a", "b"}, ids(s.Schedules(t.Context(), "", 2)))
	require.Equal(t, []string{"late", "later"}, ids(s.Schedules(t.Context(), "b", 10)))
}

func TestTick_ManyAtOnce_OneAudit(t *testing.T) {
	s, db := open(t)
	due := schedule(t, s, "nightly")
	var made atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			id, err := s.Tick(t.Context(), due, three, three.Add(day), store.NewAudit{Request: due.Settings.Request()})
			if err == nil && id != nil {
				made.Add(1)
			}
		})
	}
	all.Wait()
	require.Equal(t, int32(1), made.Load())
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits"))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audit_jobs"))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE queue = 'audit'"))
	have, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.True(t, three.Add(day).Equal(*have.NextTickAt))
	require.Zero(t, have.SkippedTicks)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits WHERE audit_id = $1 AND tick_at = $2", have.LastAuditID.UUID, three))
}

func TestTick_ArrivesAgain_DoesNothing(t *testing.T) {
	s, db := open(t)
	due := schedule(t, s, "nightly")
	require.NotNil(t, tick(t, s, due))
	before, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Nil(t, tick(t, s, due))
	after, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, before, after)

	// A clock that goes back brings the schedule to the same tick once more: that has its audit.
	exec(t, db, "UPDATE audits SET status = 'canceled', phase = 'ended', finished_at = now()")
	exec(t, db, "UPDATE schedules SET next_tick_at = $1", three)
	require.Nil(t, tick(t, s, due))
	after, err = s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, before, after, "the last audit is one that there is")
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits"))
}

func TestTick_AuditUnderWay_IsSkippedAndCounted(t *testing.T) {
	s, db := open(t)
	first := tick(t, s, schedule(t, s, "nightly"))
	due, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Nil(t, tick(t, s, due))
	have, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, int64(1), have.SkippedTicks)
	require.Equal(t, *first, have.LastAuditID.UUID)
	require.True(t, due.NextTickAt.Equal(*have.LastTickAt))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits"))

	exec(t, db, "UPDATE audits SET status = 'succeeded', phase = 'ended', finished_at = now()")
	require.NotNil(t, tick(t, s, have))
}

func TestTick_ScheduleChangedOrDeletedMeanwhile_MakesNoAuditOfTheOldOne(t *testing.T) {
	s, db := open(t)
	due := schedule(t, s, "nightly")
	_, err := s.UpdateSchedule(t.Context(), "nightly", store.ScheduleSettings{Cron: "0 3 * * *"}, 0, three, "ann")
	require.NoError(t, err)
	require.Nil(t, tick(t, s, due))
	fresh, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.True(t, three.Equal(*fresh.NextTickAt), "it is due still")
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly"))
	require.Nil(t, tick(t, s, fresh))
	require.Zero(t, count(t, db, "SELECT count(*) FROM audits"))
}

// A tick that looked for an audit under way before a trigger made one waits for it, and finds it then.
func TestTick_BesideATrigger_OneAuditUnderWay(t *testing.T) {
	s, db := open(t)
	due := schedule(t, s, "nightly")
	trigger, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = trigger.Exec(t.Context(), "SELECT FROM schedules FOR UPDATE")
	require.NoError(t, err)
	ticked := make(chan *uuid.UUID, 1)
	go func() { ticked <- tick(t, s, due) }()
	waitForLocks(t, trigger, 1)
	id := uuid.Must(uuid.NewV7())
	_, err = trigger.Exec(t.Context(), `INSERT INTO audits (audit_id, schedule_id, status, phase, requested_by, request)
		VALUES ($1, 'nightly', 'queued', 'snapshot', 'bob', '{}')`, id)
	require.NoError(t, err)
	require.NoError(t, trigger.Commit(t.Context()))
	require.Nil(t, <-ticked)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits"))
	require.Equal(t, 1, count(t, db, "SELECT skipped_ticks FROM schedules"))
}

func TestTrigger_Twice_GivesTheRunningOne(t *testing.T) {
	s, db := open(t)
	schedule(t, s, "nightly")
	n := store.NewAudit{RequestedBy: "bob", Request: nightly.Request()}
	first, running, err := s.Trigger(t.Context(), "nightly", n)
	require.NoError(t, err)
	require.False(t, running)
	again, running, err := s.Trigger(t.Context(), "nightly", n)
	require.NoError(t, err)
	require.True(t, running)
	require.Equal(t, first, again)
	a, err := s.Audit(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, "nightly", a.ScheduleID)
	require.Equal(t, nightly.Request(), a.Request)
	have, err := s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, first, have.LastAuditID.UUID)
	require.True(t, three.Equal(*have.NextTickAt), "a trigger is no tick")

	exec(t, db, "UPDATE audits SET status = 'succeeded', phase = 'ended', finished_at = now()")
	next, running, err := s.Trigger(t.Context(), "nightly", n)
	require.NoError(t, err)
	require.False(t, running)
	require.NotEqual(t, first, next)
	_, _, err = s.Trigger(t.Context(), "weekly", n)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestDeleteSchedule_ItsAuditsStay(t *testing.T) {
	s, _ := open(t)
	made := tick(t, s, schedule(t, s, "nightly"))
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly"))
	require.Equal(t, fault.NotFound, fault.KindOf(s.DeleteSchedule(t.Context(), "nightly")))
	list, err := s.Audits(t.Context(), store.AuditFilter{ScheduleID: "nightly", Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, *made, list[0].AuditID)

	// One of the same name that comes later ticks as if there had been none.
	due := schedule(t, s, "nightly")
	require.Nil(t, tick(t, s, due), "the old audit is under way still")
	_, err = s.Schedule(t.Context(), "nightly")
	require.NoError(t, err)
}
