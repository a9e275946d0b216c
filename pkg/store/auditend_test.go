package store_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// fleet is one team of each status, and an account of its own for what is wrong.
func fleet(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.declare("a", "ann", "bob")
	w.put("PA", "a", "ann", "bob")
	w.declare("b", "ann", "bob", "cid")
	w.put("PB", "b", "ann", "eve")
	w.declare("c", "ann") // nowhere
	return w
}

func TestEndAudit_ReportSaysWhatCameOut(t *testing.T) {
	w := fleet(t)
	first := w.run(t, observing)
	require.Equal(t, audit.Succeeded, first.Status)
	r := first.Report
	require.Equal(t, notice.AuditCounts{Teams: 3, InSync: 1, OutOfSync: 1, Unknown: 1, Open: 4, New: 4}, r.Counts)
	require.Equal(t, "3 teams: 1 in sync, 1 out of sync, 1 unknown; 4 new, 0 returned, 0 resolved", first.Summary)
	require.Equal(t, []notice.AuditKind{
		{Kind: "add_member", Open: 2, New: 2}, {Kind: "remove_member", Open: 1, New: 1}, {Kind: "team_not_found", Open: 1, New: 1},
	}, r.Kinds)
	require.Equal(t, []notice.AuditTeam{{TeamID: "b", Open: 3}, {TeamID: "c", Open: 1}}, r.TopTeams)
	require.Nil(t, r.Previous)
	require.Len(t, r.Trend, 1)
	require.Len(t, r.New, 4)
	require.Equal(t, notice.AuditCalls{Cortex: 1, PagerDuty: 4}, r.Calls)
	require.Equal(t, []string{"ann", audit.Full}, []string{r.RequestedBy, r.Read})

	stored, err := w.s.Audit(t.Context(), first.AuditID)
	require.NoError(t, err)
	require.Equal(t, []string{audit.Succeeded, store.PhaseEnded, first.Summary}, []string{stored.Status, stored.Phase, stored.Summary})
	require.Equal(t, r.Counts, stored.Report.Counts)
	require.NotNil(t, stored.FinishedAt)

	w.put("PB", "b", "ann", "bob", "eve")
	_, err = w.s.Acknowledge(t.Context(), w.finding(t, "c", "team_not_found").FindingID, "bob", "x", first.CreatedAt.AddDate(1, 0, 0))
	require.NoError(t, err)
	second := w.run(t, observing)
	require.Equal(t, notice.AuditCounts{Teams: 3, InSync: 1, OutOfSync: 1, Unknown: 1, Open: 2, Acknowledged: 1, Resolved: 1, Missed: 1}, second.Report.Counts, "no record told of it")
	require.Equal(t, first.Report.Counts, *second.Report.Previous)
	require.Empty(t, second.Report.New)
	require.Len(t, second.Report.Resolved, 1)
	require.Equal(t, "person:bob@example.org", second.Report.Resolved[0].Entity)
	third := w.run(t, observing)
	require.Equal(t, second.Report.Counts, *third.Report.Previous)
	require.Zero(t, third.Report.Counts.Resolved, "that was told of already")
	var open []int
	for i, point := range third.Report.Trend {
		open = append(open, point.Open)
		if i > 0 {
			require.True(t, point.At.After(third.Report.Trend[i-1].At), "the oldest first")
		}
	}
	require.Equal(t, []int{4, 2, 2}, open)
}

// Audits of a schedule are compared with those of the same schedule only, and with those that read something or tried to.
func TestEndAudit_PreviousIsOfTheSameSchedule(t *testing.T) {
	w := fleet(t)
	of := func(schedule string) store.Audit {
		t.Helper()
		id := newAudit(t, w.s, observing)
		exec(t, w.db, "UPDATE audits SET schedule_id = $1 WHERE audit_id = $2", schedule, id)
		w.snapshot(t, id, audit.Full)
		w.teams(t, id)
		return w.end(t, id)
	}
	of("other")
	require.Nil(t, of("nightly").Report.Previous)
	canceled := newAudit(t, w.s, observing)
	exec(t, w.db, "UPDATE audits SET schedule_id = 'nightly' WHERE audit_id = $1", canceled)
	_, err := w.s.CancelAudit(t.Context(), canceled, "bob")
	require.NoError(t, err)
	w.end(t, canceled)
	last := of("nightly")
	require.Len(t, last.Report.Trend, 2)
	require.Equal(t, 3, last.Report.Previous.Teams)
}

func TestEndAudit_TrendShowsThirtyAudits(t *testing.T) {
	w := newWorld(t)
	var last store.Audit
	for range 32 {
		last = w.run(t, observing)
	}
	require.Len(t, last.Report.Trend, 30)
}

