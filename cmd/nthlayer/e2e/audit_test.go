package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// audit starts an audit and waits for its end.
func (r *rig) audit(request *nthlayerv1.StartAuditRequest) *nthlayerv1.Audit {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	id, err := r.client.StartAudit(ctx, "", request)
	require.NoError(r.t, err)
	return r.auditEnd(ctx, id)
}

func (r *rig) auditEnd(ctx context.Context, id string) *nthlayerv1.Audit {
	r.t.Helper()
	var last *nthlayerv1.Audit
	for a, err := range r.client.WatchAudit(ctx, id) {
		require.NoError(r.t, err)
		last = a
	}
	return last
}

// findings are what audits have found that has this status: kind, team and entity → finding.
func (r *rig) findings(status string) map[string]*nthlayerv1.AuditFinding {
	r.t.Helper()
	found := map[string]*nthlayerv1.AuditFinding{}
	for f, err := range r.client.ListAuditFindings(r.t.Context(), &nthlayerv1.ListAuditFindingsRequest{Status: status, PageSize: 7}) {
		require.NoError(r.t, err)
		found[strings.Join([]string{f.GetKind(), f.GetTeamId(), f.GetEntityRef()}, " ")] = f
	}
	return found
}

// counts are what must come out the same, whatever happens meanwhile.
func counts(a *nthlayerv1.Audit) map[string]int32 {
	c := a.GetCounts()
	all := map[string]int32{
		"teams": c.GetTeams(), "in_sync": c.GetInSync(), "out_of_sync": c.GetOutOfSync(), "unknown": c.GetUnknown(), "unread": c.GetUnread(),
		"open": c.GetOpen(), "new": c.GetNew(), "reopened": c.GetReopened(), "resolved": c.GetResolved(),
	}
	for _, k := range a.GetKinds() {
		all["open "+k.GetKind()] = k.GetOpen()
	}
	return all
}

// Each team of the example is messy in one way, and the audit names it.
func TestAudit_Example_FindsEachMess(t *testing.T) {
	r := start(t, org.Example(), 1)
	a := r.audit(&nthlayerv1.StartAuditRequest{})
	require.Equal(t, "succeeded", a.GetStatus())
	require.Equal(t, "full", a.GetRead())
	person := func(name string) string { return "person:" + name + "@lumen.example" }
	want := []string{
		"add_member lumen-growth " + person("grace.mbeki"), "add_member lumen-growth " + person("kofi.mensah"), "add_member lumen-growth " + person("lena.fischer"),
		"add_member lumen-payments " + person("farid.haddad"), "add_member lumen-payments " + person("grace.mbeki"),
		"add_member lumen-security " + person("daria.nowak"), "add_member lumen-support " + person("goran.babic"),
		"ambiguous_team lumen-web team:lumen-web", "ambiguous_user lumen-data-platform " + person("emil.jensen"),
		"cannot_join lumen-support " + person("marco.bianchi"), "change_role lumen-payments " + person("chiara.romano"),
		"create_team lumen-growth team:lumen-growth", "fixed_role lumen-security " + person("noor.aziz"),
		"missing_email lumen-search person:Wendy Cho", "on_escalation_policy lumen-sre " + person("mei.tanaka"), "on_escalation_policy lumen-sre " + person("viktor.horvat"),
		"remove_member lumen-identity " + person("xavier.dupont"), "remove_member lumen-labs " + person("dmitri.volkov"), "remove_member lumen-labs " + person("elif.demir"),
		"remove_member lumen-labs " + person("rosa.jimenez"), "remove_member lumen-payments " + person("liam.byrne"), "remove_member lumen-sre " + person("nadia.petrova"),
		"removal_held lumen-data-platform " + person("oscar.nilsen"), "removal_held lumen-mobile " + person("quentin.moreau"),
		"removal_held lumen-search " + person("sami.korhonen"), "removal_held lumen-search " + person("wendy.cho"),
		"single_person_team lumen-support team:lumen-support", "team_archived lumen-legacy-billing team:lumen-legacy-billing",
		"update_team lumen-identity team:lumen-identity", "update_team lumen-payments team:lumen-payments", "user_not_found lumen-mobile " + person("yara.haddow"),
	}
	found := r.findings("open")
	orphans := 0
	for key, f := range found {
		if f.GetKind() == "orphan_team" {
			require.Contains(t, f.GetMessage(), `"War room"`)
			orphans++
			delete(found, key)
		}
	}
	require.Equal(t, 1, orphans)
	slices.Sort(want)
	require.Empty(t, cmp.Diff(want, slices.Sorted(maps.Keys(found))))
	require.Zero(t, r.writes(), "an audit changes nothing")
	for _, c := range slices.Concat(r.pagerduty.Control().Calls().Calls, r.cortex.Control().Calls().Calls) {
		require.Equal(t, http.MethodGet, c.Method, c.Path)
	}
	require.Equal(t, "out_of_sync", r.syncStatus("lumen-payments"))
	require.Equal(t, "in_sync", r.syncStatus("lumen-checkout"))
	require.Equal(t, "unknown", r.syncStatus("lumen-web"))

	again := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
	require.Zero(t, again.GetCounts().GetNew()+again.GetCounts().GetReopened()+again.GetCounts().GetResolved(), again.GetSummary())
	require.Equal(t, a.GetCounts().GetOpen(), again.GetCounts().GetOpen())
}

