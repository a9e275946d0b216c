package output_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/<name>.txt; `go test -update` writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), string(got)))
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }

func object(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	require.NoError(t, err)
	return s
}

func aPlan(t *testing.T) *nthlayerv1.Plan {
	member := func(email, role string) *structpb.Struct {
		return object(t, map[string]any{"email": email, "role": role})
	}
	return &nthlayerv1.Plan{
		TeamId: "storage", TeamName: "Storage", TargetTeamId: "PT4KHLK", SyncStatus: "out_of_sync", Unchanged: 12,
		Changes: []*nthlayerv1.Change{
			{Kind: "update_team", EntityRef: "team:storage",
				Before: object(t, map[string]any{"name": "storage"}), After: object(t, map[string]any{"name": "Storage"})},
			{Kind: "add_member", EntityRef: "person:ada@example.org", After: member("ada@example.org", "manager")},
			{Kind: "change_role", EntityRef: "person:benjamin@example.org",
				Before: member("benjamin@example.org", "observer"), After: member("benjamin@example.org", "responder")},
			{Kind: "remove_member", EntityRef: "person:cleo@example.org", Before: member("cleo@example.org", "responder")},
		},
		Issues: []*nthlayerv1.Issue{
			{Kind: "user_not_found", EntityRef: "person:dee@example.org", Message: "has no PagerDuty account; invite them", BlocksRemovals: true},
		},
		Decision: &nthlayerv1.Decision{Verdict: "require_approval", Reasons: []string{"1 of 13 members would leave"}},
	}
}

func aRun(t *testing.T) *nthlayerv1.Run {
	return &nthlayerv1.Run{
		JobId: "0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e", Type: "team.reconcile", TeamId: "storage", Status: "succeeded",
		RequestedBy: "ada", CreatedAt: ago(2 * time.Minute), StartedAt: ago(119 * time.Second), FinishedAt: ago(117500 * time.Millisecond),
		Summary: "1 change applied",
		Steps: []*nthlayerv1.Step{
			{Name: "fetch_source", Status: "succeeded", StartedAt: ago(119 * time.Second), FinishedAt: ago(118900 * time.Millisecond), Attempts: 1},
			{Name: "apply", Status: "failed", StartedAt: ago(118 * time.Second), FinishedAt: ago(117 * time.Second), Attempts: 2, Error: "PagerDuty is away"},
			{Name: "verify", Status: "pending"},
		},
		Findings: []*nthlayerv1.Finding{{
			Seq: 7, TeamId: "storage", EntityRef: "person:ada@example.org", Action: "add_member", Outcome: "applied", Actor: "ada",
			After:      object(t, map[string]any{"role": "manager"}),
			ApiCalls:   []*nthlayerv1.ApiCall{{Method: "PUT", Path: "/teams/PT4KHLK/users/PU1", Status: 204}},
			RecordedAt: ago(time.Minute),
		}},
	}
}

