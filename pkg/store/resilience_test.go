package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
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

func TestRounds_YoungPlanGoesOn_OldOneIsMadeAnew(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.Equal(t, 1, c.Run.Round)
	add := []ownership.Change{{ID: "add", Kind: ownership.AddMember}, {ID: "remove", Kind: ownership.RemoveMember}}
	require.NoError(t, c.Save(t.Context(), []byte(`{"plan":"one"}`)))
	require.NoError(t, c.Intend(t.Context(), add))
	require.NoError(t, c.Settle(t.Context(), "add", trail.Applied, "", nil))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))

	c = claim(t, s, id)
	require.Equal(t, 1, c.Run.Round, "the plan is young enough")
	snapshot, err := c.Load(t.Context())
	require.NoError(t, err)
	require.JSONEq(t, `{"plan":"one"}`, string(snapshot))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))

	exec(t, db, "UPDATE checkpoints SET updated_at = now() - interval '2 minutes'")
	c = claim(t, s, id)
	require.Equal(t, 2, c.Run.Round)
	snapshot, err = c.Load(t.Context())
	require.NoError(t, err)
	require.Nil(t, snapshot)
	changes, err := c.Changes(t.Context())
	require.NoError(t, err)
	require.Empty(t, changes, "this round has intended nothing yet")
	earlier, err := c.Earlier(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"add", "remove"}, []string{earlier[0].Ref, earlier[1].Ref})
	require.Equal(t, []string{trail.Applied, ""}, []string{earlier[0].Outcome, earlier[1].Outcome})

	// The same change may be needed once more, and is another intent.
	require.NoError(t, c.Intend(t.Context(), add))
	changes, err = c.Changes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"add#2", "remove#2"}, []string{changes[0].Ref, changes[1].Ref})
	require.Equal(t, "add", changes[0].ID)
	require.Empty(t, changes[0].Outcome)
	require.NoError(t, c.Settle(t.Context(), "remove", trail.Unknown, "", nil))
	require.NoError(t, c.Settle(t.Context(), "remove", trail.Applied, "", nil), "what was unknown may become known")
	earlier, err = c.Earlier(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{trail.Applied, trail.Applied}, []string{earlier[0].Outcome, earlier[1].Outcome})
}

func TestCancel_NeverBegun_EndsAtOnce(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	run, err := s.Cancel(t.Context(), id, "bob", "not needed")
	require.NoError(t, err)
	require.Equal(t, store.Canceled, run.Status)
	require.NotNil(t, run.FinishedAt)
	require.Equal(t, "canceled by bob: not needed", run.ErrorMessage)
	require.Equal(t, store.RunCanceled, lastEvent(t, s, id).Kind)
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "RUN_ENDED", fault.ReasonOf(err))
	again, err := s.Cancel(t.Context(), id, "eve", "me too")
	require.NoError(t, err)
	require.Equal(t, "bob", again.CanceledBy, "asking twice is asking once")
}

func TestCancel_BeingWorkedOn_IsToldToWhoWorks(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	asked, err := c.Renew(t.Context())
	require.NoError(t, err)
	require.Zero(t, asked)
	run, err := s.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	require.Equal(t, store.Running, run.Status)
	asked, err = c.Renew(t.Context())
	require.NoError(t, err)
	require.Equal(t, "bob", asked.CanceledBy)

	// One that was deferred is brought back to be ended.
	other := accept(t, s, "search")
	require.NoError(t, claim(t, s, other).Defer(t.Context(), store.Postponement{Delay: time.Hour}))
	exec(t, db, "DELETE FROM outbox")
	_, err = s.Cancel(t.Context(), other, "bob", "")
	require.NoError(t, err)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE available_at <= now()"))
	require.Equal(t, "bob", claim(t, s, other).Run.CanceledBy)
}

