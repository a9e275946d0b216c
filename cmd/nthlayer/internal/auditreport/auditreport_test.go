package auditreport_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/auditreport"
	"github.com/nthlayer/nthlayer/pkg/notice"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

var start = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func at(minutes int) *timestamppb.Timestamp {
	return timestamppb.New(start.Add(time.Duration(minutes) * time.Minute))
}

// anAudit was created in minute 0, was begun in minute 1 and ended in minute 10.
func anAudit() *nthlayerv1.Audit {
	return &nthlayerv1.Audit{
		AuditId: "a2", ScheduleId: "nightly", Status: "incomplete", RequestedBy: "schedule", Summary: "3 teams", Read: "full", ReadReason: "it was asked for",
		CreatedAt: at(0), StartedAt: at(1), FinishedAt: at(10), RunsStarted: 2,
		Progress: &nthlayerv1.AuditProgress{CortexCalls: 3, PagerdutyCalls: 9},
		Counts: &nthlayerv1.AuditCounts{
			Teams: 10, InSync: 1, OutOfSync: 2, Unknown: 3, Unread: 4, Open: 5, Acknowledged: 6, New: 7, Reopened: 8, Resolved: 9, Missed: 11, Ignored: 12,
		},
		Previous: &nthlayerv1.AuditCounts{Teams: 12},
		Kinds:    []*nthlayerv1.AuditKindCount{{Kind: "add_member", Open: 1, Acknowledged: 2, New: 3, Resolved: 4}},
		TopTeams: []*nthlayerv1.AuditTeamCount{{TeamId: "storage", Name: "Storage", Open: 5}},
		Unread:   []*nthlayerv1.AuditUnread{{Reason: "PAGERDUTY_UNAVAILABLE", Message: "away", Teams: 4}},
		Error:    &nthlayerv1.RunError{Reason: "X", Message: "why"},
		IgnoreRules: []*nthlayerv1.AuditIgnoreRule{{Ignored: 12, Rule: &nthlayerv1.IgnoreRule{
			RuleId: "r", TeamId: "labs", Kind: "role", Value: "observer", Reason: "by hand", Owner: "sre", ExpiresAt: at(20),
		}}},
	}
}

func TestMake_Audit_IsTheNoticeOfIt(t *testing.T) {
	before := []*nthlayerv1.Audit{
		{AuditId: "a1", FinishedAt: at(-10), Counts: &nthlayerv1.AuditCounts{InSync: 4, OutOfSync: 3, Unknown: 2, Open: 1}},
		{AuditId: "a0", FinishedAt: at(-20)},
	}
	got := auditreport.Make(anAudit(), before, nil).Audit
	require.Equal(t, notice.AuditFinished{
		AuditID: "a2", ScheduleID: "nightly", RequestedBy: "schedule", Status: "incomplete", Summary: "3 teams", Read: "full", ReadReason: "it was asked for",
		StartedAt: at(1).AsTime(), FinishedAt: at(10).AsTime(),
		Counts: notice.AuditCounts{
			Teams: 10, InSync: 1, OutOfSync: 2, Unknown: 3, Unread: 4, Open: 5, Acknowledged: 6, New: 7, Reopened: 8, Resolved: 9, Missed: 11, Ignored: 12,
		},
		Previous: &notice.AuditCounts{Teams: 12},
		Calls:    notice.AuditCalls{Cortex: 3, PagerDuty: 9},
		Kinds:    []notice.AuditKind{{Kind: "add_member", Open: 1, Acknowledged: 2, New: 3, Resolved: 4}},
		TopTeams: []notice.AuditTeam{{TeamID: "storage", Name: "Storage", Open: 5}},
		Unread:   []notice.AuditUnread{{Reason: "PAGERDUTY_UNAVAILABLE", Message: "away", Teams: 4}},
		IgnoreRules: []notice.AuditRule{{
			RuleID: "r", TeamID: "labs", Kind: "role", Value: "observer", Reason: "by hand", Owner: "sre", Until: at(20).AsTime(), Ignored: 12,
		}},
		Trend: []notice.AuditPoint{
			{At: at(-20).AsTime()},
			{At: at(-10).AsTime(), InSync: 4, OutOfSync: 3, Unknown: 2, Open: 1},
			{At: at(10).AsTime(), InSync: 1, OutOfSync: 2, Unknown: 3, Open: 5},
		},
		RunsStarted: 2, ErrorReason: "X", ErrorMessage: "why",
	}, got)
	for i, filled := 0, reflect.ValueOf(got); i < filled.NumField(); i++ {
		switch name := filled.Type().Field(i).Name; name {
		case "New", "Resolved": // of findings: the next test
		case "URL": // the API does not say
		default:
			require.False(t, filled.Field(i).IsZero(), "%s is left out", name)
		}
	}
}

func TestMake_CanceledBeforeItBegan_StartsWhenItWasAskedFor(t *testing.T) {
	got := auditreport.Make(&nthlayerv1.Audit{Status: "canceled", CreatedAt: at(0), FinishedAt: at(1)}, nil, nil).Audit
	require.Equal(t, at(0).AsTime(), got.StartedAt)
	require.Nil(t, got.Previous)
	require.Len(t, got.Trend, 1)
}

