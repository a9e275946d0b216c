package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func TestClaimAuditJob_WhoeverIsFirstHasItUntilTheLeaseEnds(t *testing.T) {
	s, db := open(t)
	id := newAudit(t, s, observing)
	first := claimPart(t, s, id, 0)
	require.NotNil(t, first.Audit.StartedAt)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM audits WHERE status = 'running' AND started_at IS NOT NULL"))

	_, err := s.ClaimAuditJob(t.Context(), id, 0, "other", lease)
	require.Equal(t, "AUDIT_JOB_BUSY", fault.ReasonOf(err))
	f, _ := fault.As(err)
	require.InDelta(t, lease.Seconds(), f.RetryAfter.Seconds(), 5)
	require.NoError(t, first.Renew(t.Context()))

	exec(t, db, "UPDATE audit_jobs SET until = now()")
	second := claimPart(t, s, id, 0)
	require.Equal(t, first.Fence+1, second.Fence)
	require.Equal(t, 2, count(t, db, "SELECT attempts FROM audit_jobs"))
	require.Equal(t, first.Audit.StartedAt.UnixMicro(), second.Audit.StartedAt.UnixMicro(), "an audit begins once")
}

func TestClaimAuditJob_NotDueOverOrUnknown_SaysSo(t *testing.T) {
	w := newWorld(t)
	id, _, err := w.s.AcceptAudit(t.Context(), store.NewAudit{RequestedBy: "ann", Request: observing, Delay: time.Hour}, "", []byte("an audit"))
	require.NoError(t, err)
	claim := func(id uuid.UUID, no int) string {
		_, err := w.s.ClaimAuditJob(t.Context(), id, no, "w", lease)
		require.Error(t, err)
		return fault.ReasonOf(err)
	}
	require.Equal(t, "AUDIT_JOB_NOT_DUE", claim(id, 0))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM outbox WHERE available_at > now() + interval '59 minutes'"))
	require.Equal(t, "AUDIT_ENDED", claim(id, 7))
	require.Equal(t, "AUDIT_NOT_FOUND", claim(uuid.New(), 0))
	exec(t, w.db, "UPDATE audit_jobs SET available_at = now()")
	w.snapshot(t, id, audit.Full)
	require.Equal(t, "AUDIT_JOB_ENDED", claim(id, 0))
	w.teams(t, id)
	w.end(t, id)
	require.NoError(t, w.s.PruneAudits(t.Context(), 0))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM audit_jobs"))
	require.Equal(t, "AUDIT_ENDED", claim(id, 0))
}

func TestPruneAudits_OnlyWhatEndedLongAgo(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann")
	ended := w.run(t, observing)
	open := newAudit(t, w.s, observing)
	w.snapshot(t, open, audit.Full)
	require.NoError(t, w.s.PruneAudits(t.Context(), time.Hour))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM audit_teams"))
	exec(t, w.db, "UPDATE audits SET finished_at = now() - interval '2 hours' WHERE audit_id = $1", ended.AuditID)
	require.NoError(t, w.s.PruneAudits(t.Context(), time.Hour))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM audit_teams WHERE audit_id = $1", open))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM audit_teams"))
	have, err := w.s.Audit(t.Context(), ended.AuditID)
	require.NoError(t, err)
	require.Equal(t, 1, have.Report.Counts.Teams, "its report stays")
}

// everything is all that audits write, but for what a claim itself does.
func everything(t *testing.T, w *world) (dump string) {
	t.Helper()
	require.NoError(t, w.db.QueryRow(t.Context(), `SELECT concat(
		(SELECT json_agg(a ORDER BY audit_id) FROM audits a), (SELECT json_agg(a ORDER BY team_id) FROM audit_teams a),
		(SELECT json_agg(j ORDER BY audit_id, job_no) FROM audit_jobs j), (SELECT json_agg(f ORDER BY finding_id) FROM audit_findings f),
		(SELECT json_agg(t ORDER BY target_id) FROM target_teams t), (SELECT json_agg(m ORDER BY target_id, user_id) FROM target_members m),
		(SELECT json_agg(u ORDER BY user_id) FROM target_users u), (SELECT json_agg(r ORDER BY target_id, user_id) FROM target_rotations r),
		(SELECT json_agg(r ORDER BY target_id, user_id) FROM target_records r), (SELECT json_agg(f) FROM fleet f),
		(SELECT json_agg(t ORDER BY team_id) FROM teams t), (SELECT count(*) FROM runs), (SELECT count(*) FROM outbox))`).Scan(&dump))
	return dump
}

