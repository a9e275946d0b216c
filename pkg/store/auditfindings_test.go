package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// cidLeaves is the kind of the only finding of a drifting team.
const cidLeaves = "remove_member"

// drifting is a team that has one member too many.
func drifting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob", "cid")
	return w
}

func TestAuditFinding_SeenAgain_IsTheSameFinding(t *testing.T) {
	w := drifting(t)
	first := w.run(t, observing)
	before := w.finding(t, "a", cidLeaves)
	require.Equal(t, []string{store.FindingOpen, "drift", "person:cid@example.org"}, []string{before.Status, before.Category, before.EntityRef})
	require.Equal(t, []uuid.UUID{first.AuditID, first.AuditID}, []uuid.UUID{before.FirstAuditID, before.LastAuditID})
	second := w.run(t, observing)
	after := w.finding(t, "a", cidLeaves)
	require.Equal(t, before.FindingID, after.FindingID)
	require.Equal(t, []uuid.UUID{first.AuditID, second.AuditID}, []uuid.UUID{after.FirstAuditID, after.LastAuditID})
	require.True(t, before.FirstSeenAt.Equal(after.FirstSeenAt))
	require.True(t, after.LastSeenAt.After(before.LastSeenAt))
	require.Zero(t, after.Reopened)
}

func TestAuditFinding_Gone_IsResolvedByTheAudit_AndOpensAgainAsTheSame(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	before := w.finding(t, "a", cidLeaves)
	w.put("PA", "a", "ann", "bob")
	for i := range 3 {
		gone := w.run(t, observing)
		f := w.finding(t, "a", cidLeaves)
		require.Equal(t, store.FindingResolved, f.Status)
		require.Equal(t, "audit:"+gone.AuditID.String(), f.ResolvedBy)
		require.NotNil(t, f.ResolvedAt)
		require.Equal(t, int32(i), f.Reopened)
		require.Equal(t, 1, gone.Report.Counts.Resolved)

		w.put("PA", "a", "ann", "bob", "cid")
		back := w.run(t, observing)
		f = w.finding(t, "a", cidLeaves)
		require.Equal(t, before.FindingID, f.FindingID)
		require.Equal(t, store.FindingOpen, f.Status)
		require.Equal(t, int32(i+1), f.Reopened)
		require.Equal(t, back.AuditID, f.ReopenedAuditID.UUID)
		require.Nil(t, f.ResolvedAt)
		require.Empty(t, f.ResolvedBy)
		require.Equal(t, []int{0, 1}, []int{back.Report.Counts.New, back.Report.Counts.Reopened})
		require.True(t, back.Report.New[0].Returned)
		w.put("PA", "a", "ann", "bob")
	}
}

func TestAuditFinding_TeamUnread_StaysAsItIs(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	before := w.finding(t, "a", cidLeaves)
	w.away["PA"] = true
	w.put("PA", "a", "ann", "bob")
	w.run(t, observing)
	require.Equal(t, before, w.finding(t, "a", cidLeaves))
	require.Equal(t, ownership.Unknown, w.status(t, "a"))
	w.away["PA"] = false
	w.run(t, observing)
	require.Equal(t, store.FindingResolved, w.finding(t, "a", cidLeaves).Status)
}