func TestMake_Findings_AreThoseOfTheEndOfTheAudit(t *testing.T) {
	finding := func(change func(*nthlayerv1.AuditFinding)) *nthlayerv1.AuditFinding {
		f := &nthlayerv1.AuditFinding{FindingId: "f", TeamId: "storage", Status: "open", FirstSeenAt: at(-100), FirstAuditId: "a0", LastAuditId: "a2"}
		change(f)
		return f
	}
	for name, tc := range map[string]struct {
		finding              *nthlayerv1.AuditFinding
		stood, fresh, solved bool
	}{
		"stands since long":         {finding(func(*nthlayerv1.AuditFinding) {}), true, false, false},
		"somebody knows of it":      {finding(func(f *nthlayerv1.AuditFinding) { f.Status = "acknowledged" }), true, false, false},
		"seen first":                {finding(func(f *nthlayerv1.AuditFinding) { f.FirstAuditId, f.FirstSeenAt = "a2", at(5) }), true, true, false},
		"seen first as it ended":    {finding(func(f *nthlayerv1.AuditFinding) { f.FirstAuditId, f.FirstSeenAt = "a2", at(11) }), true, true, false},
		"seen later":                {finding(func(f *nthlayerv1.AuditFinding) { f.FirstAuditId, f.FirstSeenAt = "a3", at(20) }), false, false, false},
		"came back":                 {finding(func(f *nthlayerv1.AuditFinding) { f.Reopened, f.ReopenedAt = 1, at(5) }), true, true, false},
		"came back long ago":        {finding(func(f *nthlayerv1.AuditFinding) { f.Reopened, f.ReopenedAt = 1, at(-50) }), true, false, false},
		"came back later":           {finding(func(f *nthlayerv1.AuditFinding) { f.Reopened, f.ReopenedAt = 1, at(20) }), false, false, false},
		"seen gone":                 {finding(func(f *nthlayerv1.AuditFinding) { f.Status, f.ResolvedAt = "resolved", at(10) }), false, false, true},
		"mended since the one then": {finding(func(f *nthlayerv1.AuditFinding) { f.Status, f.ResolvedAt = "resolved", at(-5) }), false, false, true},
		"gone before":               {finding(func(f *nthlayerv1.AuditFinding) { f.Status, f.ResolvedAt = "resolved", at(-10) }), false, false, false},
		"mended later":              {finding(func(f *nthlayerv1.AuditFinding) { f.Status, f.ResolvedAt = "resolved", at(11) }), true, false, false},
		"out of scope":              {finding(func(f *nthlayerv1.AuditFinding) { f.TeamId = "storage-old" }), false, false, false},
		"of no team":                {finding(func(f *nthlayerv1.AuditFinding) { f.TeamId = "" }), false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := anAudit()
			a.Scope = &nthlayerv1.AuditScope{Include: []string{"stor*"}, Exclude: []string{"*-old"}}
			r := auditreport.Make(a, []*nthlayerv1.Audit{{FinishedAt: at(-10)}}, []*nthlayerv1.AuditFinding{tc.finding})
			require.Equal(t, tc.stood, len(r.Findings) == 1)
			require.Equal(t, tc.fresh, len(r.Audit.New) == 1)
			require.Equal(t, tc.solved, len(r.Audit.Resolved) == 1)
		})
	}
	r := auditreport.Make(anAudit(), nil, []*nthlayerv1.AuditFinding{finding(func(f *nthlayerv1.AuditFinding) { f.TeamId = "" })})
	require.Len(t, r.Findings, 1, "an audit that leaves nothing out has also what concerns no team")
}

func TestMake_Finding_IsTheItemOfIt_InOrder(t *testing.T) {
	r := auditreport.Make(anAudit(), nil, []*nthlayerv1.AuditFinding{
		{TeamId: "b", FirstSeenAt: at(-1)},
		{
			FindingId: "f1", TeamId: "a", Kind: "remove_member", Category: "drift", EntityRef: "person:ada@example.org", Message: "is not declared",
			Status: "acknowledged", FirstSeenAt: at(-60), Reopened: 2, ChangedBy: "ben",
		},
	})
	require.Equal(t, []notice.AuditItem{
		{
			FindingID: "f1", TeamID: "a", Kind: "remove_member", Category: "drift", Entity: "person:ada@example.org", Message: "is not declared",
			Status: "acknowledged", Since: at(-60).AsTime(), Returned: true, ChangedBy: "ben",
		},
		{TeamID: "b", Since: at(-1).AsTime()},
	}, r.Findings)
}

func TestCounts_CanceledAudits_AreNoPartOfATrend(t *testing.T) {
	for status, want := range map[string]bool{"queued": false, "running": false, "succeeded": true, "incomplete": true, "failed": true, "canceled": false} {
		require.Equal(t, want, auditreport.Counts(&nthlayerv1.Audit{Status: status}), status)
	}
}