// A quiet night costs the lists and no more; what somebody changed by hand is read, and told with who did it.
func TestAudit_Increment_ReadsWhatChanged(t *testing.T) {
	r := start(t, org.Generate(org.GenerateOptions{Teams: 120, People: 300, Seed: 7, MembersMin: 3, MembersMax: 9}), 2, "NTHLAYER_AUDIT_SETTLE=0s")
	full := r.audit(&nthlayerv1.StartAuditRequest{})
	require.Equal(t, "full", full.GetRead())
	require.EqualValues(t, 120, full.GetCounts().GetInSync(), full.GetSummary())

	r.pagerduty.Control().ClearCalls()
	quiet := r.audit(&nthlayerv1.StartAuditRequest{})
	require.Equal(t, "incremental", quiet.GetRead(), quiet.GetReadReason())
	_, members, _ := r.pages()
	require.Zero(t, members, "nothing has changed")
	require.EqualValues(t, 120, quiet.GetCounts().GetInSync())

	for n := range 3 {
		r.changeOne(n)
	}
	r.pagerduty.Control().ClearCalls()
	after := r.audit(&nthlayerv1.StartAuditRequest{})
	pages, members, records := r.pages()
	require.Equal(t, 3, members)
	require.LessOrEqual(t, pages+members+records, 3+1+pages)
	require.EqualValues(t, 3, after.GetCounts().GetNew())
	for _, f := range r.findings("open") {
		require.Equal(t, "add_member", f.GetKind())
		require.Contains(t, f.GetChangedBy(), "(api_token)", "the records say who did it")
	}

	// The runs that mend it are ours: they have told what they left behind, so the next audit need not look again.
	for tag := range r.drifted() {
		for _, run := range r.reconcile(tag) {
			require.Equal(t, "succeeded", run.GetStatus(), run.GetError())
		}
	}
	for _, f := range r.findings("resolved") {
		require.True(t, strings.HasPrefix(f.GetResolvedBy(), "run:"), f.GetResolvedBy())
	}
	r.pagerduty.Control().ClearCalls()
	mended := r.audit(&nthlayerv1.StartAuditRequest{})
	_, members, _ = r.pages()
	require.LessOrEqual(t, members, 3, "only what somebody else changed in the second before")
	require.EqualValues(t, 120, mended.GetCounts().GetInSync(), mended.GetSummary())
	require.EqualValues(t, 3, mended.GetCounts().GetResolved())

	missed := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
	require.Zero(t, missed.GetCounts().GetMissed())
}

// drifted lists the teams that are out of sync.
func (r *rig) drifted() map[string]bool {
	r.t.Helper()
	teams := map[string]bool{}
	for team, err := range r.client.ListTeams(r.t.Context(), &nthlayerv1.ListTeamsRequest{SyncStatus: "out_of_sync"}) {
		require.NoError(r.t, err)
		teams[team.GetTeamId()] = true
	}
	return teams
}

// What increments cannot know comes to light in the next full read, and is told as such. An account without records gets
// full reads alone, and says why.
func TestAudit_RecordsLeaveSomethingOut_FullReadSaysSo(t *testing.T) {
	r := start(t, org.Generate(org.GenerateOptions{Teams: 40, People: 90, Seed: 3, MembersMin: 3, MembersMax: 6}), 1, "NTHLAYER_AUDIT_SETTLE=0s")
	r.audit(&nthlayerv1.StartAuditRequest{})
	r.changeOne(0)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{ // as if it had not been recorded
		Match: "GET /audit/records", Times: 1, Status: 200, Body: []byte(`{"records":[],"next_cursor":null,"limit":100}`),
	}))
	quiet := r.audit(&nthlayerv1.StartAuditRequest{})
	require.Equal(t, "incremental", quiet.GetRead())
	require.Zero(t, quiet.GetCounts().GetNew())
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{
		Match: "GET /audit/records", Times: 1, Status: 200, Body: []byte(`{"records":[],"next_cursor":null,"limit":100}`),
	}))
	full := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
	require.EqualValues(t, 1, full.GetCounts().GetMissed())
	require.EqualValues(t, 1, full.GetCounts().GetNew())
	require.Contains(t, full.GetSummary(), "without a record")

	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /audit/records", Status: 402}))
	none := r.audit(&nthlayerv1.StartAuditRequest{})
	require.Equal(t, "full", none.GetRead())
	require.Contains(t, none.GetReadReason(), "no audit records")
}