// orphans are target teams of every sort beside those that teams stand for.
func orphans(t *testing.T) *world {
	t.Helper()
	w := fleet(t)
	w.put("PX", "tmp-x", "ann", "bob")
	w.put("PY", "Old team", "ann", "bob")
	w.declare("twins")
	w.put("PT1", "twins")
	w.put("PT2", "twins")
	w.declare("put away").Archived = true
	w.put("PAR", "put away")
	named := w.declare("named away")
	named.Archived, named.TargetID = true, "PN"
	w.put("PN", "another name")
	w.put("PL", "of a link")
	w.declare("linked", "ann", "bob")
	w.put("PLINK", "linked")
	w.link(t, "linked", "PL")
	w.link(t, "gone", "PG")
	w.put("PG", "vanished")
	return w
}

// open lists what is open of a kind.
func (w *world) open(t *testing.T, kind string) (entities []string) {
	t.Helper()
	list, err := w.s.AuditFindings(t.Context(), store.AuditFindingFilter{Kind: kind, Status: store.FindingOpen, Limit: 100})
	require.NoError(t, err)
	for _, f := range list {
		entities = append(entities, f.EntityRef)
	}
	return entities
}

func TestEndAudit_Orphans_AreTeamsThatNobodyStandsForNorMay(t *testing.T) {
	w := orphans(t)
	w.run(t, observing)
	require.ElementsMatch(t, []string{"target:PX", "target:PY", "target:PLINK"}, w.open(t, audit.OrphanTeam))
	require.ElementsMatch(t, []string{"team:put away", "team:named away"}, w.open(t, "team_archived"))
	require.Equal(t, []string{"team:twins"}, w.open(t, "ambiguous_team"))
	require.Equal(t, []string{"team:gone"}, w.open(t, audit.VanishedTeam))

	ignoring := observing
	ignoring.IgnoreOrphans = []string{"TMP-*", "old ?eam"}
	w.run(t, ignoring)
	require.Equal(t, []string{"target:PLINK"}, w.open(t, audit.OrphanTeam), "what is ignored is resolved")
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM audit_findings WHERE kind = 'orphan_team' AND status = 'resolved' AND team_id = ''"))
	counts := w.run(t, observing).Report.Counts
	require.Equal(t, 2, counts.Reopened)
}

func TestEndAudit_ScopedOrUnlisted_FindsNoOrphansAndResolvesNone(t *testing.T) {
	w := orphans(t)
	w.run(t, observing)
	before := w.open(t, audit.OrphanTeam)
	require.Len(t, before, 3)
	delete(w.target, "PX")
	w.put("PNEW", "new")
	for _, scope := range []audit.Scope{{Include: []string{"*"}}, {Exclude: []string{"zzz"}}, {Include: []string{"a"}}} {
		request := observing
		request.Scope = scope
		a := w.run(t, request)
		require.Equal(t, before, w.open(t, audit.OrphanTeam))
		require.Equal(t, audit.Succeeded, a.Status)
		full, err := w.s.Fleet(t.Context())
		require.NoError(t, err)
		require.True(t, full.FullReadAt.Before(*a.StartedAt), "a part of the fleet is no full read of it")
	}
	w.unlisted = true
	w.run(t, observing)
	require.Equal(t, before, w.open(t, audit.OrphanTeam))
	w.unlisted = false
	w.run(t, observing)
	require.ElementsMatch(t, []string{"target:PNEW", "target:PY", "target:PLINK"}, w.open(t, audit.OrphanTeam))
}

func TestEndAudit_ScopedAudit_CountsItsTeamsOnly(t *testing.T) {
	w := orphans(t)
	w.run(t, observing)
	request := observing
	request.Scope = audit.Scope{Include: []string{"b", "c"}}
	a := w.run(t, request)
	require.Equal(t, notice.AuditCounts{Teams: 2, OutOfSync: 1, Unknown: 1, Open: 4}, a.Report.Counts)
}

func TestEndAudit_TeamsUnread_IsIncompleteAndResolvesNoOrphans(t *testing.T) {
	w := orphans(t)
	w.run(t, observing)
	before := w.open(t, audit.OrphanTeam)
	full, err := w.s.Fleet(t.Context())
	require.NoError(t, err)
	delete(w.target, "PX")
	w.away["PA"], w.away["PB"] = true, true
	a := w.run(t, observing)
	require.Equal(t, audit.Incomplete, a.Status)
	require.Equal(t, 2, a.Report.Counts.Unread)
	require.Equal(t, []notice.AuditUnread{{Reason: "TARGET_AWAY", Message: a.Report.Unread[0].Message, Teams: 2}}, a.Report.Unread)
	require.Contains(t, a.Summary, "2 teams could not be read, what was found of them before stays")
	require.Equal(t, before, w.open(t, audit.OrphanTeam))
	require.Equal(t, ownership.Unknown, w.status(t, "a"))
	require.Len(t, w.open(t, "add_member"), 4, "of b and of linked: what was found before stays")
	again, err := w.s.Fleet(t.Context())
	require.NoError(t, err)
	require.Equal(t, full.FullReadAt, again.FullReadAt, "an incomplete read is no full one")
}

