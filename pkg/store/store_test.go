package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const lease = time.Minute

func terms(owner string) store.Terms {
	return store.Terms{Owner: owner, Lease: lease, PlanGoodFor: time.Minute}
}

func renew(t *testing.T, c *store.Claim) error {
	_, err := c.Renew(t.Context())
	return err
}

// open gives a store on a database of its own, and a way around it to look and to hurt.
func open(t *testing.T) (*store.Store, *pgx.Conn) {
	url := testkit.Postgres(t)
	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{MaxConns: 20})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	direct, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = direct.Close(context.Background()) })
	return s, direct
}

func newRun(team, key string) store.NewRun {
	return store.NewRun{Principal: "ann", IdempotencyKey: key, RequestHash: []byte("hash of " + team), TeamID: team, Request: store.Request{Source: "cortex"}}
}

func accept(t *testing.T, s *store.Store, team string) uuid.UUID {
	id, created, err := s.Accept(t.Context(), newRun(team, ""))
	require.NoError(t, err)
	require.True(t, created)
	return id
}

func claim(t *testing.T, s *store.Store, id uuid.UUID) *store.Claim {
	c, err := s.Claim(t.Context(), id, terms("worker"))
	require.NoError(t, err)
	return c
}

func count(t *testing.T, db *pgx.Conn, query string, args ...any) (n int) {
	require.NoError(t, db.QueryRow(t.Context(), query, args...).Scan(&n))
	return n
}

func exec(t *testing.T, db *pgx.Conn, statement string, args ...any) {
	_, err := db.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
}

func TestAccept_SameKeySameRequest_SameJob(t *testing.T) {
	s, db := open(t)
	first, created, err := s.Accept(t.Context(), newRun("payments", "k1"))
	require.NoError(t, err)
	require.True(t, created)
	again, created, err := s.Accept(t.Context(), newRun("payments", "k1"))
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first, again)

	_, _, err = s.Accept(t.Context(), newRun("search", "k1"))
	require.Equal(t, "IDEMPOTENCY_KEY_REUSED", fault.ReasonOf(err))

	other := newRun("payments", "k1")
	other.Principal = "bob"
	theirs, created, err := s.Accept(t.Context(), other)
	require.NoError(t, err)
	require.True(t, created)
	require.NotEqual(t, first, theirs)
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM runs"))
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM outbox"))
}

func TestAccept_HundredConcurrentEqualRequests_OneRun(t *testing.T) {
	s, db := open(t)
	var created atomic.Int32
	var all sync.WaitGroup
	ids := make([]uuid.UUID, 100)
	for i := range ids {
		all.Go(func() {
			id, isNew, err := s.Accept(t.Context(), newRun("payments", "k1"))
			if err == nil && isNew {
				created.Add(1)
			}
			ids[i] = id
		})
	}
	all.Wait()
	require.Equal(t, int32(1), created.Load())
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM runs"))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox"))
}

// Without the unique key a look before the insert does not help: everybody looks before anybody has inserted.
func TestControl_WithoutTheKey_ConcurrentRequestsMakeManyRuns(t *testing.T) {
	s, db := open(t)
	for range 10 {
		run := newRun("payments", "")
		_, created, err := s.Accept(t.Context(), run)
		require.NoError(t, err)
		require.True(t, created)
	}
	require.Equal(t, 10, count(t, db, "SELECT count(*) FROM runs"))
}