// Whatever is killed in the middle of an audit, it ends, and what it counts is what an undisturbed one counts.
func TestAudit_KilledAnywhere_TotalsAreTheSame(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 300, People: 500, Seed: 11, MembersMin: 2, MembersMax: 8, Drifted: 60, Orphans: 4, Policies: 0.3})
	undisturbed := start(t, o, 2)
	want := counts(undisturbed.audit(&nthlayerv1.StartAuditRequest{}))

	r := start(t, o, 2, "NTHLAYER_AUDIT_CONCURRENCY=2")
	r.pagerduty.Control().SetLimits(control.Limits{LatencyMS: 10})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	id, err := r.client.StartAudit(ctx, "", &nthlayerv1.StartAuditRequest{})
	require.NoError(t, err)
	victims := []string{"reconcile-worker", "audit-scheduler", "reconcile-worker-2"}
	kills, last := 0, int32(-1)
	var ended *nthlayerv1.Audit
	for a, err := range r.client.WatchAudit(ctx, id) {
		require.NoError(t, err)
		ended = a
		// Every time it has gone on, one of those who work on it dies.
		if done := a.GetProgress().GetTeamsDone(); done != last && kills < 9 && a.GetStatus() == "running" {
			last = done
			require.NoError(t, r.system.Service(victims[kills%len(victims)]).Signal(syscall.SIGKILL))
			kills++
		}
	}
	require.GreaterOrEqual(t, kills, 5, "too few died for this to prove anything")
	require.Equal(t, "succeeded", ended.GetStatus(), ended.GetSummary())
	require.Empty(t, cmp.Diff(want, counts(ended)))
	require.Equal(t, slices.Sorted(maps.Keys(undisturbed.findings("open"))), slices.Sorted(maps.Keys(r.findings("open"))))
	require.Zero(t, r.writes())
}

// A platform that is away makes teams unknown, and nothing else: what was found before stays.
func TestAudit_PlatformAway_TeamsAreUnknownAndFindingsStay(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 50, People: 120, Seed: 5, MembersMin: 2, MembersMax: 6, Drifted: 20})
	for name, platform := range map[string]struct {
		fault  control.Fault
		at     func(*rig) *control.Control
		status string
	}{
		"Cortex from the beginning": {control.Fault{Match: "* *", Status: 503}, func(r *rig) *control.Control { return r.cortex.Control() }, "failed"},
		"Cortex declares nobody any more": {
			control.Fault{Match: "GET /api/v1/catalog", Status: 200, Body: []byte(`{"entities":[],"total":0,"page":0,"totalPages":0}`)},
			func(r *rig) *control.Control { return r.cortex.Control() }, "failed",
		},
		"PagerDuty from the beginning": {control.Fault{Match: "* *", Status: 503}, func(r *rig) *control.Control { return r.pagerduty.Control() }, "failed"},
		"PagerDuty in the middle":      {control.Fault{Match: "GET /teams/*/members", Status: 503}, func(r *rig) *control.Control { return r.pagerduty.Control() }, "incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting for a breaker
			r := start(t, o, 1, "NTHLAYER_AUDIT_PATIENCE=2s", "NTHLAYER_CATALOGUE_EVERY=1h")
			before := r.audit(&nthlayerv1.StartAuditRequest{})
			require.Equal(t, "succeeded", before.GetStatus(), before.GetSummary())
			found := r.findings("open")
			require.NotEmpty(t, found)

			require.NoError(t, platform.at(r).Inject(platform.fault))
			away := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
			require.Equal(t, platform.status, away.GetStatus(), away.GetSummary())
			require.Positive(t, away.GetCounts().GetUnread())
			require.Zero(t, away.GetCounts().GetResolved())
			require.Contains(t, away.GetSummary(), "stays")
			require.NotEmpty(t, away.GetUnread()[0].GetReason())
			require.Equal(t, slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(r.findings("open"))))
			require.Equal(t, "unknown", r.syncStatus(o.Teams[0].Tag))
			require.Zero(t, r.writes())

			platform.at(r).ClearFaults()
			back := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
			require.Equal(t, "succeeded", back.GetStatus(), back.GetSummary())
			require.Equal(t, before.GetCounts().GetOpen(), back.GetCounts().GetOpen())
			require.Equal(t, before.GetCounts().GetInSync(), back.GetCounts().GetInSync())
			require.Zero(t, back.GetCounts().GetNew()+back.GetCounts().GetReopened())
		})
	}
}