func TestEndAudit_SharedTarget_BothTeamsAreTold_UntilOneLeaves(t *testing.T) {
	w := newWorld(t)
	w.declare("a", "ann", "bob").TargetID = "P1"
	w.declare("b", "ann", "bob").TargetID = "P1"
	w.put("P1", "one", "ann", "bob")
	w.put("P2", "two", "ann", "bob")
	w.run(t, observing)
	require.Len(t, w.open(t, audit.SharedTarget), 2)
	require.Contains(t, w.finding(t, "a", audit.SharedTarget).Message, "also stands for b")

	// An audit that does not see the other team cannot say that it is gone.
	scoped := observing
	scoped.Scope = audit.Scope{Include: []string{"a"}}
	w.run(t, scoped)
	require.Len(t, w.open(t, audit.SharedTarget), 2)
	w.declare("c", "ann", "bob").TargetID = "P2"
	w.declared[1].TargetID = "P2"
	w.away["P2"] = true
	require.Equal(t, audit.Incomplete, w.run(t, observing).Status)
	require.Len(t, w.open(t, audit.SharedTarget), 2)

	w.away["P2"] = false
	w.run(t, observing)
	require.ElementsMatch(t, []string{"target:P2", "target:P2"}, w.open(t, audit.SharedTarget))
	w.withdraw("c")
	w.run(t, observing)
	require.Empty(t, w.open(t, audit.SharedTarget))
}

// A team that is on neither side any more is not wrong any more; one that a link still leads to is.
func TestEndAudit_TeamGoneFromBothSides_ItsFindingsAreResolved(t *testing.T) {
	w := fleet(t)
	w.link(t, "b", "PB")
	w.run(t, observing)
	w.withdraw("b")
	w.withdraw("c")
	scoped := observing
	scoped.Scope = audit.Scope{Include: []string{"a"}}
	w.run(t, scoped)
	require.Len(t, w.open(t, "team_not_found"), 1, "who looks at a part cannot tell")

	a := w.run(t, observing)
	require.Equal(t, []string{"team:b"}, w.open(t, audit.VanishedTeam))
	f := w.finding(t, "c", "team_not_found")
	require.Equal(t, []string{store.FindingResolved, "audit:" + a.AuditID.String()}, []string{f.Status, f.ResolvedBy})
	require.Equal(t, 4, a.Report.Counts.Resolved, "c's, and what was drift of b")

	delete(w.target, "PB") // as the finding asked for
	w.run(t, observing)
	require.Empty(t, w.open(t, audit.VanishedTeam))
	require.Equal(t, 1, w.run(t, observing).Report.Counts.Teams)
}

func TestEndAudit_ArchivedTeam_ConcernsAuditsUntilItsTargetIsTakenDown(t *testing.T) {
	w := fleet(t)
	w.link(t, "b", "PB")
	w.declared[1].Archived = true
	w.run(t, observing)
	require.Equal(t, []string{"team:b"}, w.open(t, "team_archived"))
	delete(w.target, "PB")
	a := w.run(t, observing)
	require.Empty(t, w.open(t, "team_archived"))
	require.Equal(t, 2, a.Report.Counts.Teams)
	w.unlisted = true // nobody knows whether the link still leads somewhere
	w.run(t, observing)
	require.Equal(t, []string{"team:b"}, w.open(t, "team_archived"))
}

