package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

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