// lostSnapshot is a claim of an audit's snapshot that another worker has by now, and everything that it may try.
func lostSnapshot(t *testing.T, w *world) (old, fresh *store.AuditJob, writes map[string]func() error) {
	t.Helper()
	w.declare("a", "ann")
	w.put("PA", "a", "ann", "bob")
	id := newAudit(t, w.s, observing)
	old = w.stage(t, id)
	exec(t, w.db, "UPDATE audit_jobs SET until = now()")
	fresh = claimPart(t, w.s, id, 0)
	now := time.Now()
	return old, fresh, map[string]func() error{
		"renew":     func() error { return old.Renew(t.Context()) },
		"restage":   func() error { return old.Restage(t.Context()) },
		"stage":     func() error { return old.Stage(t.Context(), []ownership.Desired{{TeamID: "old"}}) },
		"targets":   func() error { return old.ListTargets(t.Context(), []store.TargetTeam{{ID: "POLD"}}) },
		"users":     func() error { return old.KnowUsers(t.Context(), []ownership.User{account("old")}) },
		"forget":    func() error { return old.ForgetUsers(t.Context(), nil) },
		"rotations": func() error { return old.KnowRotations(t.Context(), map[string]ownership.Rotation{"P": {"U": {"E"}}}) },
		"records": func() error {
			return old.Changed(t.Context(), store.Records{Until: now, Changes: []store.TargetChange{{TargetID: "PA", Actor: "x", At: now}}, Targets: []string{"PA"}})
		},
		"end":  func() error { return old.EndSnapshot(t.Context(), store.Snapshot{Read: audit.Full}) },
		"fail": func() error { return old.FailSnapshot(t.Context(), store.Calls{}, "X", "x") },
	}
}

func TestAuditJob_LeaseLost_EveryWriteIsFenced(t *testing.T) {
	w := newWorld(t)
	_, fresh, writes := lostSnapshot(t, w)
	before := everything(t, w)
	for name, write := range writes {
		require.Equal(t, "AUDIT_JOB_LOST", fault.ReasonOf(write()), name)
	}
	require.Equal(t, before, everything(t, w))
	w.endSnapshot(t, fresh, audit.Full)
}

// The control: with the fence of the new claim the same writes pass, so it is the fence that refused them.
func TestControl_WithTheNewFence_TheOldWorkerCouldWriteToTheAudit(t *testing.T) {
	w := newWorld(t)
	old, fresh, writes := lostSnapshot(t, w)
	before := everything(t, w)
	old.Fence = fresh.Fence
	for _, name := range []string{"renew", "restage", "stage", "targets", "users", "rotations", "records", "end"} {
		require.NoError(t, writes[name](), name)
	}
	require.NotEqual(t, before, everything(t, w))
	require.Equal(t, fault.Fenced, fault.KindOf(writes["fail"]()), "the part is over")
}

func TestSettle_LeaseLost_WritesNothing(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	id := newAudit(t, w.s, observing)
	w.snapshot(t, id, audit.Full)
	no := w.handOut(t, id, 10, 10)[0]
	old := claimPart(t, w.s, id, no)
	compared := w.compare(t, old)
	exec(t, w.db, "UPDATE audit_jobs SET until = now() - interval '1 second' WHERE job_no = $1", no)
	before := everything(t, w)
	_, err := old.Settle(t.Context(), compared, store.Calls{})
	require.Equal(t, fault.Fenced, fault.KindOf(err), "it ran out, although nobody else has it yet")
	fresh := claimPart(t, w.s, id, no)
	claimed := everything(t, w)
	require.NotEqual(t, before, claimed)
	_, err = old.Settle(t.Context(), compared, store.Calls{})
	require.Equal(t, fault.Fenced, fault.KindOf(err))
	require.NoError(t, old.Defer(t.Context(), store.AuditDelay{Delay: time.Hour, Failing: true}), "what is not ours is left as it is")
	require.Equal(t, claimed, everything(t, w))

	old.Fence = fresh.Fence // the control
	settled, err := old.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Zero(t, settled.Left)
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM audit_findings"))
}

func TestRenewAuditJob_AuditCanceledOrPartOver_IsFenced(t *testing.T) {
	w := newWorld(t)
	id := newAudit(t, w.s, observing)
	j := claimPart(t, w.s, id, 0)
	require.NoError(t, j.Renew(t.Context()))
	_, err := w.s.CancelAudit(t.Context(), id, "bob")
	require.NoError(t, err)
	require.Equal(t, "AUDIT_JOB_LOST", fault.ReasonOf(j.Renew(t.Context())))

	other := newAudit(t, w.s, observing)
	j = claimPart(t, w.s, other, 0)
	w.endSnapshot(t, j, audit.Full)
	require.Equal(t, "AUDIT_JOB_LOST", fault.ReasonOf(j.Renew(t.Context())))
}