func TestClaim_OneWriterPerTeam(t *testing.T) {
	s, _ := open(t)
	a, b := accept(t, s, "payments"), accept(t, s, "payments")
	first := claim(t, s, a)
	require.Equal(t, 1, first.Run.Attempt)

	_, err := s.Claim(t.Context(), b, terms("other"))
	require.Equal(t, "TEAM_BUSY", fault.ReasonOf(err))
	f, _ := fault.As(err)
	require.InDelta(t, lease.Seconds(), f.RetryAfter.Seconds(), 5)
	_, err = s.Claim(t.Context(), a, terms("other"))
	require.Equal(t, "TEAM_BUSY", fault.ReasonOf(err))

	require.NoError(t, first.Finish(t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync}))
	_, err = s.Claim(t.Context(), a, terms("other"))
	require.Equal(t, "RUN_ENDED", fault.ReasonOf(err))
	second := claim(t, s, b)
	require.Greater(t, second.Fence, first.Fence)

	_, err = s.Claim(t.Context(), uuid.New(), terms("other"))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestClaim_ManyWorkersAtOnce_OneWins(t *testing.T) {
	s, _ := open(t)
	jobs := []uuid.UUID{accept(t, s, "payments"), accept(t, s, "payments"), accept(t, s, "payments")}
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			if _, err := s.Claim(t.Context(), jobs[i%3], terms(fmt.Sprint(i))); err == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	require.Equal(t, int32(1), won.Load())
}

// A worker whose lease went to another one changes nothing any more, whatever it tries.
func TestClaim_LeaseLost_EveryWriteIsFenced(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	old := claim(t, s, id)
	require.NoError(t, old.Intend(t.Context(), []ownership.Change{{ID: "c1", Kind: ownership.AddMember}}))
	exec(t, db, "UPDATE leases SET until = now()")
	fresh := claim(t, s, id)

	for name, write := range map[string]func() error{
		"renew":  func() error { return renew(t, old) },
		"save":   func() error { return old.Save(t.Context(), []byte(`{"old":true}`)) },
		"intend": func() error { return old.Intend(t.Context(), []ownership.Change{{ID: "c2"}}) },
		"settle": func() error { return old.Settle(t.Context(), "c1", trail.Applied, "", nil) },
		"link":   func() error { return old.SaveLink(t.Context(), store.Link{TargetID: "POLD"}) },
		"record": func() error { return old.Record(t.Context(), []trail.Finding{{ChangeID: "c1"}}) },
		"defer": func() error {
			return old.Defer(t.Context(), store.Postponement{Counted: true, Reason: "X", Message: "x"})
		},
		"finish": func() error {
			return old.Finish(t.Context(), store.Ending{Status: store.Failed, Sync: ownership.Unknown})
		},
	} {
		require.Equal(t, fault.Fenced, fault.KindOf(write()), name)
	}
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM changes WHERE outcome IS NULL"))
	for _, table := range []string{"checkpoints", "findings", "links"} {
		require.Zero(t, count(t, db, "SELECT count(*) FROM "+table), table)
	}
	require.NoError(t, fresh.Settle(t.Context(), "c1", trail.Applied, "", nil))
}

// The control: the same writes with the fence of the new claim pass, so it is the fence that refused the old ones.
func TestControl_WithTheNewFence_TheOldWorkerCouldWrite(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	old := claim(t, s, id)
	exec(t, db, "UPDATE leases SET until = now()")
	fresh := claim(t, s, id)
	old.Fence = fresh.Fence
	require.NoError(t, old.Save(t.Context(), []byte(`{"old":true}`)))
	require.NoError(t, old.Finish(t.Context(), store.Ending{Status: store.Failed, Sync: ownership.Unknown}))
}

func TestClaim_LeaseRanOutUnnoticed_NothingIsWritten(t *testing.T) {
	s, db := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	exec(t, db, "UPDATE leases SET until = now() - interval '1 second'")
	require.Equal(t, fault.Fenced, fault.KindOf(c.Save(t.Context(), []byte(`{}`))))
	require.Equal(t, fault.Fenced, fault.KindOf(renew(t, c)))
}

func TestRenew_AfterTheEnd_DoesNotHoldTheTeam(t *testing.T) {
	s, _ := open(t)
	a, b := accept(t, s, "payments"), accept(t, s, "payments")
	c := claim(t, s, a)
	require.NoError(t, renew(t, c))
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync}))
	require.Equal(t, fault.Fenced, fault.KindOf(renew(t, c)))
	claim(t, s, b)
}

