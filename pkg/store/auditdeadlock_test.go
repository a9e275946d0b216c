package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// overlapping is a fleet of teams that share their people, some of them their targets, in which everything is wrong.
func overlapping(t *testing.T, teams int) *world {
	t.Helper()
	w := newWorld(t)
	for i := range teams {
		d := w.declare(fmt.Sprintf("team-%02d", i), "ann", "bob", "cid", "dan")
		id := fmt.Sprintf("P%02d", (teams-i)/2) // two teams a target, in the other order
		d.TargetID = id
		w.put(id, "t"+id, "dan", "eve", "fay", "gus", "ann")
	}
	return w
}

// retried does as a worker does: what a platform or the database kept from going on is tried again.
func retried(what func() error) (tries int, err error) {
	for tries = 1; tries <= 20; tries++ {
		if err = what(); !fault.Is(err, fault.Unavailable) {
			return tries, err
		}
	}
	return tries, err
}

// Several audits at once settle the same teams, while runs end on them and a snapshot goes over users and targets: all of
// it ends, whoever has to stand back.
func TestSettle_ManyAuditsAndRunsAtOnce_AllEnd(t *testing.T) {
	w := overlapping(t, 24)
	const audits = 4
	type settling struct {
		job   *store.AuditJob
		teams []store.AuditedTeam
	}
	var parts []settling
	for range audits {
		id := newAudit(t, w.s, observing)
		w.snapshot(t, id, audit.Full)
		for _, no := range w.handOut(t, id, 100, 8) {
			j := claimPart(t, w.s, id, no)
			compared := w.compare(t, j)
			rand.Shuffle(len(compared), func(i, k int) { compared[i], compared[k] = compared[k], compared[i] })
			parts = append(parts, settling{j, compared})
		}
	}
	var runs []*store.Claim
	for i := range 24 {
		runs = append(runs, claim(t, w.s, accept(t, w.s, fmt.Sprintf("team-%02d", i))))
	}
	snapshot := w.snapshotJob(t)
	users := everybody()

	start := make(chan struct{})
	var all sync.WaitGroup
	try := func(what func() error) {
		all.Go(func() {
			<-start
			if tries, err := retried(what); err != nil {
				t.Errorf("after %d tries: %v", tries, err)
			}
		})
	}
	for _, p := range parts {
		try(func() error { _, err := p.job.Settle(t.Context(), p.teams, store.Calls{}); return err })
	}
	for i, c := range runs {
		seen := *w.target[fmt.Sprintf("P%02d", (24-i)/2)]
		try(func() error {
			return c.Finish(t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync, Seen: &seen})
		})
	}
	for range 3 {
		try(func() error {
			for i := range users {
				users := append([]ownership.User{}, users...)
				users[i].Base = ownership.BaseAdmin // their teams are distrusted
				if err := snapshot.KnowUsers(t.Context(), users); err != nil {
					return err
				}
			}
			var listed []store.TargetTeam
			for id := range w.target {
				listed = append(listed, store.TargetTeam{ID: id, Name: id + " renamed"})
			}
			return snapshot.ListTargets(t.Context(), listed)
		})
	}
	begun := time.Now()
	close(start)
	all.Wait()
	t.Logf("%d settlements, %d runs: %s", len(parts), len(runs), time.Since(begun))
	for _, c := range runs {
		require.Equal(t, store.Succeeded, status(t, w.s, c.Run.JobID))
	}
	for _, p := range parts { // what runs and other audits wrote meanwhile is compared again
		if count(t, w.db, "SELECT count(*) FROM audit_jobs WHERE audit_id = $1 AND job_no = $2 AND done_at IS NULL", p.job.Audit.AuditID, p.job.No) == 1 {
			w.settle(t, p.job)
		}
	}
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM audit_teams WHERE status IS NULL"))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM audit_jobs WHERE done_at IS NULL AND job_no > 0"))
}

// A run's end and an audit's settlement of the same team take its rows in the same order: the one that comes second waits
// and nobody has to stand back.
func TestFinish_BesideASettlement_NeitherStandsBack(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	w.run(t, observing)
	for range 30 {
		j := w.part(t, observing, audit.Full)
		compared := w.compare(t, j)
		c := claim(t, w.s, accept(t, w.s, "a"))
		var both sync.WaitGroup
		var settled, finished error
		both.Go(func() { _, settled = j.Settle(t.Context(), compared, store.Calls{}) })
		both.Go(func() {
			finished = c.Finish(t.Context(), store.Ending{
				Status: store.Succeeded, Sync: ownership.InSync, Seen: w.target["PA"], Declared: &w.declared[0],
			})
		})
		both.Wait()
		require.NoError(t, settled)
		require.NoError(t, finished)
	}
}
