package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// bare is a text without its colours.
func bare(text string) string { return ansi.Strip(text) }

// everything are settings of which each differs from what it is when not set.
func everything() *nthlayerv1.ScheduleSettings {
	return &nthlayerv1.ScheduleSettings{
		Cron: "0 2 * * *", TimeZone: "Europe/Berlin", Scope: &nthlayerv1.AuditScope{Include: []string{"pay*"}, Exclude: []string{"*-old"}},
		Mode: "incremental", FullEvery: durationpb.New(3 * 24 * time.Hour), Jitter: durationpb.New(5 * time.Minute), Owner: "sre", AutoReconcile: "enforce",
		Notify: "on_new_findings", SlackChannel: "C0123456789", Emails: []string{"a@example.org", "b@example.org"}, IgnoreOrphans: []string{"Zz, *", "y"},
	}
}

func nightly() *fleet {
	return &fleet{schedules: []*nthlayerv1.Schedule{
		{ScheduleId: "nightly", Settings: everything(), Revision: 7, NextRunAt: at(time.Hour)},
		{ScheduleId: "hourly", Settings: &nthlayerv1.ScheduleSettings{Cron: "@hourly"}, Paused: true, PausedBy: "ada", PauseReason: "migration"},
		{ScheduleId: "weekly"},
	}}
}

var everyFlag = []string{
	"--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--include", "pay*", "--exclude", "*-old", "--mode", "incremental", "--full-every", "3d",
	"--jitter", "5m", "--owner", "sre", "--enforce", "--notify", "on-new-findings", "--slack-channel", "C0123456789",
	"--email", "a@example.org", "--email", "b@example.org", "--ignore-orphans", `"Zz, *",y`,
}

func TestScheduleCreate_EachFlag_IsASetting(t *testing.T) {
	var f fleet
	code, out, errs := f.command(t, append([]string{"audit", "schedule", "create", "nightly"}, everyFlag...)...)
	require.Zero(t, code, errs)
	require.Equal(t, "nightly", f.created.GetScheduleId())
	same(t, everything(), f.created.GetSettings())
	require.Contains(t, bare(out), "nightly  0 2 * * * Europe/Berlin")
	fields := everything().ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		require.True(t, f.created.GetSettings().ProtoReflect().Has(fields.Get(i)), "no flag sets %s", fields.Get(i).Name())
	}

	code, _, errs = f.command(t, "audit", "schedule", "create", "small", "--cron", "@daily")
	require.Zero(t, code, errs)
	same(t, &nthlayerv1.ScheduleSettings{Cron: "@daily"}, f.created.GetSettings())
	code, _, errs = f.command(t, "audit", "schedule", "create", "small")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "cron")
}

