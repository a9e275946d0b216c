package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// auditOf takes the snapshot of a fleet of one team and claims the part that holds it.
func auditOf(t *testing.T, s *store.Store, team string) *store.AuditJob {
	t.Helper()
	id, _, err := s.AcceptAudit(t.Context(), store.NewAudit{RequestedBy: "bob", Request: store.AuditRequest{Mode: audit.Full}}, "", []byte("x"))
	require.NoError(t, err)
	snapshot, err := s.ClaimAuditJob(t.Context(), id, store.SnapshotJob, "worker", time.Minute)
	require.NoError(t, err)
	require.NoError(t, snapshot.Restage(t.Context()))
	require.NoError(t, snapshot.Stage(t.Context(), []ownership.Desired{{TeamID: team, Name: team, Members: []ownership.Member{}}}))
	require.NoError(t, snapshot.ListTargets(t.Context(), []store.TargetTeam{{ID: "P1", Name: team}}, true))
	require.NoError(t, snapshot.EndSnapshot(t.Context(), store.Snapshot{Read: audit.Full, TargetsListed: true, UsersListed: true, Teams: 1}))
	_, err = s.HandOut(t.Context(), id, 10, 10)
	require.NoError(t, err)
	job, err := s.ClaimAuditJob(t.Context(), id, 1, "worker", time.Minute)
	require.NoError(t, err)
	return job
}

// settle writes what the target shows of the team, and says whether that is trusted from then on.
func settle(t *testing.T, db *pgx.Conn, job *store.AuditJob) (trusted bool) {
	t.Helper()
	teams, err := job.Teams(t.Context())
	require.NoError(t, err)
	require.Len(t, teams, 1)
	_, err = job.Settle(t.Context(), []store.AuditedTeam{{Team: teams[0], Status: ownership.InSync, TargetID: "P1", Read: []ownership.ObservedMember{}}}, store.Calls{})
	require.NoError(t, err)
	return count(t, db, "SELECT count(*) FROM target_teams WHERE target_id = 'P1' AND members_at IS NOT NULL") == 1
}

// A run that ended between two changes did not see that the target shows them. Who reads the team right after it may not
// see them either, and no record would send an increment there again.
func TestSettle_ReadRightAfterARunThatSawNoEnd_IsNotTrusted(t *testing.T) {
	s, db := open(t)
	require.True(t, settle(t, db, auditOf(t, s, "t")))

	run := claim(t, s, accept(t, s, "t"))
	require.NoError(t, run.Finish(t.Context(), store.Ending{Status: store.Canceled, Touched: "P1"}))
	require.False(t, settle(t, db, auditOf(t, s, "t")), "the read may not show yet what the run did")

	exec(t, db, "UPDATE target_teams SET distrusted_at = distrusted_at - interval '2 minutes'")
	require.True(t, settle(t, db, auditOf(t, s, "t")), "now it must")
}
