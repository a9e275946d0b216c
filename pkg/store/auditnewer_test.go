package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// An audit reads a team while a run is changing it. Whatever is told of the team meanwhile, what the audit saw is not taken for
// what the run left.
func TestSettle_ReadBesideARun_IsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob", "cid")
	w.run(t, observing)
	writer := claim(t, w.s, accept(t, w.s, "a")) // a run begins
	teller := w.snapshotJob(t)
	require.NoError(t, teller.Changed(t.Context(), store.Records{Until: recent(0), Targets: []string{"PA"}}))
	j := w.part(t, observing, audit.Full)
	compared := w.compare(t, j) // cid is still there

	w.put("PA", "a", "ann", "bob")
	require.NoError(t, writer.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync, Seen: w.target["PA"], Declared: &w.declared[0],
	}))
	settled, err := j.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	w.settle(t, j)
	require.Equal(t, []string{"resolved a remove_member person:cid@example.org"}, w.findings(t))
	require.Equal(t, ownership.InSync, w.status(t, "a"))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM target_members WHERE target_id = 'PA'"))
}

// A run makes the team that an audit has just missed.
func TestSettle_TeamMadeMeanwhile_IsComparedAgain(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	j := w.part(t, observing, audit.Full)
	compared := w.compare(t, j)
	require.NotEmpty(t, compared[0].Findings)
	w.put("PA", "a", "ann", "bob")
	w.link(t, "a", "PA")
	w.finish(t, "a", store.Ending{Sync: ownership.InSync, Seen: w.target["PA"], Declared: &w.declared[0]})
	settled, err := j.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	w.settle(t, j)
	require.Empty(t, w.findings(t))
	require.Equal(t, ownership.InSync, w.status(t, "a"))
}

// A run has followed a declaration that is younger than the audit's snapshot: the audit asks the source anew.
func TestTeams_RunSinceTheSnapshot_TheSourceIsAskedAnew(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann")
	w.put("PA", "a", "ann")
	j := w.part(t, observing, audit.Full)
	w.declared[0].Members = append(w.declared[0].Members, ownership.Member{Email: "bob@example.org"})
	w.put("PA", "a", "ann", "bob")
	w.finish(t, "a", store.Ending{Sync: ownership.InSync, Seen: w.target["PA"], Declared: &w.declared[0]})
	w.settle(t, j)
	require.Empty(t, w.findings(t))
	require.Equal(t, ownership.InSync, w.status(t, "a"))
}

// What a younger audit found counts, also when an older one settles, or ends, after it.
func TestAudits_OlderOneIsLate_TheYoungerOnesWordStands(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob", "cid")
	older := newAudit(t, w.s, observing)
	w.snapshot(t, older, audit.Full)
	j := claimPart(t, w.s, older, w.handOut(t, older, 100, 100)[0])
	compared := w.compare(t, j)

	// Meanwhile everything is as it should be, and a team is there that the older audit knows nothing of.
	w.put("PA", "a", "ann", "bob")
	w.declare("z", "ann", "dan")
	w.put("PZ", "z", "ann", "eve")
	require.NoError(t, w.s.Declare(t.Context(), w.declared))
	w.run(t, observing)
	found := w.findings(t)
	require.Contains(t, found, "open z add_member person:dan@example.org")

	for settled, err := j.Settle(t.Context(), compared, store.Calls{}); settled.Left > 0; settled, err = j.Settle(t.Context(), w.compare(t, j), store.Calls{}) {
		require.NoError(t, err)
	}
	w.end(t, older)
	require.Equal(t, found, w.findings(t), "nothing is closed, and PZ is nobody's orphan")
	require.Equal(t, ownership.InSync, w.status(t, "a"))
	require.Equal(t, ownership.OutOfSync, w.status(t, "z"))
}

// An audit that was canceled while its part was being written asks for no runs any more.
func TestSettle_CanceledAndEndedMeanwhile_WritesNothing(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann")
	request := observing
	request.AutoReconcile = audit.Enforce
	j := w.part(t, request, audit.Full)
	compared := w.compare(t, j)
	require.NotNil(t, compared[0].Run)
	exec(t, w.db, `CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN UPDATE audits SET canceled_by = 'ann'; RETURN NEW; END $$;
		CREATE TRIGGER cancel AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION cancel()`) // as if between two of its statements
	_, err := j.Settle(t.Context(), compared, store.Calls{})
	require.Equal(t, fault.Fenced, fault.KindOf(err))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM runs"))
	require.Empty(t, w.findings(t))
}

// A part that fails for reasons of our own comes to an end as well, and says that nobody knows.
func TestAbandon_TeamsAreUnknownAndTheAuditEnds(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	w.run(t, observing)
	before := w.findings(t)
	j := w.part(t, observing, audit.Full)
	for want := 1; want <= 3; want++ {
		require.Equal(t, want, j.Attempts)
		require.NoError(t, j.Defer(t.Context(), store.AuditDelay{Failed: true}))
		j = claimPart(t, w.s, j.Audit.AuditID, j.No)
	}
	require.NoError(t, j.Defer(t.Context(), store.AuditDelay{Failing: true}))
	j = claimPart(t, w.s, j.Audit.AuditID, j.No)
	require.Equal(t, 1, j.Attempts, "waiting for a platform is no failure of ours")
	require.NoError(t, j.Abandon(t.Context(), "AUDIT_PART_FAILED", "the log says why"))
	a := w.end(t, j.Audit.AuditID)
	require.Equal(t, audit.Incomplete, a.Status)
	require.Equal(t, 1, a.Report.Counts.Unread)
	require.Equal(t, before, w.findings(t))
	require.Equal(t, ownership.Unknown, w.status(t, "a"))
}

// A message for a queue that only newer programs know waits for them, and holds up nothing.
func TestDrain_QueueOfNewerPrograms_IsLeftToThem(t *testing.T) {
	s, db := open(t)
	exec(t, db, `INSERT INTO outbox (queue, group_id, dedup_id, body) VALUES ('of tomorrow', 'g', 'd', '{}')`)
	accept(t, s, "payments")
	o := s.NewOutbox(store.Queues{Reconcile: "r.fifo", Notifications: "n.fifo", Audit: "a.fifo"}, time.Second)
	n, err := o.Drain(t.Context(), 10, func(_ context.Context, messages []queue.Message) ([]bool, error) {
		return slices.Repeat([]bool{true}, len(messages)), nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox"))
}

// A run that ended between two changes did not see that the target shows them. Who reads the team right after it may not
// see them either.
func TestSettle_ReadRightAfterARunThatSawNoEnd_IsNotTrusted(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	w.run(t, observing)
	require.Equal(t, "PA", w.known(t))
	w.finish(t, "a", store.Ending{Touched: "PA"})
	w.settle(t, w.part(t, observing, audit.Full))
	require.Empty(t, w.known(t), "the read may not show yet what the run did")

	exec(t, w.db, "UPDATE target_teams SET distrusted_at = distrusted_at - interval '2 minutes'")
	w.settle(t, w.part(t, observing, audit.Full))
	require.Equal(t, "PA", w.known(t), "now it must")
}