func TestShow_WritesWhatPeopleRead(t *testing.T) {
	link := &nthlayerv1.Link{Source: "cortex", SourceTeamId: "en1", Target: "pagerduty", TargetTeamId: "PT4KHLK"}
	team := &nthlayerv1.Team{
		TeamId: "storage", Name: "Storage", SyncStatus: "out_of_sync", SyncStatusSince: ago(3 * time.Hour), MemberCount: 2, Link: link,
		Members: []*nthlayerv1.TeamMember{{Email: "ada@example.org", Name: "Ada", Role: "manager"}, {Email: "ben@example.org", Role: "responder"}},
	}
	ignoring := &nthlayerv1.IgnoreRule{
		RuleId: "0198f2c4", TeamId: "storage", Kind: "person", Value: "ben@example.org", Reason: "on loan", Owner: "sre@example.org", Status: "active",
		ExpiresAt: timestamppb.New(time.Date(2027, 2, 1, 0, 0, 0, 0, time.Local)), CreatedBy: "ada",
	}
	fleets := &nthlayerv1.IgnoreRule{
		RuleId: "0198f2c5", Kind: "role", Value: "observer", Reason: "kept by hand", Owner: "sre", Status: "expired", ExpiresAt: ago(time.Hour), CreatedBy: "ben",
	}
	partly := &nthlayerv1.Team{TeamId: "storage", SyncStatus: "in_sync", IgnoreRules: []*nthlayerv1.IgnoreRule{ignoring, fleets}}
	ignored := aRun(t)
	ignored.Findings = append(ignored.Findings,
		&nthlayerv1.Finding{
			Seq: 8, TeamId: "storage", EntityRef: "person:ben@example.org", Action: "remove_member", Outcome: "ignored", Actor: "ada", RecordedAt: ago(time.Minute),
			Before: object(t, map[string]any{"role": "observer"}), Message: "ignored until 2027-01-31: on loan (rule 0198f2c4, ask sre@example.org)",
		},
		&nthlayerv1.Finding{
			Seq: 9, TeamId: "storage", EntityRef: "person:cleo@example.org", Action: "user_not_found", Outcome: "ignored", Actor: "ada", RecordedAt: ago(time.Minute),
			Message: "ignored until 2027-01-31: a guest (rule 0198f2c5, ask sre@example.org); has no account",
		},
	)
	ignoredPlan := &nthlayerv1.Plan{TeamId: "storage", TargetTeamId: "PT", SyncStatus: "in_sync", Unchanged: 1, Ignored: []*nthlayerv1.IgnoredChange{
		{Change: aPlan(t).Changes[3], RuleId: "0198f2c4", Reason: "on loan", Owner: "sre@example.org", ExpiresAt: ignoring.ExpiresAt},
		{Issue: aPlan(t).Issues[0], RuleId: "0198f2c5", Reason: "a guest", Owner: "sre", ExpiresAt: ignoring.ExpiresAt},
	}}
	nasty := &nthlayerv1.Team{TeamId: "evil", Name: "a\x1b[2Jb\nc", SyncStatus: "unknown"}
	for name, show := range map[string]func(*bytes.Buffer) error{
		"plan": func(b *bytes.Buffer) error { return output.ShowPlan(b, aPlan(t)) },
		"plan_in_sync": func(b *bytes.Buffer) error {
			return output.ShowPlan(b, &nthlayerv1.Plan{TeamId: "storage", TargetTeamId: "PT", SyncStatus: "in_sync", Unchanged: 1})
		},
		"plan_ignored": func(b *bytes.Buffer) error { return output.ShowPlan(b, ignoredPlan) },
		"run_ignored":  func(b *bytes.Buffer) error { return output.ShowRun(b, now, ignored) },
		"team_ignored": func(b *bytes.Buffer) error { return output.ShowTeam(b, now, partly) },
		"ignore_rules": func(b *bytes.Buffer) error {
			return output.ShowIgnoreRules(b, []*nthlayerv1.IgnoreRule{ignoring, fleets})
		},
		"no_ignore_rules":   func(b *bytes.Buffer) error { return output.ShowIgnoreRules(b, nil) },
		"ignore_rule":       func(b *bytes.Buffer) error { return output.ShowIgnoreRule(b, ignoring) },
		"ignore_rule_fleet": func(b *bytes.Buffer) error { return output.ShowIgnoreRule(b, fleets) },
		"teams":             func(b *bytes.Buffer) error { return output.ShowTeams(b, now, []*nthlayerv1.Team{team, nasty}) },
		"no_teams":          func(b *bytes.Buffer) error { return output.ShowTeams(b, now, nil) },
		"team":              func(b *bytes.Buffer) error { return output.ShowTeam(b, now, team) },
		"runs":              func(b *bytes.Buffer) error { return output.ShowRuns(b, now, []*nthlayerv1.Run{aRun(t)}) },
		"run":               func(b *bytes.Buffer) error { return output.ShowRun(b, now, aRun(t)) },
		"deliveries": func(b *bytes.Buffer) error {
			return output.ShowDeliveries(b, now, []*nthlayerv1.Delivery{{
				DeliveryKey: "k1", Medium: "slack", Channel: "#ownership", Status: "failed", Attempts: 3, CreatedAt: ago(50 * time.Hour),
				JobId: "0198f2c4", LastError: "channel_not_found",
			}})
		},
	} {
		t.Run(name, func(t *testing.T) { goldenText(t, name, show) })
	}
}

// goldenText compares what is shown, without its colours.
func goldenText(t *testing.T, name string, show func(*bytes.Buffer) error) {
	t.Helper()
	var b, bare bytes.Buffer
	require.NoError(t, show(&b))
	_, err := output.Writer(&bare, nil).Write(b.Bytes())
	require.NoError(t, err)
	golden(t, name, bare.Bytes())
}

func TestShowPlan_OnATerminal_ColoursTheDiff(t *testing.T) {
	var plain bytes.Buffer
	require.NoError(t, output.ShowPlan(&plain, aPlan(t)))
	golden(t, "plan_coloured", plain.Bytes())
}

func TestWriter_NoColor_KeepsTheText(t *testing.T) {
	var b bytes.Buffer
	w := output.Writer(&b, []string{"TERM=xterm-256color", "CLICOLOR_FORCE=1", "NO_COLOR=1"})
	_, err := w.Write([]byte(output.Heading("title")))
	require.NoError(t, err)
	require.NotContains(t, b.String(), "\x1b[3", "no colour")
	require.Contains(t, b.String(), "title")
}

func TestEncode_GivesScriptsTheNamesOfTheAPI(t *testing.T) {
	for _, format := range []output.Format{output.JSON, output.YAML} {
		var b bytes.Buffer
		require.NoError(t, output.Encode(&b, format, aPlan(t)))
		golden(t, "plan_"+string(format), b.Bytes())
	}
}