// A renewal that began before the lease was let go, and waited for it, must not bring it back: now() is when a statement's
// transaction began.
func TestRenew_OvertakenByTheRelease_DoesNotHoldTheTeam(t *testing.T) {
	s, db := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM leases FOR UPDATE")
	require.NoError(t, err)
	renewed := make(chan error, 1)
	go func() { renewed <- renew(t, c) }()
	for waiting := 0; waiting == 0; {
		require.NoError(t, tx.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting))
		_, err = tx.Exec(t.Context(), "SELECT pg_stat_clear_snapshot()")
		require.NoError(t, err)
	}
	// What Finish and Defer do, in a transaction that began later.
	_, err = tx.Exec(t.Context(), "UPDATE leases SET until = to_timestamp(0)")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, fault.Fenced, fault.KindOf(<-renewed))
	claim(t, s, accept(t, s, "payments"))
}

func TestIntend_Again_KeepsOutcomesAndOrder(t *testing.T) {
	s, _ := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	changes := []ownership.Change{{ID: "b", Kind: ownership.AddMember}, {ID: "a", Kind: ownership.RemoveMember}}
	require.NoError(t, c.Intend(t.Context(), changes))
	calls := []trail.APICall{{Method: "PUT", Path: "/teams/P1/users/P2", Status: 204, At: time.Unix(1, 0).UTC()}}
	require.NoError(t, c.Settle(t.Context(), "b", trail.Applied, "", calls))
	require.NoError(t, c.Settle(t.Context(), "b", trail.Failed, "too late", nil))
	require.NoError(t, c.Intend(t.Context(), changes))
	got, err := c.Changes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a"}, []string{got[0].ID, got[1].ID})
	require.Equal(t, []string{trail.Applied, ""}, []string{got[0].Outcome, got[1].Outcome})
	var read []trail.APICall
	require.NoError(t, json.Unmarshal(got[0].APICalls, &read))
	require.Equal(t, calls, read)
}

func record(t *testing.T, c *store.Claim, ids ...string) {
	findings := make([]trail.Finding, len(ids))
	for i, id := range ids {
		findings[i] = trail.Finding{ChangeID: id, Action: "add_member", EntityRef: "person:x", Outcome: trail.Applied, RecordedAt: time.Now()}
	}
	require.NoError(t, c.Record(t.Context(), findings))
}

func verify(t *testing.T, s *store.Store) error {
	var v trail.Verifier
	for {
		page, err := s.Findings(t.Context(), store.FindingFilter{After: v.Head().Seq, Limit: 3})
		require.NoError(t, err)
		for _, e := range page {
			if err := v.Next(e); err != nil {
				return err
			}
		}
		if len(page) < 3 {
			break
		}
	}
	head, err := s.TrailHead(t.Context())
	require.NoError(t, err)
	return v.Close(head)
}

func TestRecord_Again_EachFindingStandsOnce(t *testing.T) {
	s, db := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	record(t, c, "a", "b")
	record(t, c, "a", "b", "c", "c")
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM findings"))
	require.NoError(t, verify(t, s))
}

func TestRecord_ManyRunsAtOnce_OneUnbrokenChain(t *testing.T) {
	s, _ := open(t)
	var all sync.WaitGroup
	for i := range 20 {
		c := claim(t, s, accept(t, s, fmt.Sprint("team-", i)))
		all.Go(func() { record(t, c, "a", "b") })
	}
	all.Wait()
	head, err := s.TrailHead(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(40), head.Seq)
	require.NoError(t, verify(t, s))
}

func TestFindings_TableIsAppendOnly(t *testing.T) {
	s, db := open(t)
	record(t, claim(t, s, accept(t, s, "payments")), "a")
	for _, statement := range []string{"UPDATE findings SET outcome = 'failed'", "DELETE FROM findings", "TRUNCATE findings"} {
		_, err := db.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "append-only", statement)
	}
}