func TestEndAudit_SnapshotFailed_EveryKnownTeamInScopeIsUnknown_NothingIsResolved(t *testing.T) {
	w := fleet(t)
	require.NoError(t, w.s.Declare(t.Context(), []ownership.Desired{{TeamID: "put away", Archived: true}, {TeamID: "elsewhere"}}))
	w.run(t, observing)
	before := w.findings(t)
	request := observing
	request.Scope = audit.Scope{Exclude: []string{"else*", "a"}}
	id := newAudit(t, w.s, request)
	j := w.stage(t, id)
	require.NoError(t, j.FailSnapshot(t.Context(), store.Calls{Cortex: 3}, "SOURCE_AWAY", "the source is away"))
	a := w.end(t, id)
	require.Equal(t, []string{audit.Failed, "SOURCE_AWAY", "the source is away"}, []string{a.Status, a.ErrorReason, a.ErrorMessage})
	require.Equal(t, notice.AuditCounts{Teams: 2, Unknown: 2, Unread: 2, Open: 4}, a.Report.Counts)
	require.Equal(t, []notice.AuditUnread{{Reason: "SOURCE_AWAY", Message: "the source is away", Teams: 2}}, a.Report.Unread)
	require.Equal(t, "nothing could be compared, 2 teams are unknown, what was found before stays: the source is away", a.Summary)
	require.Equal(t, 3, a.Report.Calls.Cortex)
	require.Equal(t, before, w.findings(t))
	for team, want := range map[string]ownership.SyncStatus{"a": ownership.InSync, "b": ownership.Unknown, "c": ownership.Unknown} {
		require.Equal(t, want, w.status(t, team), team)
	}
	require.Equal(t, a.Report.Counts, *w.run(t, request).Report.Previous, "a failure is part of the trend")
	require.NotEqual(t, a.Report.Counts, *w.run(t, observing).Report.Previous, "of audits of the same scope")
}

func TestEndAudit_Canceled_TellsNobodyAndResolvesNothing(t *testing.T) {
	w := orphans(t)
	w.run(t, observing)
	before := w.findings(t)
	delete(w.target, "PX")
	id := newAudit(t, w.s, observing)
	w.snapshot(t, id, audit.Full)
	w.handOut(t, id, 2, 2)
	_, err := w.s.CancelAudit(t.Context(), id, "bob")
	require.NoError(t, err)
	ended, err := w.s.EndAudit(t.Context(), id, func(store.Audit, notice.AuditFinished) ([]store.Delivery, error) {
		t.Error("whoever canceled it knows")
		return nil, nil
	})
	require.NoError(t, err)
	require.Equal(t, "canceled by bob after 0 of 8 teams", ended.Summary)
	require.Equal(t, before, w.findings(t))
}

// What is told is queued in the transaction that ends the audit, once.
func TestEndAudit_DeliveriesAreQueuedOnce(t *testing.T) {
	w := fleet(t)
	id := newAudit(t, w.s, observing)
	w.snapshot(t, id, audit.Full)
	w.teams(t, id)
	told := 0
	tell := func(a store.Audit, r notice.AuditFinished) ([]store.Delivery, error) {
		told++
		require.Equal(t, audit.Succeeded, r.Status)
		require.NotEmpty(t, r.Summary)
		payload, err := json.Marshal(r)
		require.NoError(t, err)
		d := store.Delivery{Key: "audit-" + a.AuditID.String(), Medium: "slack", Channel: "C1", Payload: payload}
		return []store.Delivery{d, d}, nil
	}
	tx, err := w.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM audits FOR UPDATE")
	require.NoError(t, err)
	ended, err := w.s.EndAudit(t.Context(), id, tell)
	require.NoError(t, err)
	require.Nil(t, ended, "somebody else is at it")
	require.NoError(t, tx.Rollback(t.Context()))

	before := everything(t, w)
	_, err = w.s.EndAudit(t.Context(), id, func(store.Audit, notice.AuditFinished) ([]store.Delivery, error) { return nil, errAway })
	require.ErrorIs(t, err, errAway)
	require.Equal(t, before, everything(t, w), "an end that cannot be told is none yet")

	for i := range 3 {
		ended, err = w.s.EndAudit(t.Context(), id, tell)
		require.NoError(t, err)
		require.Equal(t, i == 0, ended != nil)
	}
	require.Equal(t, 1, told)
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM deliveries"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM outbox WHERE queue = 'notifications' AND group_id = 'C1'"))
	ended, err = w.s.EndAudit(t.Context(), uuid.New(), tell)
	require.NoError(t, err)
	require.Nil(t, ended)
}

var errAway = errors.New("away")

func TestCountFleet_ByStatusKindAndAge(t *testing.T) {
	w := fleet(t)
	w.run(t, observing)
	exec(t, w.db, "UPDATE audit_findings SET first_seen_at = now() - interval '3 days' WHERE kind = 'remove_member'")
	exec(t, w.db, "UPDATE audit_findings SET status = 'resolved', resolved_at = now() WHERE kind = 'team_not_found'")
	teams, findings, err := w.s.CountFleet(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []store.FleetCount{{Status: "in_sync", N: 1}, {Status: "out_of_sync", N: 1}, {Status: "unknown", N: 1}}, teams)
	require.ElementsMatch(t, []store.FleetCount{
		{Status: "open", Kind: "add_member", Age: "day", N: 2}, {Status: "open", Kind: "remove_member", Age: "week", N: 1},
	}, findings)
}
