package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// part is an audit whose only part of teams is claimed.
func (w *world) part(t *testing.T, request store.AuditRequest, read string) *store.AuditJob {
	t.Helper()
	id := newAudit(t, w.s, request)
	w.snapshot(t, id, read)
	parts := w.handOut(t, id, 100, 100)
	require.Len(t, parts, 1)
	return claimPart(t, w.s, id, parts[0])
}

// finish is a run of a team that ends so.
func (w *world) finish(t *testing.T, team string, e store.Ending) string {
	t.Helper()
	id := accept(t, w.s, team)
	e.Status = store.Succeeded
	require.NoError(t, claim(t, w.s, id).Finish(t.Context(), e))
	return "run:" + id.String()
}

func TestSettle_WritesStatusesFindingsAndWhatWasRead(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.declare("b", "ann", "cid", "x@nowhere")
	w.declared[1].Members[2].Email = "x@nowhere"
	w.put("PA", "a", "ann", "bob") // both teams hold ann
	w.put("PB", "b", "ann", "dan")
	j := w.part(t, observing, audit.Full)
	settled, err := j.Settle(t.Context(), w.compare(t, j), store.Calls{Cortex: 1, PagerDuty: 4})
	require.NoError(t, err)
	require.Equal(t, store.Settled{}, settled)
	require.Equal(t, []string{
		"open b add_member person:cid@example.org", "open b removal_held person:dan@example.org", "open b user_not_found person:x@nowhere",
	}, w.findings(t))
	require.Equal(t, []ownership.SyncStatus{ownership.InSync, ownership.OutOfSync}, []ownership.SyncStatus{w.status(t, "a"), w.status(t, "b")})
	require.Equal(t, 4, count(t, w.db, "SELECT count(*) FROM target_members"))
	require.Equal(t, 3, count(t, w.db, "SELECT count(*) FROM target_users"))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NOT NULL"))
	a, err := w.s.Audit(t.Context(), j.Audit.AuditID)
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 2, 2, 2, 6}, []int{a.TeamsTotal, a.TeamsDone, a.ReadsTotal, a.ReadsDone, a.CortexCalls, a.PagerDutyCalls})
	users, err := w.s.FindTargetUsers(t.Context(), []string{"ann@example.org", "nobody@example.org"})
	require.NoError(t, err)
	require.Equal(t, []ownership.User{account("ann")}, users)
}

// What was settled is not compared again: of one part that is settled team by team, each counts once.
func TestSettle_TeamByTeam_EachOnce(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.declare("b", "ann")
	w.put("PA", "a", "ann")
	w.put("PB", "b", "bob", "cid")
	j := w.part(t, observing, audit.Full)
	compared := w.compare(t, j)
	settled, err := j.Settle(t.Context(), compared[:1], store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	left, err := j.Teams(t.Context())
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "b", left[0].Subject.Desired.TeamID)
	first := w.findings(t)
	// The answer was lost: the same is settled once more.
	_, err = j.Settle(t.Context(), compared[:1], store.Calls{})
	require.NoError(t, err)
	require.Equal(t, first, w.findings(t))
	settled, err = j.Settle(t.Context(), compared[1:], store.Calls{})
	require.NoError(t, err)
	require.Zero(t, settled.Left)
	a, err := w.s.Audit(t.Context(), j.Audit.AuditID)
	require.NoError(t, err)
	require.Equal(t, 2, a.TeamsDone)
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM audit_jobs WHERE job_no > 0 AND done_at IS NOT NULL"))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM audit_findings WHERE reopened > 0"))
}

// Two teams may stand for one target team: what is read of it twice is written once.
func TestSettle_TwoTeamsOfOneTargetInOnePart(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann").TargetID = "P1"
	w.declare("b", "bob").TargetID = "P1"
	w.put("P1", "one", "ann", "bob")
	j := w.part(t, observing, audit.Full)
	settled, err := j.Settle(t.Context(), w.compare(t, j), store.Calls{})
	require.NoError(t, err)
	require.Zero(t, settled.Left)
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM target_members WHERE target_id = 'P1'"))
}