func TestFindings_EditedBehindTheTriggers_VerificationFindsIt(t *testing.T) {
	for _, edit := range []string{
		"UPDATE findings SET outcome = 'failed' WHERE seq = 2",
		"UPDATE findings SET content = replace(content, 'add_member', 'remove_member') WHERE seq = 1",
		"UPDATE findings SET team_id = 'search' WHERE seq = 3",
		"UPDATE findings SET recorded_at = recorded_at - interval '1 day' WHERE seq = 3",
		"DELETE FROM findings WHERE seq = 1",
		"DELETE FROM findings WHERE seq = 3",
	} {
		t.Run(edit, func(t *testing.T) {
			s, db := open(t)
			record(t, claim(t, s, accept(t, s, "payments")), "a", "b", "c")
			require.NoError(t, verify(t, s))
			exec(t, db, "SET session_replication_role = replica") // what a superuser can do: no triggers
			exec(t, db, edit)
			var broken *trail.BrokenError
			require.ErrorAs(t, verify(t, s), &broken)
		})
	}
}

func TestFinish_EndsRunTellsAndLetsGo(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	exec(t, db, "DELETE FROM outbox")
	require.NoError(t, c.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Summary: "1 member added", Sync: ownership.InSync,
		Declared: &ownership.Desired{TeamID: "payments", Name: "acme/payments", Members: []ownership.Member{{Email: "ann@example.org"}}},
		Tell:     []store.Delivery{{Key: "k", Medium: "slack", Channel: "C1", Payload: json.RawMessage(`{}`)}},
	}))
	run, err := s.Run(t.Context(), id)
	require.NoError(t, err)
	require.True(t, run.Terminal())
	require.NotNil(t, run.FinishedAt)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE queue = 'notifications' AND body->>'delivery_key' = 'k'"))
	team, err := s.Team(t.Context(), "payments")
	require.NoError(t, err)
	require.Equal(t, ownership.InSync, team.SyncStatus)
	require.Equal(t, 1, team.MemberCount)
	require.Equal(t, id, team.LastJobID.UUID)
	events, err := s.Events(t.Context(), id, 0, 10)
	require.NoError(t, err)
	require.Equal(t, store.RunSucceeded, events[len(events)-1].Kind)
}

func TestDefer_WaitsThenComesBackThroughTheOutbox(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	exec(t, db, "DELETE FROM outbox")
	require.NoError(t, c.Defer(t.Context(), store.Postponement{Delay: time.Hour, Reason: "BREAKER_OPEN", Message: "later"}))
	_, err := s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "RUN_NOT_DUE", fault.ReasonOf(err))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE available_at > now() + interval '50 minutes'"))
	exec(t, db, "UPDATE runs SET available_at = now()")
	back := claim(t, s, id)
	require.Equal(t, 1, back.Run.Attempt, "an interruption is not an attempt")
	require.NoError(t, back.Defer(t.Context(), store.Postponement{Counted: true, Reason: "AWAY", Message: "away"}))
	require.Equal(t, 2, claim(t, s, id).Run.Attempt)
}

func drainAll(t *testing.T, o *store.Outbox) (sent []queue.Message) {
	for {
		n, err := o.Drain(t.Context(), 10, func(_ context.Context, batch []queue.Message) ([]bool, error) {
			ok := make([]bool, len(batch))
			for i := range ok {
				ok[i] = true
			}
			sent = append(sent, batch...)
			return ok, nil
		})
		require.NoError(t, err)
		if n == 0 {
			return sent
		}
	}
}

func TestOutbox_SentOnce_FailedStays(t *testing.T) {
	s, db := open(t)
	o := s.NewOutbox(store.Queues{Reconcile: "r.fifo", Notifications: "n.fifo", Audit: "a.fifo"}, time.Second)
	accept(t, s, "a")
	accept(t, s, "b")
	away := fault.New(fault.Unavailable, "away", nil)
	moved, err := o.Drain(t.Context(), 10, func(_ context.Context, batch []queue.Message) ([]bool, error) {
		return []bool{true, false}, away
	})
	require.ErrorIs(t, err, away)
	require.Equal(t, 1, moved)
	rest := drainAll(t, o)
	require.Len(t, rest, 1)
	require.Equal(t, "r.fifo", rest[0].Queue)
	require.Equal(t, "b", rest[0].Group)
	require.Zero(t, count(t, db, "SELECT count(*) FROM outbox"))
}