func TestAcknowledge_LastsUntilItsTime(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	id := w.finding(t, "a", cidLeaves).FindingID
	f, err := w.s.Acknowledge(t.Context(), id, "bob", "leaves on Friday", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, []string{store.FindingAcknowledged, "bob", "leaves on Friday"}, []string{f.Status, f.AcknowledgedBy, f.AcknowledgeReason})
	counted := w.run(t, observing).Report.Counts
	require.Equal(t, []int{0, 1}, []int{counted.Open, counted.Acknowledged})
	n, err := w.s.ExpireAcknowledgements(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, "bob", w.finding(t, "a", cidLeaves).AcknowledgedBy, "an audit that sees it again does not end it")

	exec(t, w.db, "UPDATE audit_findings SET acknowledged_until = now() - interval '1 second'")
	n, err = w.s.ExpireAcknowledgements(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	f = w.finding(t, "a", cidLeaves)
	require.Equal(t, store.FindingOpen, f.Status)
	require.Empty(t, f.AcknowledgedBy+f.AcknowledgeReason)
	require.Nil(t, f.AcknowledgedUntil)
	require.Zero(t, f.Reopened, "it was never gone")
}

// An audit that sees a finding after the acknowledgement's time opens it, whether or not somebody has looked at the time.
func TestAcknowledge_OverWhenSeenAgain_Opens(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	_, err := w.s.Acknowledge(t.Context(), w.finding(t, "a", cidLeaves).FindingID, "bob", "x", time.Now().Add(-time.Second))
	require.NoError(t, err)
	w.run(t, observing)
	f := w.finding(t, "a", cidLeaves)
	require.Equal(t, store.FindingOpen, f.Status)
	require.Empty(t, f.AcknowledgedBy)
}

func TestAcknowledge_TakenBack_OrResolved(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	id := w.finding(t, "a", cidLeaves).FindingID
	_, err := w.s.Acknowledge(t.Context(), id, "bob", "x", time.Now().Add(time.Hour))
	require.NoError(t, err)
	for range 2 {
		f, err := w.s.Unacknowledge(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, store.FindingOpen, f.Status)
	}
	_, err = w.s.Acknowledge(t.Context(), id, "bob", "x", time.Now().Add(time.Hour))
	require.NoError(t, err)
	w.put("PA", "a", "ann", "bob")
	w.run(t, observing)
	require.Equal(t, store.FindingResolved, w.finding(t, "a", cidLeaves).Status, "what is gone is gone, acknowledged or not")
	_, err = w.s.Acknowledge(t.Context(), id, "bob", "x", time.Now().Add(time.Hour))
	require.Equal(t, "FINDING_RESOLVED", fault.ReasonOf(err))
	f, err := w.s.Unacknowledge(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.FindingResolved, f.Status)
	w.put("PA", "a", "ann", "bob", "cid")
	w.run(t, observing)
	require.Equal(t, store.FindingOpen, w.finding(t, "a", cidLeaves).Status, "the acknowledgement was of what was then")

	_, err = w.s.Acknowledge(t.Context(), uuid.New(), "bob", "x", time.Now())
	require.Equal(t, "FINDING_NOT_FOUND", fault.ReasonOf(err))
	_, err = w.s.Unacknowledge(t.Context(), uuid.New())
	require.Equal(t, "FINDING_NOT_FOUND", fault.ReasonOf(err))
}

// A run resolves what it mended. Only one that leaves the team in sync resolves every drift.
func TestFinish_ResolvesWhatTheRunMended(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob", "x")
	w.declared[0].Members[2].Email = "x@nowhere"
	w.declared[0].Name = "A"
	w.declared[0].TargetID = "PA"
	w.put("PA", "old", "ann", "cid")
	w.declare("b", "ann", "bob")
	w.put("PB", "b", "ann", "cid")
	w.run(t, observing)
	w.finish(t, "a", store.Ending{
		Sync: ownership.InSync, Mended: []ownership.Change{{Kind: ownership.AddMember, EntityRef: "person:bob@example.org"}},
	})
	require.Equal(t, store.FindingOpen, w.finding(t, "a", "add_member").Status, "what a request brought along is not what the source declares")
	by := w.finish(t, "a", store.Ending{
		Sync: ownership.OutOfSync, Declared: &w.declared[0], Mended: []ownership.Change{{Kind: ownership.AddMember, EntityRef: "person:bob@example.org"}},
	})
	require.Equal(t, []string{
		"open a removal_held person:cid@example.org", "open a update_team team:a", "open a user_not_found person:x@nowhere",
		"open b add_member person:bob@example.org", "open b remove_member person:cid@example.org",
		"resolved a add_member person:bob@example.org",
	}, w.findings(t))
	require.Equal(t, by, w.finding(t, "a", "add_member").ResolvedBy)

	w.finish(t, "a", store.Ending{Sync: ownership.OutOfSync, Declared: &w.declared[0]})
	require.Equal(t, store.FindingOpen, w.finding(t, "a", "update_team").Status, "a run that mended nothing resolves nothing")
	later := w.finish(t, "a", store.Ending{Sync: ownership.InSync, Declared: &w.declared[0]})
	require.Equal(t, []string{
		"open a user_not_found person:x@nowhere",
		"open b add_member person:bob@example.org", "open b remove_member person:cid@example.org",
		"resolved a add_member person:bob@example.org", "resolved a removal_held person:cid@example.org", "resolved a update_team team:a",
	}, w.findings(t), "in sync: no drift is left, and no other team's is touched")
	require.Equal(t, later, w.finding(t, "a", "update_team").ResolvedBy)
	require.Equal(t, by, w.finding(t, "a", "add_member").ResolvedBy, "it was the other run")
}

// What a run saw of the target team at its end is what is known of it then.
func TestFinish_TheMirrorIsAsTheRunLeftTheTeam(t *testing.T) {
	w := drifting(t)
	w.run(t, observing)
	w.put("PA", "renamed", "ann", "bob")
	w.target["PA"].Members[1].Role = ownership.Manager
	w.finish(t, "a", store.Ending{Sync: ownership.InSync, Seen: w.target["PA"]})
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE name = 'renamed' AND members_at IS NOT NULL"))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM target_members"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_members WHERE user_id = 'Ubob' AND role = 'manager'"))
	w.finish(t, "a", store.Ending{Sync: ownership.Unknown, Touched: "PA"})
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NULL"))

	// What changed while the run was under way may have come after it looked.
	id := accept(t, w.s, "a")
	c := claim(t, w.s, id)
	exec(t, w.db, "UPDATE target_teams SET distrusted_at = now()")
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync, Seen: w.target["PA"]}))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NULL"))
	w.finish(t, "a", store.Ending{Sync: ownership.InSync, Seen: w.target["PA"]})
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE members_at IS NOT NULL"))
}

