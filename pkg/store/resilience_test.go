package store_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

func status(t *testing.T, s *store.Store, id uuid.UUID) string {
	t.Helper()
	run, err := s.Run(t.Context(), id)
	require.NoError(t, err)
	return run.Status
}

func lastEvent(t *testing.T, s *store.Store, id uuid.UUID) store.Event {
	t.Helper()
	events, err := s.Events(t.Context(), id, 0, 100)
	require.NoError(t, err)
	require.NotEmpty(t, events)
	return events[len(events)-1]
}

// dead makes a run that was given up.
func dead(t *testing.T, s *store.Store, team, reason string) uuid.UUID {
	t.Helper()
	id := accept(t, s, team)
	c := claim(t, s, id)
	require.NoError(t, c.Save(t.Context(), []byte(`{"plan":"old"}`)))
	require.NoError(t, c.Finish(t.Context(), store.Ending{
		Status: store.DeadLettered, ErrorReason: reason, ErrorMessage: "it did not work", Sync: ownership.Unknown,
	}))
	return id
}

func TestUpstreams_SilentProcess_IsForgotten(t *testing.T) {
	s, db := open(t)
	require.NoError(t, s.ReportUpstreams(t.Context(), "w1", map[string][]byte{"cortex": []byte(`{"a":1}`), "pagerduty": []byte(`{}`)}))
	require.NoError(t, s.ReportUpstreams(t.Context(), "w1", map[string][]byte{"cortex": []byte(`{"a":2}`)}))
	require.NoError(t, s.ReportUpstreams(t.Context(), "w2", map[string][]byte{"cortex": []byte(`{}`)}))
	reports, err := s.Upstreams(t.Context())
	require.NoError(t, err)
	require.Len(t, reports, 3)
	require.JSONEq(t, `{"a":2}`, string(reports[0].Report))
	exec(t, db, "UPDATE upstream_reports SET reported_at = now() - interval '45 seconds' WHERE process = 'w1'")
	reports, err = s.Upstreams(t.Context())
	require.NoError(t, err)
	require.Len(t, reports, 1)
	require.NoError(t, s.ForgetUpstreams(t.Context(), "w2"))
	reports, err = s.Upstreams(t.Context())
	require.NoError(t, err)
	require.Empty(t, reports)
}

// Whatever a platform calls somebody, it can be written down: a batch of events that could not would be tried for ever,
// and no run of the process could end.
func TestEncode_TextThatPostgreSQLRefuses_IsReplaced(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	log := s.NewEventLog(slog.New(slog.DiscardHandler))
	name := "a\x00b \\u0000 \xff \u2028"
	log.Add(store.Event{JobID: id, At: time.Now(), Kind: store.RunStarted, Message: name})
	require.NoError(t, log.Flush(t.Context()))
	require.Equal(t, "a\uFFFDb \\u0000 \uFFFD \u2028", lastEvent(t, s, id).Message)
	c := claim(t, s, id)
	require.NoError(t, c.Intend(t.Context(), []ownership.Change{{ID: "x", Kind: ownership.AddMember, After: &ownership.Entity{Email: name}}}))
	require.NoError(t, c.Settle(t.Context(), "x", trail.Applied, "a\x00b", nil))
	require.NoError(t, c.Finish(t.Context(), store.Ending{
		Status: store.DeadLettered, Summary: "a\x00b", ErrorReason: "X", ErrorMessage: name,
		Declared: &ownership.Desired{TeamID: "payments", Name: name, Members: []ownership.Member{{Name: name}}},
	}))
}

// A process that is frozen while it seals findings holds the trail's head. The database ends its session, and everybody
// else goes on, each with its own lease renewed meanwhile.
func TestRecord_AnotherProcessIsFrozenInTheMiddle_OthersGoOn(t *testing.T) {
	s, db := open(t)
	frozen, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = frozen.Exec(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = '3s'") // as every transaction of the store does
	require.NoError(t, err)
	_, err = frozen.Exec(t.Context(), "SELECT FROM trail_head FOR UPDATE")
	require.NoError(t, err)

	c := claim(t, s, accept(t, s, "payments"))
	sealed := make(chan struct{})
	go func() {
		defer close(sealed)
		record(t, c, "a")
	}()
	renewals := 0
	for done := false; !done; renewals++ {
		require.NoError(t, renew(t, c), "whoever waits for the head can still renew its lease")
		select {
		case <-sealed:
			done = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	require.Greater(t, renewals, 10)
	require.Error(t, frozen.Commit(t.Context()), "its session is gone")
}

func TestTransactions_AreBoundedByTheServer(t *testing.T) {
	s, db := open(t)
	var idle string
	c := claim(t, s, accept(t, s, "payments"))
	exec(t, db, `
		CREATE TABLE seen (idle text);
		CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO seen VALUES (current_setting('idle_in_transaction_session_timeout')); RETURN NEW; END $$;
		CREATE TRIGGER look BEFORE INSERT ON findings FOR EACH ROW EXECUTE FUNCTION look()`)
	record(t, c, "a")
	require.NoError(t, db.QueryRow(t.Context(), "SELECT idle FROM seen").Scan(&idle))
	require.Equal(t, "3s", idle)
}

func TestAnnounce_WorkerGone_IsNotWaitedForLongerEachTime(t *testing.T) {
	s, db := open(t)
	o := s.NewOutbox(store.Queues{Reconcile: "reconcile.fifo", Notifications: "notifications.fifo", Audit: "audit.fifo"}, 10*time.Second)
	id := accept(t, s, "payments")
	claim(t, s, id)
	exec(t, db, "UPDATE leases SET until = now() - interval '1 second'")
	for range 5 {
		exec(t, db, "UPDATE runs SET announced_at = now() - interval '11 seconds'")
		n, err := o.Announce(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	require.Equal(t, 6, count(t, db, "SELECT announcements FROM runs"))
	exec(t, db, "UPDATE runs SET status = 'queued', announced_at = now() - interval '11 seconds'")
	n, err := o.Announce(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "one that was never begun may be behind a backlog")
}

// waitForLocks waits until so many sessions of this database wait for a lock.
func waitForLocks(t *testing.T, tx pgx.Tx, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting int
		err := tx.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting)
		return err == nil && waiting >= n
	}, 10*time.Second, 10*time.Millisecond)
}

// Whoever ends a run holds its lease and then needs its row: a claim that had the row and waited for the lease would be in
// the way.
func TestClaim_AgainstTheEndOfARun_WaitsForNeitherRowNorLease(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	claim(t, s, id)
	for _, locked := range []string{
		"SELECT FROM leases WHERE team_id = 'payments' FOR UPDATE",
		"SELECT FROM runs WHERE team_id = 'payments' FOR UPDATE",
	} {
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), locked)
		require.NoError(t, err)
		_, err = s.Claim(t.Context(), id, terms("other"))
		require.Equal(t, "TEAM_BUSY", fault.ReasonOf(err), locked)
		require.NoError(t, tx.Rollback(t.Context()))
	}
}
