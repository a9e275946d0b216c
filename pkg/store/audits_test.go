package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func TestAcceptAudit_SameKey_SameAuditOrAConflict(t *testing.T) {
	s, db := open(t)
	n := store.NewAudit{RequestedBy: "ann", Request: store.AuditRequest{
		Scope: audit.Scope{Include: []string{"pay*"}}, Mode: audit.Auto, AutoReconcile: audit.Observe, FullEvery: time.Hour,
		Notify: audit.Always, SlackChannel: "C1", Emails: []string{"ops@example.org"}, IgnoreOrphans: []string{"tmp-*"},
	}, Trace: map[string]string{"traceparent": "00-1"}}
	first, created, err := s.AcceptAudit(t.Context(), n, "k1", []byte("one"))
	require.NoError(t, err)
	require.True(t, created)
	again, created, err := s.AcceptAudit(t.Context(), n, "k1", []byte("one"))
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first, again)
	_, _, err = s.AcceptAudit(t.Context(), n, "k1", []byte("two"))
	require.Equal(t, "IDEMPOTENCY_KEY_REUSED", fault.ReasonOf(err))
	require.Equal(t, fault.Conflict, fault.KindOf(err))

	n.RequestedBy = "bob"
	theirs, created, err := s.AcceptAudit(t.Context(), n, "k1", []byte("two"))
	require.NoError(t, err)
	require.True(t, created)
	require.NotEqual(t, first, theirs)
	for range 2 { // without a key each is one of its own
		_, created, err = s.AcceptAudit(t.Context(), n, "", []byte("one"))
		require.NoError(t, err)
		require.True(t, created)
	}
	require.Equal(t, 4, count(t, db, "SELECT count(*) FROM audits"))
	require.Equal(t, 4, count(t, db, "SELECT count(*) FROM audit_jobs WHERE job_no = 0"))
	require.Equal(t, 4, count(t, db, "SELECT count(*) FROM outbox WHERE queue = 'audit'"))

	have, err := s.Audit(t.Context(), first)
	require.NoError(t, err)
	n.RequestedBy = "ann"
	require.Equal(t, n.Request, have.Request)
	require.Equal(t, n.Trace, have.Trace)
	require.Equal(t, []string{"ann", audit.Queued, store.PhaseSnapshot}, []string{have.RequestedBy, have.Status, have.Phase})
	_, err = s.Audit(t.Context(), uuid.New())
	require.Equal(t, "AUDIT_NOT_FOUND", fault.ReasonOf(err))
}

// A key that stands for a run is no key for an audit, and the other way round.
func TestAcceptAudit_KeyOfARun_IsAConflict(t *testing.T) {
	s, _ := open(t)
	_, _, err := s.Accept(t.Context(), newRun("payments", "k1"))
	require.NoError(t, err)
	_, _, err = s.AcceptAudit(t.Context(), store.NewAudit{RequestedBy: "ann"}, "k1", []byte("an audit"))
	require.Equal(t, "IDEMPOTENCY_KEY_REUSED", fault.ReasonOf(err))
	_, _, err = s.AcceptAudit(t.Context(), store.NewAudit{RequestedBy: "ann"}, "k2", []byte("an audit"))
	require.NoError(t, err)
	_, _, err = s.Accept(t.Context(), newRun("payments", "k2"))
	require.Equal(t, "IDEMPOTENCY_KEY_REUSED", fault.ReasonOf(err))
}

func TestAudits_PagesNewestFirst_ByScheduleAndStatus(t *testing.T) {
	s, db := open(t)
	var all []uuid.UUID
	for i := range 7 {
		id := newAudit(t, s, observing)
		all = append([]uuid.UUID{id}, all...)
		if i%2 == 0 {
			exec(t, db, "UPDATE audits SET schedule_id = 'nightly', status = 'running' WHERE audit_id = $1", id)
		}
	}
	pages := func(f store.AuditFilter) (got []uuid.UUID) {
		for {
			page, err := s.Audits(t.Context(), f)
			require.NoError(t, err)
			for _, a := range page {
				got = append(got, a.AuditID)
			}
			if len(page) < f.Limit {
				return got
			}
			f.After = page[len(page)-1].AuditID
		}
	}
	scheduled := []uuid.UUID{all[0], all[2], all[4], all[6]}
	for _, limit := range []int{1, 2, 3, 7, 100} {
		require.Equal(t, all, pages(store.AuditFilter{Limit: limit}))
		require.Equal(t, scheduled, pages(store.AuditFilter{ScheduleID: "nightly", Limit: limit}))
		require.Equal(t, scheduled, pages(store.AuditFilter{Status: audit.Running, Limit: limit}))
		require.Empty(t, pages(store.AuditFilter{ScheduleID: "nightly", Status: audit.Queued, Limit: limit}))
	}
}

func TestCancelAudit_QueuedOrRunning_IsEndedByWhoeverMovesAuditsAlong(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	queued := newAudit(t, w.s, observing)
	running := newAudit(t, w.s, observing)
	w.snapshot(t, running, audit.Full)
	parts := w.handOut(t, running, 10, 10)
	part := claimPart(t, w.s, running, parts[0])
	compared := w.compare(t, part)

	for _, id := range []uuid.UUID{queued, running} {
		a, err := w.s.CancelAudit(t.Context(), id, "bob")
		require.NoError(t, err)
		require.Equal(t, "bob", a.CanceledBy)
		again, err := w.s.CancelAudit(t.Context(), id, "cid")
		require.NoError(t, err)
		require.Equal(t, "bob", again.CanceledBy, "asking twice is the same as once")
	}
	_, err := w.s.ClaimAuditJob(t.Context(), queued, 0, "w", lease)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Equal(t, fault.Fenced, fault.KindOf(part.Renew(t.Context())))
	_, err = part.Settle(t.Context(), compared, store.Calls{})
	require.Equal(t, fault.Fenced, fault.KindOf(err))

	steps, err := w.s.AuditSteps(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.AuditStep{{AuditID: queued}, {AuditID: running}}, steps)
	for _, id := range []uuid.UUID{queued, running} {
		ended := w.end(t, id)
		require.Equal(t, audit.Canceled, ended.Status)
		require.Equal(t, "AUDIT_CANCELED", ended.ErrorReason)
		have, err := w.s.CancelAudit(t.Context(), id, "cid")
		require.NoError(t, err, "it is canceled, as was asked")
		require.Equal(t, audit.Canceled, have.Status)
		require.Equal(t, store.PhaseEnded, have.Phase)
		require.NotNil(t, have.FinishedAt)
	}
	require.Empty(t, w.findings(t))
}

func TestCancelAudit_Ended_IsAPrecondition(t *testing.T) {
	w := newWorld(t)
	ended := w.run(t, observing)
	_, err := w.s.CancelAudit(t.Context(), ended.AuditID, "bob")
	require.Equal(t, "AUDIT_ENDED", fault.ReasonOf(err))
	have, err := w.s.Audit(t.Context(), ended.AuditID)
	require.NoError(t, err)
	require.Equal(t, audit.Succeeded, have.Status)
	require.Empty(t, have.CanceledBy)
	_, err = w.s.CancelAudit(t.Context(), uuid.New(), "bob")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}