func TestAuditFindings_PagesNewestFirst_ByEachFilter(t *testing.T) {
	w := newWorld(t)
	for _, team := range []string{"a", "b", "c"} {
		w.declare(team, "ann", "bob", "cid")
		w.put("P"+team, team, "dan", "eve")
	}
	a := w.run(t, observing)
	w.put("Pb", "b", "ann", "bob", "cid")
	w.run(t, observing)
	all, err := w.s.AuditFindings(t.Context(), store.AuditFindingFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, all, 15)
	for name, c := range map[string]struct {
		filter store.AuditFindingFilter
		want   func(store.AuditFinding) bool
		n      int
	}{
		"all":           {store.AuditFindingFilter{}, func(store.AuditFinding) bool { return true }, 15},
		"status":        {store.AuditFindingFilter{Status: store.FindingOpen}, func(f store.AuditFinding) bool { return f.Status == store.FindingOpen }, 10},
		"kind":          {store.AuditFindingFilter{Kind: "add_member"}, func(f store.AuditFinding) bool { return f.Kind == "add_member" }, 9},
		"team":          {store.AuditFindingFilter{TeamID: "b"}, func(f store.AuditFinding) bool { return f.TeamID == "b" }, 5},
		"audit":         {store.AuditFindingFilter{AuditID: a.AuditID}, func(f store.AuditFinding) bool { return f.LastAuditID == a.AuditID }, 5},
		"kind, status":  {store.AuditFindingFilter{Kind: "add_member", Status: "resolved"}, func(f store.AuditFinding) bool { return f.Kind == "add_member" && f.Status == "resolved" }, 3},
		"team, kind":    {store.AuditFindingFilter{Kind: "add_member", TeamID: "a"}, func(f store.AuditFinding) bool { return f.Kind == "add_member" && f.TeamID == "a" }, 3},
		"of no finding": {store.AuditFindingFilter{TeamID: "z"}, func(store.AuditFinding) bool { return false }, 0},
	} {
		var want []uuid.UUID
		for _, f := range all {
			if c.want(f) {
				want = append(want, f.FindingID)
			}
		}
		require.Len(t, want, c.n, name)
		for _, limit := range []int{1, 2, 5, 100} {
			var got []uuid.UUID
			filter := c.filter
			filter.Limit = limit
			for {
				page, err := w.s.AuditFindings(t.Context(), filter)
				require.NoError(t, err)
				for _, f := range page {
					got = append(got, f.FindingID)
				}
				if len(page) < limit {
					break
				}
				filter.After = page[limit-1].FindingID
			}
			require.Equal(t, want, got, name)
		}
	}
	one, err := w.s.AuditFinding(t.Context(), all[3].FindingID)
	require.NoError(t, err)
	require.Equal(t, all[3], one)
}