func same(t *testing.T, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestScheduleUpdate_ChangesWhatWasGiven_AndNothingElse(t *testing.T) {
	for flag, change := range map[string]func(*nthlayerv1.ScheduleSettings){
		"--cron=@daily":           func(s *nthlayerv1.ScheduleSettings) { s.Cron = "@daily" },
		"--tz=":                   func(s *nthlayerv1.ScheduleSettings) { s.TimeZone = "" },
		"--include=":              func(s *nthlayerv1.ScheduleSettings) { s.Scope.Include = nil },
		"--exclude=a,b":           func(s *nthlayerv1.ScheduleSettings) { s.Scope.Exclude = []string{"a", "b"} },
		"--mode=":                 func(s *nthlayerv1.ScheduleSettings) { s.Mode = "" },
		"--full-every=2w":         func(s *nthlayerv1.ScheduleSettings) { s.FullEvery = durationpb.New(14 * 24 * time.Hour) },
		"--full-every=0s":         func(s *nthlayerv1.ScheduleSettings) { s.FullEvery = nil },
		"--jitter=0s":             func(s *nthlayerv1.ScheduleSettings) { s.Jitter = durationpb.New(0) },
		"--owner=ada":             func(s *nthlayerv1.ScheduleSettings) { s.Owner = "ada" },
		"--observe":               func(s *nthlayerv1.ScheduleSettings) { s.AutoReconcile = "observe" },
		"--enforce=false":         func(s *nthlayerv1.ScheduleSettings) { s.AutoReconcile = "observe" },
		"--enforce":               func(*nthlayerv1.ScheduleSettings) {},
		"--ignore-orphans=":       func(s *nthlayerv1.ScheduleSettings) { s.IgnoreOrphans = nil },
		"--notify=on-change":      func(s *nthlayerv1.ScheduleSettings) { s.Notify = "on_change" },
		"--slack-channel=":        func(s *nthlayerv1.ScheduleSettings) { s.SlackChannel = "" },
		"--email=c@example.org":   func(s *nthlayerv1.ScheduleSettings) { s.Emails = []string{"c@example.org"} },
		"--email=":                func(s *nthlayerv1.ScheduleSettings) { s.Emails = nil },
		"--ignore-orphans=Sales*": func(s *nthlayerv1.ScheduleSettings) { s.IgnoreOrphans = []string{"Sales*"} },
	} {
		f, want := nightly(), everything()
		change(want)
		code, _, errs := f.command(t, "audit", "schedule", "update", "nightly", flag)
		require.Zero(t, code, errs)
		require.Equal(t, int64(7), f.updated.GetRevision(), "of what was read")
		same(t, want, f.updated.GetSettings())
	}
	f := nightly()
	code, _, errs := f.command(t, "audit", "schedule", "update", "weekly", "--include", "x", "--cron", "@daily")
	require.Zero(t, code, errs)
	same(t, &nthlayerv1.ScheduleSettings{Cron: "@daily", Scope: &nthlayerv1.AuditScope{Include: []string{"x"}}}, f.updated.GetSettings())
}

func TestScheduleUpdate_NothingGivenOrSomebodyFaster_ChangesNothing(t *testing.T) {
	f := nightly()
	code, _, errs := f.command(t, "audit", "schedule", "update", "nightly")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "say what to change")
	require.Nil(t, f.updated)
	code, _, _ = f.command(t, "audit", "schedule", "update", "nightly", "--enforce", "--observe")
	require.Equal(t, 1, code)
	require.Nil(t, f.updated)
	f.refuse = fault.New(fault.Conflict, "somebody else changed the schedule; read it again", nil)
	code, _, errs = f.command(t, "audit", "schedule", "update", "nightly", "--owner", "ada")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "somebody else changed the schedule")
}

func TestScheduleDelete_WantsAYes(t *testing.T) {
	f := nightly()
	code, _, errs := f.command(t, "audit", "schedule", "delete", "nightly")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "--yes")
	require.Empty(t, f.deleted)
	code, out, errs := f.command(t, "audit", "schedule", "delete", "nightly", "--yes")
	require.Zero(t, code, errs)
	require.Equal(t, []string{"nightly"}, f.deleted)
	require.Contains(t, out, "its audits stay")
}

func TestScheduleTrigger_SaysWhetherItIsANewAudit(t *testing.T) {
	f := nightly()
	code, out, errs := f.command(t, "audit", "schedule", "trigger", "nightly", "--mode", "full", "--accept-shrunken-source")
	require.Zero(t, code, errs)
	require.Contains(t, out, "accepted as audit "+job)
	require.Equal(t, "full", f.trigger.GetMode())
	require.True(t, f.trigger.GetAcceptShrunkenSource())
	f.running = true
	_, out, _ = f.command(t, "audit", "schedule", "trigger", "nightly")
	require.Contains(t, out, "under way already: audit "+job)
	require.Empty(t, f.trigger.GetMode(), "the schedule's own")
	_, out, _ = f.command(t, "audit", "schedule", "trigger", "nightly", "-o", "json")
	require.JSONEq(t, `{"audit_id": "`+job+`", "already_running": true}`, out)
}

func TestSchedulePauseAndResume_SendTheReason(t *testing.T) {
	f := nightly()
	code, _, errs := f.command(t, "audit", "schedule", "pause", "nightly")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "reason")
	code, out, errs := f.command(t, "audit", "schedule", "pause", "nightly", "--reason", "migration")
	require.Zero(t, code, errs)
	require.Equal(t, "migration", f.paused.GetReason())
	require.Contains(t, out, "nthlayer audit schedule resume nightly")
	code, out, errs = f.command(t, "audit", "schedule", "resume", "nightly")
	require.Zero(t, code, errs)
	require.Contains(t, bare(out), "Sun 2026-03-01 14:00 CET, in 1h")
}