func TestCancel_Ended_IsRefused(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	require.NoError(t, claim(t, s, id).Finish(t.Context(), store.Ending{Status: store.Succeeded}))
	_, err := s.Cancel(t.Context(), id, "bob", "")
	require.Equal(t, "RUN_ENDED", fault.ReasonOf(err))
	_, err = s.Cancel(t.Context(), uuid.New(), "bob", "")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestPause_HoldsWhatWaitsAndWhatComes_UntilItEnds(t *testing.T) {
	s, db := open(t)
	before := accept(t, s, "payments")
	exec(t, db, "DELETE FROM outbox")
	pause, err := s.PauseTeam(t.Context(), "payments", "bob", "incident 7", time.Hour)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), pause.Until, time.Minute)

	during := accept(t, s, "payments")
	for _, id := range []uuid.UUID{before, during} {
		run, err := s.Run(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, store.Queued, run.Status)
		require.Equal(t, "TEAM_PAUSED", run.ErrorReason)
		require.Equal(t, "paused by bob: incident 7", run.ErrorMessage)
		require.WithinDuration(t, pause.Until, run.AvailableAt, time.Second)
		_, err = s.Claim(t.Context(), id, terms("w"))
		require.Equal(t, fault.Precondition, fault.KindOf(err))
	}
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM outbox WHERE available_at > now() + interval '59 minutes'"))
	claim(t, s, accept(t, s, "search")) // another team goes on

	exec(t, db, "DELETE FROM outbox")
	require.NoError(t, s.ResumeTeam(t.Context(), "payments"))
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM outbox WHERE available_at <= now()"))
	c := claim(t, s, before)
	require.Empty(t, c.Run.ErrorReason)
	require.Less(t, c.Waited, time.Minute, "a pause uses up no patience")
	require.NoError(t, s.ResumeTeam(t.Context(), "payments"), "resuming twice is resuming once")
}

func TestPause_Over_IsNoObstacle(t *testing.T) {
	s, db := open(t)
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", time.Hour)
	require.NoError(t, err)
	id := accept(t, s, "payments")
	exec(t, db, "UPDATE pauses SET until = now(); UPDATE runs SET available_at = now()")
	claim(t, s, id)
	got, err := s.Pause(t.Context(), "payments")
	require.NoError(t, err)
	require.Nil(t, got)
}

func TestPause_RunBeingWorkedOn_IsTold_AndDryRunsGoOn(t *testing.T) {
	s, _ := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "incident", time.Hour)
	require.NoError(t, err)
	asked, err := c.Renew(t.Context())
	require.NoError(t, err)
	require.Equal(t, "bob", asked.PausedBy)
	require.Greater(t, asked.PausedFor, 59*time.Minute)
	require.NoError(t, c.Defer(t.Context(), store.Postponement{Delay: asked.PausedFor, Paused: true, Reason: "TEAM_PAUSED"}))

	dry := newRun("payments", "")
	dry.Request.DryRun = true
	id, _, err := s.Accept(t.Context(), dry)
	require.NoError(t, err)
	claim(t, s, id)
}

// A run that was accepted in the moment in which the pause began carries no hold. Whoever tries to claim it puts it off.
func TestPause_RunThatSlippedIn_IsHeldAtItsClaim(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", time.Hour)
	require.NoError(t, err)
	exec(t, db, "UPDATE runs SET available_at = now(), error_reason = ''; DELETE FROM outbox")
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "TEAM_PAUSED", fault.ReasonOf(err))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE available_at > now() + interval '59 minutes'"))
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "RUN_NOT_DUE", fault.ReasonOf(err))
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