func TestOutbox_RelaysBesideEachOther_ShareTheRows(t *testing.T) {
	s, _ := open(t)
	for i := range 50 {
		accept(t, s, fmt.Sprint("t", i))
	}
	o := s.NewOutbox(store.Queues{Reconcile: "r.fifo", Notifications: "n.fifo", Audit: "a.fifo"}, time.Second)
	var seen sync.Map
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				n, err := o.Drain(t.Context(), 5, func(_ context.Context, batch []queue.Message) ([]bool, error) {
					ok := make([]bool, len(batch))
					for i, m := range batch {
						_, twice := seen.LoadOrStore(m.Dedup, true)
						ok[i] = !twice
					}
					return ok, nil
				})
				if err != nil || n == 0 {
					return
				}
			}
		})
	}
	all.Wait()
	sent := 0
	seen.Range(func(any, any) bool { sent++; return true })
	require.Equal(t, 50, sent)
}

// A queue that lost everything loses nothing: who waits is announced again, with a new deduplication id.
func TestAnnounce_OnlyRunsThatNobodyWorksOn(t *testing.T) {
	s, db := open(t)
	o := s.NewOutbox(store.Queues{Reconcile: "r.fifo", Notifications: "n.fifo", Audit: "a.fifo"}, time.Minute)
	lost, worked, ended, crashed := accept(t, s, "lost"), accept(t, s, "worked"), accept(t, s, "ended"), accept(t, s, "crashed")
	claim(t, s, worked)
	require.NoError(t, claim(t, s, ended).Finish(t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync}))
	claim(t, s, crashed)
	exec(t, db, "UPDATE leases SET until = now() WHERE team_id = 'crashed'")
	before := drainAll(t, o)
	require.Len(t, before, 4)

	n, err := o.Announce(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "announced a moment ago")
	exec(t, db, "UPDATE runs SET announced_at = now() - interval '2 minutes'")
	n, err = o.Announce(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	again := drainAll(t, o)
	require.ElementsMatch(t, []string{lost.String() + ":2", crashed.String() + ":2"}, []string{again[0].Dedup, again[1].Dedup})
}

func TestEvents_WatchersAreToldAndReadInOrder(t *testing.T) {
	s, _ := open(t)
	log := slog.New(slog.DiscardHandler)
	hub, events := s.NewEventHub(log), s.NewEventLog(log)
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	loops.Go(func() { _ = hub.Run(ctx) })
	loops.Go(func() { _ = events.Run(ctx) })
	defer func() { cancel(); loops.Wait() }()

	id := accept(t, s, "payments")
	news, stop := hub.Subscribe(id)
	defer stop()
	for i := range 30 {
		events.Add(store.Event{JobID: id, At: time.Now(), Kind: fmt.Sprint("e", i)})
	}
	var got []string
	after := int64(0)
	for len(got) < 30 {
		select {
		case <-news:
		case <-time.After(10 * time.Second):
			t.Fatalf("told of %d of 30 events", len(got))
		}
		page, err := s.Events(t.Context(), id, after, 7)
		require.NoError(t, err)
		for len(page) > 0 {
			for _, e := range page {
				got, after = append(got, e.Kind), e.Seq
			}
			page, err = s.Events(t.Context(), id, after, 7)
			require.NoError(t, err)
		}
	}
	for i := range got {
		require.Equal(t, fmt.Sprint("e", i), got[i])
	}
}