func TestScheduleNext_ShowsTheTimesInTheSchedulesZone(t *testing.T) {
	f := nightly()
	code, out, errs := f.command(t, "audit", "schedule", "next", "nightly", "--count", "3")
	require.Zero(t, code, errs)
	require.Equal(t, strings.TrimPrefix(`
TIME                       IN
Mon 2026-03-02 01:00 CET   12h
Mon 2026-03-02 13:00 CET   1d
Tue 2026-03-03 01:00 CET   1d 12h
`, "\n"), bare(out))
	_, out, _ = f.command(t, "audit", "schedule", "next", "hourly", "--count", "1")
	require.Contains(t, bare(out), "paused by ada: migration")
	require.Contains(t, bare(out), "Mon 2026-03-02 00:00 UTC")
	_, out, _ = f.command(t, "audit", "schedule", "next", "nightly", "-o", "json")
	var next struct{ Times []string }
	require.NoError(t, json.Unmarshal([]byte(out), &next))
	require.Len(t, next.Times, 5)
}

func TestScheduleListGetPreview_ShowWhatThereIs(t *testing.T) {
	f := nightly()
	code, out, errs := f.command(t, "audit", "schedule", "list")
	require.Zero(t, code, errs)
	for _, want := range []string{"nightly", "hourly", "weekly", "in 1h", "paused", "on new findings"} {
		require.Contains(t, bare(out), want, "of both pages")
	}
	_, out, _ = f.command(t, "audit", "schedule", "get", "hourly")
	require.Contains(t, bare(out), "by ada: migration")
	_, out, _ = f.command(t, "audit", "schedule", "preview", "nightly")
	require.Equal(t, "audit "+job+" would be told: something is new\n\nslack to C0123456789\n  2 teams out of sync\n\n  first\n  second[2J\n", bare(out))
	code, _, errs = f.command(t, "audit", "schedule", "get", "other")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "there is nothing like it")
}

func TestTeamAutoReconcile_TakesThreeWords(t *testing.T) {
	for word, want := range map[string]string{"observe": "observe", "enforce": "enforce", "default": ""} {
		var f fleet
		code, out, errs := f.command(t, "team", "auto-reconcile", "storage", word)
		require.Zero(t, code, errs)
		require.Equal(t, "storage", f.mode.GetTeamId())
		require.Equal(t, want, f.mode.GetAutoReconcile())
		require.Equal(t, word != "default", strings.Contains(bare(out), "  audits "), "it is shown with the team")
	}
	for _, args := range [][]string{{"storage"}, {"storage", "always"}, {"storage", ""}} {
		var f fleet
		code, _, errs := f.command(t, append([]string{"team", "auto-reconcile"}, args...)...)
		require.Equal(t, 1, code)
		require.Contains(t, errs, "observe, enforce and default")
		require.Nil(t, f.mode)
	}
}

func TestCompletion_OffersWhatThereIs(t *testing.T) {
	f := nightly()
	f.audits, f.findings = reported().audits, reported().findings
	for want, line := range map[string][]string{
		"nightly\t0 2 * * *":                  {"audit", "schedule", "trigger", ""},
		"hourly\t@hourly":                     {"audit", "report", "--schedule", ""},
		"orphan_team\nsingle_person_team":     {"audit", "finding", "list", "--kind", ""},
		"removal_held":                        {"audit", "finding", "list", "--kind", ""},
		"acknowledged":                        {"audit", "finding", "list", "--status", ""},
		"incomplete":                          {"audit", "list", "--status", ""},
		"incremental":                         {"audit", "start", "--mode", ""},
		"on-new-findings":                     {"audit", "schedule", "update", "nightly", "--notify", ""},
		"markdown":                            {"audit", "report", "-o", ""},
		"audit-1\tsucceeded nightly":          {"audit", "get", ""},
		"finding-1\tstorage: is not declared": {"audit", "finding", "ack", ""},
		"enforce":                             {"team", "auto-reconcile", "storage", ""},
		"storage":                             {"team", "auto-reconcile", ""},
	} {
		code, out, errs := f.command(t, append([]string{"__complete"}, line...)...)
		require.Zero(t, code, errs)
		require.Contains(t, out, want, line)
	}
}