func TestDeadLetters_RunGivenUp_IsShownAndLivesAgain(t *testing.T) {
	s, db := open(t)
	id := dead(t, s, "payments", "PAGERDUTY_UNAVAILABLE")
	require.Equal(t, store.DeadLettered, status(t, s, id))
	require.Equal(t, store.RunDeadLettered, lastEvent(t, s, id).Kind)
	letters, err := s.DeadLetters(t.Context(), store.DeadLetterFilter{Status: store.LetterDead, Limit: 10})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, id, letters[0].ID)
	require.Equal(t, "it did not work", letters[0].Error)
	n, err := s.CountDead(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)

	exec(t, db, "DELETE FROM outbox")
	raised, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Len(t, raised, 1)
	again, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Empty(t, again, "a repeated request finds nothing more to do")
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox"))
	require.Equal(t, store.RunRequeued, lastEvent(t, s, id).Kind)

	c := claim(t, s, id)
	require.Equal(t, 1, c.Run.Attempt, "all its attempts")
	require.Equal(t, 2, c.Run.Lives)
	require.Equal(t, 2, c.Run.Round)
	snapshot, err := c.Load(t.Context())
	require.NoError(t, err)
	require.Nil(t, snapshot, "the plan is made anew")
	letter, err := s.DeadLetter(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.LetterRequeued, letter.Status)
	require.Equal(t, "bob", letter.SettledBy)

	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "AGAIN", ErrorMessage: "no"}))
	letter, err = s.DeadLetter(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.LetterDead, letter.Status)
	require.Equal(t, "AGAIN", letter.Reason)
}

func TestDeadLetters_ByFilter_OnlyThose(t *testing.T) {
	s, _ := open(t)
	a, b, c := dead(t, s, "a", "X"), dead(t, s, "b", "X"), dead(t, s, "c", "Y")
	raised, err := s.Requeue(t.Context(), store.Which{Reason: "X"}, "bob")
	require.NoError(t, err)
	require.Len(t, raised, 2)
	require.Equal(t, []string{store.Queued, store.Queued, store.DeadLettered}, []string{status(t, s, a), status(t, s, b), status(t, s, c)})

	past := time.Now().Add(-time.Hour)
	raised, err = s.Requeue(t.Context(), store.Which{All: true, DiedBefore: &past}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "it died after the question")

	gone, err := s.Discard(t.Context(), store.Which{TeamID: "c"}, "eve")
	require.NoError(t, err)
	require.Len(t, gone, 1)
	require.Equal(t, store.Failed, status(t, s, c))
	raised, err = s.Requeue(t.Context(), store.Which{All: true}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "what was discarded stays so")
}

func TestDeadLetters_Message_IsKeptOnceWhateverItHolds(t *testing.T) {
	s, _ := open(t)
	body := "\xff\x00" + strings.Repeat("é", 20_000)
	m := queue.Received{ID: "m1", Body: []byte(body), ReceiveCount: 3}
	cause := fault.New(fault.Invalid, "unreadable", nil).WithReason("MESSAGE_UNREADABLE")
	for range 2 {
		require.NoError(t, s.Bury(t.Context(), store.ReconcileQueue, m, cause))
	}
	letters, err := s.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, store.MessageLetter, letters[0].Kind)
	require.True(t, strings.HasPrefix(letters[0].Body, "\uFFFD\uFFFDé"))
	require.LessOrEqual(t, len(letters[0].Body), 16<<10)
	raised, err := s.Requeue(t.Context(), store.Which{ID: letters[0].ID}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "sent again it would be the same")
	gone, err := s.Discard(t.Context(), store.Which{ID: letters[0].ID}, "bob")
	require.NoError(t, err)
	require.Len(t, gone, 1)
}

func TestDeadLetters_Pages_ShowEachOnce(t *testing.T) {
	s, db := open(t)
	for i := range 7 {
		require.NoError(t, s.Bury(t.Context(), "q", queue.Received{ID: fmt.Sprint(i)}, fault.New(fault.Invalid, "x", nil)))
	}
	exec(t, db, "UPDATE dead_letters SET died_at = '2026-01-01' WHERE message_id IN ('1', '2', '3')") // at the same moment
	seen := map[string]bool{}
	filter := store.DeadLetterFilter{Limit: 2}
	for {
		page, err := s.DeadLetters(t.Context(), filter)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			require.False(t, seen[l.MessageID])
			seen[l.MessageID] = true
			filter.AfterDiedAt, filter.AfterID = l.DiedAt, l.ID
		}
	}
	require.Len(t, seen, 7)
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
	o := s.NewOutbox("reconcile.fifo", "notifications.fifo", 10*time.Second)
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