// A run that changed a team while it was compared knows more: what was compared is not written, and the team is compared
// again with what the run left.
func TestSettle_RunWroteMeanwhile_TheTeamIsLeft(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.declare("b", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	w.put("PB", "b", "ann", "bob")
	j := w.part(t, observing, audit.Full)
	compared := w.compare(t, j)
	w.put("PA", "a", "ann", "bob")
	w.finish(t, "a", store.Ending{Sync: ownership.InSync, Seen: w.target["PA"]})
	settled, err := j.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	require.Empty(t, w.findings(t), "of what is mended nothing is found")
	require.Equal(t, ownership.InSync, w.status(t, "a"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_members WHERE target_id = 'PA' AND user_id = 'Ubob'"))

	teams, err := j.Teams(t.Context())
	require.NoError(t, err)
	require.Len(t, teams, 1)
	require.Len(t, teams[0].Subject.Targets, 1)
	require.True(t, teams[0].Subject.Targets[0].Fresh, "the run has just read it")
	w.settle(t, j)
	require.Empty(t, w.findings(t))
}

// The run may also have left the team without seeing it: what was known is not known any more.
func TestSettle_KnownTeamWasDistrustedMeanwhile_TheTeamIsLeft(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	w.run(t, observing)
	j := w.part(t, observing, audit.Incremental)
	w.reads = nil
	compared := w.compare(t, j)
	require.Empty(t, w.reads, "it is known")
	w.put("PA", "a", "ann", "bob")
	w.finish(t, "a", store.Ending{Sync: ownership.Unknown, Touched: "PA"})
	settled, err := j.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	w.settle(t, j)
	require.Equal(t, []string{"PA"}, w.reads)
	require.Equal(t, []string{"resolved a add_member person:bob@example.org", "resolved a remove_member person:cid@example.org"}, w.findings(t))
}

func TestSettle_DistrustedAfterTheReadBegan_IsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	j := w.part(t, observing, audit.Full)
	compared := w.compare(t, j)
	other := claimPart(t, w.s, newAudit(t, w.s, observing), 0)
	require.NoError(t, other.Changed(t.Context(), store.Records{Until: time.Now(), Targets: []string{"PA"}}))
	settled, err := j.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	require.Equal(t, 1, settled.Left)
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NULL"), "the change may have come after the read")

	w.reads = nil
	w.settle(t, j)
	require.Equal(t, []string{"PA"}, w.reads, "it is read once more")
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NOT NULL"))
}

// A full audit reads every team after it began, also one that another audit read a moment before and wrote down after.
func TestSettle_ReadOfAnEarlierAudit_IsNotFreshToALaterFullOne(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	early := w.part(t, observing, audit.Full)
	compared := w.compare(t, early)
	late := w.part(t, observing, audit.Full)
	_, err := early.Settle(t.Context(), compared, store.Calls{})
	require.NoError(t, err)
	w.reads = nil
	w.settle(t, late)
	require.Equal(t, []string{"PA"}, w.reads)
}

func TestTeams_Increment_ReadsOnlyWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.declare("b", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	w.put("PB", "b", "ann", "bob")
	w.run(t, observing)
	w.put("PB", "b", "ann")
	id := newAudit(t, w.s, observing)
	j := w.stage(t, id)
	now := time.Now()
	require.NoError(t, j.Changed(t.Context(), store.Records{Until: now, Changes: []store.TargetChange{{TargetID: "PB", UserID: "Ubob", Actor: "eve", At: now}}, Targets: []string{"PB"}}))
	w.endSnapshot(t, j, audit.Incremental)
	w.reads = nil
	w.teams(t, id)
	require.Equal(t, []string{"PB"}, w.reads)
	require.Equal(t, []string{"open b add_member person:bob@example.org", "open b single_person_team team:b"}, w.findings(t))
	a := w.end(t, id)
	require.Equal(t, []int{1, 1}, []int{a.ReadsTotal, a.ReadsDone})
	require.Zero(t, a.Report.Counts.Missed)

	w.put("PA", "a", "ann", "bob", "cid") // no record tells of it
	w.reads = nil
	a = w.run(t, observing)
	require.ElementsMatch(t, []string{"PA", "PB"}, w.reads)
	require.Equal(t, 1, a.Report.Counts.Missed)
}

// Outside the target's list teams are met by their names. One that was renamed since somebody knew it is compared as any.
func TestSettle_NoWholeList_TeamsAreMetAndStayKnown(t *testing.T) {
	w := newWorld(t)
	w.unlisted = true
	w.declare("a", "ann", "bob").Description = "pays"
	w.put("PA", "a", "ann", "bob")
	w.target["PA"].Description = "pays"
	w.run(t, observing)
	require.Empty(t, w.findings(t))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE name = 'a' AND description = 'pays' AND members_at IS NOT NULL"))

	w.reads = nil
	j := w.part(t, observing, audit.Incremental)
	w.settle(t, j)
	require.Empty(t, w.reads)
	require.Empty(t, w.findings(t), "the description is known too")

	w.declared[0].Name = "new"
	w.target["PA"].Name = "new"
	w.settle(t, w.part(t, observing, audit.Full))
	require.Empty(t, w.findings(t))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE name = 'new'"))
}

func TestSettle_EnforcedRun_IsAcceptedOnce(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.declare("b", "ann", "bob")
	w.put("PA", "a", "ann", "cid")
	w.put("PB", "b", "ann", "bob")
	j := w.part(t, store.AuditRequest{AutoReconcile: audit.Enforce}, audit.Full)
	compared := w.compare(t, j)
	runs := 0
	for range 3 { // b is left, so that the part stays open
		settled, err := j.Settle(t.Context(), compared[:1], store.Calls{})
		require.NoError(t, err)
		require.Equal(t, 1, settled.Left)
		runs += settled.Runs
	}
	settled, err := j.Settle(t.Context(), compared[1:], store.Calls{})
	require.NoError(t, err)
	require.Zero(t, settled.Runs, "b is in sync")
	require.Equal(t, 1, runs)
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM runs WHERE team_id = 'a'"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM runs"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM outbox WHERE queue = 'reconcile'"))
	a, err := w.s.Audit(t.Context(), j.Audit.AuditID)
	require.NoError(t, err)
	require.Equal(t, 1, a.RunsStarted)
}