func TestRuns_PagesNewestFirst(t *testing.T) {
	s, _ := open(t)
	var want []uuid.UUID
	for range 5 {
		want = append([]uuid.UUID{accept(t, s, "payments")}, want...)
	}
	accept(t, s, "other")
	var got []uuid.UUID
	filter := store.RunFilter{TeamID: "payments", Limit: 2}
	for {
		page, err := s.Runs(t.Context(), filter)
		require.NoError(t, err)
		for _, r := range page {
			got = append(got, r.JobID)
		}
		if len(page) < 2 {
			break
		}
		filter.After = page[1].JobID
	}
	require.Equal(t, want, got)
}

func TestTeams_DeclaredListedAndLinked(t *testing.T) {
	s, _ := open(t)
	require.NoError(t, s.Declare(t.Context(), nil))
	require.NoError(t, s.Declare(t.Context(), []ownership.Desired{
		{TeamID: "b", Name: "acme/B_2"}, {TeamID: "a", Name: "acme/a", Archived: true, Members: []ownership.Member{{Email: "x@example.org", Roles: []string{"manager"}}}},
	}))
	teams, err := s.Teams(t.Context(), store.TeamFilter{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, []string{teams[0].TeamID, teams[1].TeamID})
	require.Equal(t, ownership.Unknown, teams[0].SyncStatus)
	for query, want := range map[string]int{"ACME": 2, "_": 1, "%": 0, "b": 1} {
		found, err := s.Teams(t.Context(), store.TeamFilter{Query: query, Limit: 10})
		require.NoError(t, err)
		require.Len(t, found, want, query)
	}

	c := claim(t, s, accept(t, s, "a"))
	require.NoError(t, c.SaveLink(t.Context(), store.Link{Source: "cortex", Target: "pagerduty", TargetID: "P1"}))
	other := claim(t, s, accept(t, s, "b"))
	err = other.SaveLink(t.Context(), store.Link{Source: "cortex", Target: "pagerduty", TargetID: "P1"})
	require.Equal(t, fault.Conflict, fault.KindOf(err), "one target team belongs to one team")
	owner, err := s.LinkedTeam(t.Context(), "pagerduty", "P1")
	require.NoError(t, err)
	require.Equal(t, "a", owner)
	team, err := s.Team(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "P1", team.Link.TargetID)
	_, err = s.Team(t.Context(), "nobody")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestClaimChore_OneOfManyInAPeriod(t *testing.T) {
	s, db := open(t)
	for i, want := range []bool{true, false, false} {
		got, err := s.ClaimChore(t.Context(), "catalogue", time.Minute)
		require.NoError(t, err)
		require.Equal(t, want, got, i)
	}
	exec(t, db, "UPDATE chores SET done_at = now() - interval '2 minutes'")
	got, err := s.ClaimChore(t.Context(), "catalogue", time.Minute)
	require.NoError(t, err)
	require.True(t, got)
}

func TestOpen_BadURL_KeepsThePassword(t *testing.T) {
	_, err := store.Open(t.Context(), config.NewSecret("postgres://u:hunter2@[::1"), store.Options{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func BenchmarkAccept(b *testing.B) {
	url := testkit.Postgres(b)
	s, err := store.Open(b.Context(), config.NewSecret(url), store.Options{MaxConns: 32})
	require.NoError(b, err)
	defer s.Close()
	pool := make(chan *pgx.Conn, 32)
	for range cap(pool) {
		conn, err := pgx.Connect(b.Context(), url)
		require.NoError(b, err)
		defer func() { _ = conn.Close(context.Background()) }()
		pool <- conn
	}
	_, err = s.Runs(b.Context(), store.RunFilter{Limit: 1})
	require.NoError(b, err)
	b.Run("accept", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, _, err := s.Accept(b.Context(), newRun("payments", "")); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("yardstick=bare insert", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				conn := <-pool
				_, err := conn.Exec(b.Context(), "INSERT INTO chores (name, done_at) VALUES ($1, now())", uuid.NewString())
				pool <- conn
				if err != nil {
					b.Error(err)
				}
			}
		})
	})
}