// A pause is taken back after the worker learned of it and before it put its run off.
func TestDefer_ResumedMeanwhile_GoesOn(t *testing.T) {
	s, _ := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", 24*time.Hour)
	require.NoError(t, err)
	asked, err := c.Renew(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.ResumeTeam(t.Context(), "payments"))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{Delay: asked.PausedFor, Paused: true, Reason: "TEAM_PAUSED"}))
	claim(t, s, c.Run.JobID)
}

// A run is being accepted while the pause of its team ends: whichever comes first, nothing holds the run afterwards.
func TestAccept_WhileThePauseEnds_IsNotHeld(t *testing.T) {
	s, db := open(t)
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", 24*time.Hour)
	require.NoError(t, err)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO idempotency_keys (principal, key, request_hash, job_id) VALUES ('ann', 'k', 'x', gen_random_uuid())")
	require.NoError(t, err)
	var id uuid.UUID
	var accepting sync.WaitGroup
	accepting.Go(func() {
		r := newRun("payments", "k")
		r.Principal = "ann"
		var err error
		id, _, err = s.Accept(context.WithoutCancel(t.Context()), r)
		assert.NoError(t, err)
	})
	waitForLocks(t, tx, 1) // its snapshot has the pause, and it waits for the key
	require.NoError(t, s.ResumeTeam(t.Context(), "payments"))
	require.NoError(t, tx.Rollback(t.Context()))
	accepting.Wait()
	claim(t, s, id)
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

func TestDefer_Canceled_IsDueAtOnce(t *testing.T) {
	s, _ := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	run, err := s.Cancel(t.Context(), c.Run.JobID, "bob", "")
	require.NoError(t, err)
	require.Equal(t, store.Running, run.Status)
	require.NoError(t, c.Defer(t.Context(), store.Postponement{Delay: 24 * time.Hour, Reason: "X"}))
	require.Equal(t, "bob", claim(t, s, c.Run.JobID).Run.CanceledBy, "whoever takes it up ends it")
}

func TestPauseTeam_DryRuns_GoOn(t *testing.T) {
	s, _ := open(t)
	busy := claim(t, s, accept(t, s, "payments"))
	dry := newRun("payments", "")
	dry.Request.DryRun = true
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", time.Hour)
	require.NoError(t, err)
	id, _, err := s.Accept(t.Context(), dry)
	require.NoError(t, err)
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "TEAM_BUSY", fault.ReasonOf(err), "its message stays")
	require.NoError(t, busy.Finish(t.Context(), store.Ending{Status: store.Succeeded}))
	asked, err := claim(t, s, id).Renew(t.Context())
	require.NoError(t, err)
	require.Zero(t, asked.PausedFor)
}

// A worker died in a team that is paused: its run waits like any other, and uses up no patience.
func TestClaim_LeftBehindInAPausedTeam_WaitsForTheEndOfThePause(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	claim(t, s, id)
	_, err := s.PauseTeam(t.Context(), "payments", "bob", "x", time.Hour)
	require.NoError(t, err)
	exec(t, db, "UPDATE leases SET until = to_timestamp(0)")
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "TEAM_PAUSED", fault.ReasonOf(err))
	run, err := s.Run(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.Queued, run.Status)
	require.Greater(t, time.Until(run.AvailableAt), 50*time.Minute)
	require.NoError(t, s.ResumeTeam(t.Context(), "payments"))
	claim(t, s, id)
}

func TestRequeue_CancelWasOvertaken_IsForgotten(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	_, err := s.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "X", Sync: ownership.Unknown}))
	letters, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Empty(t, claim(t, s, id).Run.CanceledBy)
	_, err = s.Requeue(t.Context(), store.Which{}, "bob")
	require.True(t, fault.Is(err, fault.Invalid), "nothing chosen is not everything")
}

