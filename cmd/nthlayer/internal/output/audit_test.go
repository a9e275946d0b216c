package output_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const id = "0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e"

func anAudit() *nthlayerv1.Audit {
	return &nthlayerv1.Audit{
		AuditId: id, ScheduleId: "nightly", Status: "incomplete", Mode: "auto", Read: "full", ReadReason: "the last full read is 8 days old",
		CreatedAt: ago(2 * time.Hour), StartedAt: ago(2 * time.Hour), FinishedAt: ago(117 * time.Minute), AutoReconcile: "enforce", RunsStarted: 1,
		Scope:    &nthlayerv1.AuditScope{Include: []string{"pay*", "stor*"}, Exclude: []string{"*-old"}},
		Progress: &nthlayerv1.AuditProgress{Phase: "ended", TeamsTotal: 40, TeamsDone: 40, ReadsTotal: 38, ReadsDone: 36, CortexCalls: 3, PagerdutyCalls: 44},
		Counts:   &nthlayerv1.AuditCounts{Teams: 40, InSync: 36, OutOfSync: 2, Unknown: 2, Unread: 2, Open: 3, Acknowledged: 1, New: 2, Reopened: 1, Resolved: 4},
		Previous: &nthlayerv1.AuditCounts{Teams: 39, InSync: 35, OutOfSync: 4, Open: 6},
		Kinds:    []*nthlayerv1.AuditKindCount{{Kind: "remove_member", Open: 2, New: 2, Resolved: 4}, {Kind: "single_person_team", Open: 1, Acknowledged: 1}},
		TopTeams: []*nthlayerv1.AuditTeamCount{{TeamId: "storage", Name: "Storage", Open: 2}, {TeamId: "payments", Open: 1}},
		Unread:   []*nthlayerv1.AuditUnread{{Reason: "PAGERDUTY_UNAVAILABLE", Message: "PagerDuty does\nnot answer", Teams: 2}},
		Summary:  "40 teams: 36 in sync, 2 out of sync, 2 unknown",
	}
}

// ended is an audit in which a rule hid something.
func ended() *nthlayerv1.Audit {
	return &nthlayerv1.Audit{
		AuditId: id, RequestedBy: "ada", Status: "succeeded", CreatedAt: ago(time.Hour), StartedAt: ago(time.Hour), FinishedAt: ago(59 * time.Minute),
		Counts: &nthlayerv1.AuditCounts{Teams: 1, InSync: 1, Ignored: 2}, Summary: "1 team: 1 in sync; 2 differences ignored",
		IgnoreRules: []*nthlayerv1.AuditIgnoreRule{{Ignored: 2, Rule: &nthlayerv1.IgnoreRule{
			RuleId: id, Kind: "role", Value: "observer", Reason: "kept\nby hand", Owner: "sre@example.org", ExpiresAt: ago(-24 * time.Hour),
		}}},
	}
}

func aFinding() *nthlayerv1.AuditFinding {
	return &nthlayerv1.AuditFinding{
		FindingId: id, TeamId: "storage", Kind: "remove_member", Category: "drift", EntityRef: "person:ada@example.org", Status: "resolved",
		Message:     "ada@example.org is manager on the target and is not\x1b[2J declared",
		FirstSeenAt: ago(72 * time.Hour), FirstAuditId: "0198a", LastSeenAt: ago(2 * time.Hour), LastAuditId: "0198b", Reopened: 1, ReopenedAt: ago(26 * time.Hour),
		ResolvedAt: ago(time.Hour), ResolvedBy: "run:0198c", ChangedBy: "Ben by the web console", ChangedAt: ago(80 * time.Hour),
	}
}

func TestShowAudits_WritesWhatPeopleRead(t *testing.T) {
	underWay := &nthlayerv1.Audit{
		AuditId: id, Status: "running", RequestedBy: "ada", Mode: "full", CreatedAt: ago(time.Minute), StartedAt: ago(time.Minute),
		Progress: &nthlayerv1.AuditProgress{Phase: "teams", TeamsTotal: 40, TeamsDone: 10},
	}
	queued := &nthlayerv1.Audit{AuditId: id, Status: "queued", RequestedBy: "ada", CreatedAt: ago(time.Second)}
	failed := &nthlayerv1.Audit{
		AuditId: id, Status: "failed", RequestedBy: "ada", CreatedAt: ago(time.Minute), Counts: &nthlayerv1.AuditCounts{Teams: 1, Unknown: 1, Unread: 1},
		Error: &nthlayerv1.RunError{Message: "Cortex is away"},
	}
	ignored := ended()
	for name, show := range map[string]func(*bytes.Buffer) error{
		"audit_ignored": func(b *bytes.Buffer) error { return output.ShowAudit(b, now, ignored) },
		"audits": func(b *bytes.Buffer) error {
			return output.ShowAudits(b, now, []*nthlayerv1.Audit{queued, underWay, anAudit()})
		},
		"no_audits":     func(b *bytes.Buffer) error { return output.ShowAudits(b, now, nil) },
		"audit":         func(b *bytes.Buffer) error { return output.ShowAudit(b, now, anAudit()) },
		"audit_running": func(b *bytes.Buffer) error { return output.ShowAudit(b, now, underWay) },
		"audit_queued":  func(b *bytes.Buffer) error { return output.ShowAudit(b, now, queued) },
		"audit_failed":  func(b *bytes.Buffer) error { return output.ShowAudit(b, now, failed) },
		"audit_outcome": func(b *bytes.Buffer) error { return output.ShowAuditOutcome(b, anAudit()) },
		"audit_finding": func(b *bytes.Buffer) error { return output.ShowAuditFinding(b, now, aFinding()) },
		"audit_findings": func(b *bytes.Buffer) error {
			return output.ShowAuditFindings(b, now, []*nthlayerv1.AuditFinding{aFinding(), {Kind: "orphan_team", Status: "open"}})
		},
		"no_findings": func(b *bytes.Buffer) error { return output.ShowAuditFindings(b, now, nil) },
		"team_enforced": func(b *bytes.Buffer) error {
			return output.ShowTeam(b, now, &nthlayerv1.Team{TeamId: "storage", SyncStatus: "in_sync", AutoReconcile: "enforce"})
		},
		"team_observed": func(b *bytes.Buffer) error {
			return output.ShowTeam(b, now, &nthlayerv1.Team{TeamId: "storage", SyncStatus: "in_sync", AutoReconcile: "observe"})
		},
	} {
		t.Run(name, func(t *testing.T) { goldenText(t, name, show) })
	}
}

