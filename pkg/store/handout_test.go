package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// scanned makes an audit of so many teams that are to be handed out.
func scanned(t *testing.T, w *world, teams int) uuid.UUID {
	w.declared = nil
	for i := range teams {
		w.declare(fmt.Sprintf("team-%04d/x", i))
	}
	id := newAudit(t, w.s, observing)
	w.snapshot(t, id, audit.Full)
	exec(t, w.db, "DELETE FROM outbox")
	return id
}

// handedOut proves that every team has been handed out once, in parts that are announced and not too large.
func handedOut(t require.TestingT, w *world, id uuid.UUID, teams, part int) {
	query := func(sql string) (n int) {
		require.NoError(t, w.db.QueryRow(context.Background(), sql, id).Scan(&n))
		return n
	}
	require.Equal(t, teams, query("SELECT count(*) FROM audit_teams WHERE audit_id = $1 AND job_no > 0"))
	require.Zero(t, query("SELECT count(*) FROM audit_teams WHERE audit_id = $1 AND job_no IS NULL"))
	require.LessOrEqual(t, query("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM audit_teams WHERE audit_id = $1 GROUP BY job_no) parts"), part)
	parts := query("SELECT count(*) FROM audit_jobs WHERE audit_id = $1 AND job_no > 0")
	require.Equal(t, parts, query("SELECT count(DISTINCT job_no) FROM audit_teams WHERE audit_id = $1"))
	require.Equal(t, parts, query("SELECT count(DISTINCT dedup_id) FROM outbox WHERE queue = 'audit' AND body->>'audit_id' = $1::uuid::text AND (body->>'job_no')::int > 0"))
	require.Equal(t, parts, query("SELECT count(*) FROM outbox WHERE queue = 'audit' AND body->>'audit_id' = $1::uuid::text"))
	require.Equal(t, 1, query("SELECT count(*) FROM audits WHERE audit_id = $1 AND phase = 'teams' AND teams_from IS NOT NULL"))
}

func TestHandOut_WhateverThePages_EveryTeamOnce(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(r *rapid.T) {
		teams, page, part := rapid.IntRange(0, 40).Draw(r, "teams"), rapid.IntRange(1, 15).Draw(r, "page"), rapid.IntRange(1, 9).Draw(r, "part")
		id := scanned(t, w, teams)
		total := 0
		for handed := page; handed == page; {
			var err error
			handed, err = w.s.HandOut(r.Context(), id, page, part)
			require.NoError(r, err)
			total += handed
		}
		require.Equal(r, teams, total)
		handedOut(r, w, id, teams, part)
		again, err := w.s.HandOut(r.Context(), id, page, part)
		require.NoError(r, err)
		require.Zero(r, again)
		handedOut(r, w, id, teams, part)
	})
}

// Whoever hands out is stopped anywhere, and somebody else goes on: at the first page that cannot be written nothing of it
// is there, and nothing before it comes again.
func TestHandOut_CrashInTheMiddle_NeitherSkipsNorRepeats(t *testing.T) {
	w := newWorld(t)
	exec(t, w.db, `
		CREATE TABLE crash (armed boolean);
		CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF EXISTS (SELECT FROM crash WHERE armed) THEN RAISE EXCEPTION 'crash'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER crash AFTER UPDATE OF scan_after ON audits FOR EACH ROW EXECUTE FUNCTION crash()`)
	for crashAt := range 5 { // pages that are whole before it
		id := scanned(t, w, 11)
		for range crashAt {
			_, err := w.s.HandOut(t.Context(), id, 3, 2)
			require.NoError(t, err)
		}
		before := everything(t, w)
		if crashAt < 4 { // 11 teams are handed out with the fourth page
			exec(t, w.db, "INSERT INTO crash VALUES (true)")
			_, err := w.s.HandOut(t.Context(), id, 3, 2)
			require.Error(t, err)
			exec(t, w.db, "DELETE FROM crash")
		}
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.s.HandOut(stopped, id, 3, 2)
		require.Error(t, err)
		require.Equal(t, before, everything(t, w), "nothing of the page is there")
		w.handOut(t, id, 3, 2)
		handedOut(t, w, id, 11, 2)
	}
}

func TestHandOut_TwoAtOnce_ShareTheTeams(t *testing.T) {
	w := newWorld(t)
	id := scanned(t, w, 300)
	done := func() bool {
		return count(t, w.db, "SELECT count(*) FROM audits WHERE audit_id = $1 AND phase = 'teams'", id) == 1
	}
	for !done() {
		var both sync.WaitGroup
		for range 4 {
			both.Go(func() {
				if _, err := w.s.HandOut(t.Context(), id, 20, 3); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	handedOut(t, w, id, 300, 3)
}

func TestHandOut_SomebodyElseIsAtIt_GivesNone(t *testing.T) {
	w := newWorld(t)
	id := scanned(t, w, 3)
	tx, err := w.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM audits FOR UPDATE")
	require.NoError(t, err)
	handed, err := w.s.HandOut(t.Context(), id, 10, 10)
	require.NoError(t, err)
	require.Zero(t, handed)
	require.NoError(t, tx.Rollback(t.Context()))
	handed, err = w.s.HandOut(t.Context(), id, 10, 10)
	require.NoError(t, err)
	require.Equal(t, 3, handed)
}

// What an audit waits for follows from its phase, its parts and whether somebody wants its end.
func TestAuditSteps_FollowThePhases(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	id := newAudit(t, w.s, observing)
	steps := func(want ...store.AuditStep) {
		t.Helper()
		have, err := w.s.AuditSteps(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, have)
	}
	steps()
	w.snapshot(t, id, audit.Full)
	steps(store.AuditStep{AuditID: id, Scan: true})
	parts := w.handOut(t, id, 10, 10)
	steps()
	w.settle(t, claimPart(t, w.s, id, parts[0]))
	steps(store.AuditStep{AuditID: id})
	w.end(t, id)
	steps()
}

// An audit of nothing ends too.
func TestAuditSteps_NoTeams_GoesOnToItsEnd(t *testing.T) {
	w := newWorld(t)
	ended := w.run(t, observing)
	require.Equal(t, audit.Succeeded, ended.Status)
	require.Zero(t, ended.Report.Counts.Teams)
	have, err := w.s.Fleet(t.Context())
	require.NoError(t, err)
	require.NotNil(t, have.FullReadAt)
	require.WithinDuration(t, time.Now(), *have.FullReadAt, time.Minute)
}