func TestDeferAuditJob_CountsFailuresInARow(t *testing.T) {
	s, db := open(t)
	id := newAudit(t, s, observing)
	again := func(d store.AuditDelay) time.Duration {
		t.Helper()
		require.NoError(t, claimPart(t, s, id, 0).Defer(t.Context(), d))
		exec(t, db, "UPDATE audit_jobs SET available_at = now(), failing_since = failing_since - interval '1 minute'")
		j := claimPart(t, s, id, 0)
		exec(t, db, "UPDATE audit_jobs SET until = now()")
		return j.FailingFor.Round(time.Minute)
	}
	require.Equal(t, time.Minute, again(store.AuditDelay{Failing: true}))
	require.Equal(t, 2*time.Minute, again(store.AuditDelay{Failing: true}), "from the first failure in a row")
	require.Equal(t, 3*time.Minute, again(store.AuditDelay{Failing: true}))
	require.Equal(t, time.Minute, again(store.AuditDelay{Failing: true, WentOn: true}), "it went on a bit")
	require.Equal(t, 2*time.Minute, again(store.AuditDelay{Failing: true}))
	require.Zero(t, again(store.AuditDelay{WentOn: true}), "nothing fails any more")
}

func TestDeferAuditJob_WaitsThenComesBackThroughTheOutbox(t *testing.T) {
	s, db := open(t)
	id := newAudit(t, s, observing)
	exec(t, db, "DELETE FROM outbox")
	require.NoError(t, claimPart(t, s, id, 0).Defer(t.Context(), store.AuditDelay{Delay: time.Hour, Failing: true}))
	_, err := s.ClaimAuditJob(t.Context(), id, 0, "w", lease)
	require.Equal(t, "AUDIT_JOB_NOT_DUE", fault.ReasonOf(err))
	require.Equal(t, 1, count(t, db, `SELECT count(*) FROM outbox WHERE available_at > now() + interval '59 minutes'
		AND dedup_id = $1 AND (body->>'job_no')::int = 0 AND body->>'audit_id' = $2`, id.String()+":0:2", id.String()))
}

// A queue that lost everything loses nothing: parts that are due and that nobody works on are announced again.
func TestAnnounceAuditJobs_OnlyStrandedParts(t *testing.T) {
	w := newWorld(t)
	announce := func() int {
		t.Helper()
		n, err := w.s.AnnounceAuditJobs(t.Context(), time.Minute)
		require.NoError(t, err)
		return n
	}
	lost, worked, crashed, canceled, over, later := newAudit(t, w.s, observing), newAudit(t, w.s, observing), newAudit(t, w.s, observing),
		newAudit(t, w.s, observing), newAudit(t, w.s, observing), newAudit(t, w.s, observing)
	claimPart(t, w.s, worked, 0)
	claimPart(t, w.s, crashed, 0)
	exec(t, w.db, "UPDATE audit_jobs SET until = now() WHERE audit_id = $1", crashed)
	_, err := w.s.CancelAudit(t.Context(), canceled, "bob")
	require.NoError(t, err)
	w.snapshot(t, over, audit.Full)
	require.NoError(t, claimPart(t, w.s, later, 0).Defer(t.Context(), store.AuditDelay{Delay: time.Hour}))
	exec(t, w.db, "DELETE FROM outbox")
	require.Zero(t, announce(), "announced a moment ago")

	exec(t, w.db, "UPDATE audit_jobs SET announced_at = now() - interval '2 minutes'")
	require.Equal(t, 2, announce())
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM outbox WHERE dedup_id = any($1)", []string{lost.String() + ":0:2", crashed.String() + ":0:2"}))
	require.Zero(t, announce())

	// One that was never begun may be behind a backlog: its pauses grow. One whose worker is gone is not made to wait.
	exec(t, w.db, "UPDATE audit_jobs SET announced_at = now() - interval '90 seconds'")
	require.Equal(t, 1, announce())
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM outbox WHERE dedup_id = $1", crashed.String()+":0:3"))
	exec(t, w.db, "UPDATE audit_jobs SET announced_at = now() - interval '11 minutes', announcements = 50")
	require.Equal(t, 2, announce(), "but never beyond ten minutes")
}