// An audit that enforces asks for runs, which mend what it found; a team that says otherwise is left alone.
func TestAudit_Enforce_RunsMendWhatWasFound(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 60, People: 150, Seed: 9, MembersMin: 5, MembersMax: 9, Drifted: 12})
	r := start(t, o, 2)
	seen := r.audit(&nthlayerv1.StartAuditRequest{})
	drifted := slices.Sorted(maps.Keys(r.drifted()))
	require.Len(t, drifted, int(seen.GetCounts().GetOutOfSync()))
	left := drifted[0]
	_, err := r.client.Teams.SetTeamAutoReconcile(t.Context(), &nthlayerv1.SetTeamAutoReconcileRequest{TeamId: left, AutoReconcile: "observe"})
	require.NoError(t, err)

	a := r.audit(&nthlayerv1.StartAuditRequest{AutoReconcile: "enforce"})
	require.EqualValues(t, len(drifted)-1, a.GetRunsStarted())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for run, err := range r.client.ListRuns(ctx, &nthlayerv1.ListRunsRequest{}) {
		require.NoError(t, err)
		ended, err := r.settled(ctx, run.GetJobId())
		require.NoError(t, err)
		require.NotEqual(t, left, run.GetTeamId())
		require.Contains(t, []string{"succeeded", "failed", "awaiting_approval"}, ended.GetStatus())
		if ended.GetStatus() == "failed" { // the guards have a say in what an audit asks for
			require.Equal(t, "PLAN_DENIED", ended.GetError().GetReason())
		}
	}
	after := r.audit(&nthlayerv1.StartAuditRequest{Mode: "full"})
	require.Less(t, after.GetCounts().GetOutOfSync(), seen.GetCounts().GetOutOfSync())
	require.Contains(t, r.drifted(), left)
	require.Positive(t, after.GetCounts().GetResolved())
	require.Equal(t, fmt.Sprint(after.GetCounts().GetOutOfSync()), fmt.Sprint(len(r.drifted())))
}

// A schedule's audit is told once to each, with the details in the thread; one that found nothing new is told to nobody
// whose rule says so.
func TestAudit_Scheduled_IsToldOnceToEach(t *testing.T) {
	r := start(t, org.Generate(org.GenerateOptions{Teams: 30, People: 80, Seed: 2, MembersMin: 3, MembersMax: 6, Drifted: 6}), 1)
	ctx := t.Context()
	_, err := r.client.Schedules.CreateSchedule(ctx, &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: &nthlayerv1.ScheduleSettings{
		Cron: "0 3 * * *", TimeZone: "Europe/Berlin", Notify: "on_change", SlackChannel: "C0AUDITSNTH", Emails: []string{"sre@example.org", "cto@example.org"},
	}})
	require.NoError(t, err)
	trigger := func() *nthlayerv1.Audit {
		triggered, err := r.client.Schedules.TriggerSchedule(ctx, &nthlayerv1.TriggerScheduleRequest{ScheduleId: "nightly"})
		require.NoError(t, err)
		return r.auditEnd(ctx, triggered.GetAuditId())
	}
	first := trigger()
	require.Equal(t, "succeeded", first.GetStatus())
	require.Equal(t, 3, r.delivered(first.GetAuditId()))
	second := trigger()
	require.Zero(t, second.GetCounts().GetNew())
	preview, err := r.client.Schedules.PreviewSchedule(ctx, &nthlayerv1.PreviewScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.False(t, preview.GetWouldTell(), preview.GetWhy())
	require.Len(t, preview.GetNotices(), 3)
	r.changeOne(0)
	third := trigger()
	require.Positive(t, third.GetCounts().GetNew())
	require.Equal(t, 3, r.delivered(third.GetAuditId()))
	require.Zero(t, r.delivered(second.GetAuditId()))

	var said struct {
		Messages []struct {
			Channel  string
			ThreadTS string `json:"thread_ts"`
			Text     string
		}
	}
	r.state(r.slack, &said)
	messages, replies := 0, 0
	for _, m := range said.Messages {
		require.Equal(t, "C0AUDITSNTH", m.Channel)
		if m.ThreadTS == "" {
			messages++
			require.Contains(t, m.Text, "nightly")
		} else {
			replies++
		}
	}
	require.Equal(t, 2, messages, "one message an audit")
	require.GreaterOrEqual(t, replies, 2, "with the details in its thread")
}

// delivered counts the deliveries of an audit, when none is pending any more.
func (r *rig) delivered(auditID string) int {
	r.t.Helper()
	n := 0
	require.Eventually(r.t, func() bool {
		n = 0
		for d, err := range r.client.ListDeliveries(r.t.Context(), &nthlayerv1.ListDeliveriesRequest{JobId: auditID}) {
			if err != nil || d.GetStatus() != "delivered" {
				return false
			}
			n++
		}
		return true
	}, time.Minute, 20*time.Millisecond)
	return n
}