func TestShowAudit_Times_AreThoseOfThisMachine(t *testing.T) {
	end := now.Add(90 * time.Minute)
	var b bytes.Buffer
	require.NoError(t, output.ShowAudit(&b, now, &nthlayerv1.Audit{Progress: &nthlayerv1.AuditProgress{DoneBy: timestamppb.New(end)}}))
	require.NoError(t, output.ShowAuditFinding(&b, now, &nthlayerv1.AuditFinding{
		AcknowledgedUntil: timestamppb.New(end.Add(time.Hour)), AcknowledgedBy: "ada", AcknowledgeReason: "leaves in June",
	}))
	require.Contains(t, b.String(), end.Local().Format(time.DateTime))
	require.Contains(t, b.String(), "until "+end.Add(time.Hour).Local().Format(time.DateTime)+" by ada: leaves in June")
}

func TestShowSchedules_WritesWhatPeopleRead(t *testing.T) {
	full := &nthlayerv1.Schedule{
		ScheduleId: "nightly", Revision: 7, NextRunAt: ago(-13 * time.Hour), LastTickAt: ago(11 * time.Hour), LastAuditId: id, SkippedTicks: 2,
		UpdatedAt: ago(72 * time.Hour), UpdatedBy: "ada", CreatedBy: "ben",
		Settings: &nthlayerv1.ScheduleSettings{
			Cron: "0 2 * * *", TimeZone: "Europe/Berlin", Scope: &nthlayerv1.AuditScope{Exclude: []string{"*-old"}}, Jitter: durationpb.New(5 * time.Minute),
			FullEvery: durationpb.New(36 * time.Hour), Owner: "sre", AutoReconcile: "enforce", Notify: "on_change", SlackChannel: "C0123456789",
			Emails: []string{"a@example.org", "b@example.org"}, IgnoreOrphans: []string{"Sales*"},
		},
	}
	small := &nthlayerv1.Schedule{
		ScheduleId: "small", Revision: 1, Paused: true, PausedBy: "ada", PauseReason: "migration", CreatedBy: "ben", UpdatedAt: ago(time.Minute),
		Settings: &nthlayerv1.ScheduleSettings{Cron: "@daily"},
	}
	preview := &nthlayerv1.PreviewScheduleResponse{AuditId: id, Why: "nothing has changed since the audit before"}
	for name, show := range map[string]func(*bytes.Buffer) error{
		"schedules":       func(b *bytes.Buffer) error { return output.ShowSchedules(b, now, []*nthlayerv1.Schedule{full, small}) },
		"no_schedules":    func(b *bytes.Buffer) error { return output.ShowSchedules(b, now, nil) },
		"schedule":        func(b *bytes.Buffer) error { return output.ShowSchedule(b, now, full) },
		"schedule_paused": func(b *bytes.Buffer) error { return output.ShowSchedule(b, now, small) },
		"no_next_runs":    func(b *bytes.Buffer) error { return output.ShowNextRuns(b, now, small, nil) },
		"preview_silent":  func(b *bytes.Buffer) error { return output.ShowPreview(b, preview) },
	} {
		t.Run(name, func(t *testing.T) { goldenText(t, name, show) })
	}
}

func TestZone_UnknownHere_IsUTC(t *testing.T) {
	require.Equal(t, time.UTC, output.Zone("Mars/Olympus_Mons"))
	require.Equal(t, "Europe/Berlin", output.Zone("Europe/Berlin").String())
}

func TestSpan_NamesTheTwoLargestUnits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "1d 12h": 36 * time.Hour, "1d": 24*time.Hour + time.Minute, "2h 5m": 2*time.Hour + 5*time.Minute + time.Second,
		"1m 1s": 61 * time.Second, "59s": 59 * time.Second, "500ms": 500 * time.Millisecond, "0s": 0,
	} {
		require.Equal(t, want, output.Span(d))
	}
}