// A run that a program began which knew no rounds is planned anew: its new intents are another round's.
func TestClaim_BegunBeforeThereWereRounds_IsAnotherRound(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.NoError(t, c.Save(t.Context(), []byte(`{}`)))
	removal := func(id string) ownership.Change { return ownership.Change{ID: id, Kind: ownership.RemoveMember} }
	require.NoError(t, c.Intend(t.Context(), []ownership.Change{removal("a")}))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))
	exec(t, db, "UPDATE runs SET round = 0; UPDATE changes SET round = 0; UPDATE checkpoints SET round = 0, updated_at = now() - interval '1 hour'")
	c = claim(t, s, id)
	require.Equal(t, 2, c.Run.Round)
	require.NoError(t, c.Intend(t.Context(), []ownership.Change{removal("a"), removal("b")}))
	changes, err := c.Changes(t.Context())
	require.NoError(t, err)
	require.Len(t, changes, 2)
	earlier, err := c.Earlier(t.Context())
	require.NoError(t, err)
	require.Len(t, earlier, 1)
}

// The same, but its plan was young: it is given up in its old round, and its next life is another.
func TestClaim_BegunBeforeThereWereRounds_NextLifeIsAnotherRound(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.NoError(t, c.Save(t.Context(), []byte(`{}`)))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))
	exec(t, db, "UPDATE runs SET round = 0; UPDATE checkpoints SET round = 0")
	c = claim(t, s, id)
	require.Zero(t, c.Run.Round)
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "X", Sync: ownership.Unknown}))
	_, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Equal(t, 2, claim(t, s, id).Run.Round)
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

// A claim finds the team paused and puts its run off, and somebody ends the pause at that moment.
func TestClaim_WhileThePauseEnds_IsNotHeld(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	exec(t, db, "INSERT INTO pauses (team_id, reason, paused_by, until) VALUES ('payments', 'x', 'bob', now() + interval '24 hours')")
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM runs WHERE job_id = $1 FOR UPDATE", id)
	require.NoError(t, err)
	var both sync.WaitGroup
	both.Go(func() {
		_, err := s.Claim(context.WithoutCancel(t.Context()), id, terms("w"))
		assert.Equal(t, "TEAM_PAUSED", fault.ReasonOf(err))
	})
	waitForLocks(t, tx, 1)
	both.Go(func() { assert.NoError(t, s.ResumeTeam(context.WithoutCancel(t.Context()), "payments")) })
	waitForLocks(t, tx, 2)
	require.NoError(t, tx.Rollback(t.Context()))
	both.Wait()
	claim(t, s, id)
}

// A run whose worker died is put off because its team is paused, and somebody who began before the pause claims it.
func TestClaim_HeldWhileAnotherClaims_IsLeftToIt(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	claim(t, s, id)
	exec(t, db, "UPDATE leases SET until = to_timestamp(0)")
	claiming, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = claiming.Exec(t.Context(), "SELECT FROM runs WHERE job_id = $1 FOR UPDATE", id)
	require.NoError(t, err)
	_, err = s.PauseTeam(t.Context(), "payments", "bob", "x", time.Hour)
	require.NoError(t, err)
	var holding sync.WaitGroup
	holding.Go(func() {
		_, err := s.Claim(context.WithoutCancel(t.Context()), id, terms("second"))
		assert.Error(t, err)
	})
	waitForLocks(t, claiming, 1)
	_, err = claiming.Exec(t.Context(), "UPDATE leases SET until = now() + interval '1 minute', fence = fence + 1 WHERE team_id = 'payments'")
	require.NoError(t, err)
	_, err = claiming.Exec(t.Context(), "UPDATE runs SET attempt = attempt + 1, fence = fence + 1 WHERE job_id = $1", id)
	require.NoError(t, err)
	require.NoError(t, claiming.Commit(t.Context()))
	holding.Wait()
	require.Equal(t, store.Running, status(t, s, id))
}
