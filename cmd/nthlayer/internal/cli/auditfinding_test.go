package cli_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestFindingList_SendsTheFilters_AndGoesThroughThePages(t *testing.T) {
	f := reported()
	code, out, errs := f.command(t, "audit", "finding", "list", "-o", "json")
	require.Zero(t, code, errs)
	var list struct{ Findings []any }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Findings, 5)
	require.Equal(t, "open", f.filter.GetStatus(), "what is to be done")
	_, out, errs = f.command(t, "audit", "finding", "list", "--limit", "3", "--status", "", "--kind", "remove_member", "--team", "storage", "--audit", job)
	require.Contains(t, errs, "the first 3")
	require.Contains(t, out, "p")
	require.Empty(t, f.filter.GetStatus())
	require.Equal(t, "remove_member", f.filter.GetKind())
	require.Equal(t, "storage", f.filter.GetTeamId())
	require.Equal(t, job, f.filter.GetAuditId())
	f.findings = nil
	_, out, _ = f.command(t, "audit", "finding", "list", "--team", "storage")
	require.Equal(t, "No finding matches.\n", out)
}

func TestFindingAck_ForOrUntil_SaysWhen(t *testing.T) {
	var f fleet
	local := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, time.Local)
	}
	for _, tc := range []struct {
		flag, value string
		want        time.Time
	}{
		{"--for", "30d", noon.Add(30 * 24 * time.Hour)},
		{"--for", "2w", noon.Add(14 * 24 * time.Hour)},
		{"--for", "1w1d12h30m", noon.Add(8*24*time.Hour + 12*time.Hour + 30*time.Minute)},
		{"--for", "36h", noon.Add(36 * time.Hour)},
		{"--until", "2026-06-30", local(time.July, 1, 0)},
		{"--until", "2026-06-30 18:00", local(time.June, 30, 18)},
		{"--until", "2026-06-30T18:00:00Z", time.Date(2026, 6, 30, 18, 0, 0, 0, time.UTC)},
	} {
		code, out, errs := f.command(t, "audit", "finding", "ack", job, "--reason", "leaves in June", tc.flag, tc.value)
		require.Zero(t, code, errs)
		require.Equal(t, job, f.ack.GetFindingId())
		require.Equal(t, "leaves in June", f.ack.GetReason())
		require.WithinDuration(t, tc.want, f.ack.GetUntil().AsTime(), 0, tc.value)
		require.Contains(t, out, tc.want.Local().Format(time.DateTime))
	}
}

func TestFindingAck_WrongUse_SaysHow(t *testing.T) {
	for want, args := range map[string][]string{
		"reason":                             {"--for", "30d"},
		"at least one of":                    {"--reason", "r"},
		"none of the others":                 {"--reason", "r", "--for", "1d", "--until", "2026-06-30"},
		`"30" is no duration`:                {"--reason", "r", "--for", "30"},
		`"-1d" is no duration`:               {"--reason", "r", "--for", "-1d"},
		`"-1h" is no duration`:               {"--reason", "r", "--for", "-1h"},
		`"d" is no duration`:                 {"--reason", "r", "--for", "d"},
		`"99999d" is no duration`:            {"--reason", "r", "--for", "99999d"},
		`"" is no duration`:                  {"--reason", "r", "--for", ""},
		`--until: "soon" is no time`:         {"--reason", "r", "--until", "soon"},
		`--until: "2026-02-30" is no time: `: {"--reason", "r", "--until", "2026-02-30"},
	} {
		f := &fleet{}
		code, _, errs := f.command(t, append([]string{"audit", "finding", "ack", job}, args...)...)
		require.Equal(t, 1, code, args)
		require.Contains(t, errs, want)
		require.Nil(t, f.ack, args)
	}
}

func TestFindingAck_Refused_NamesTheField(t *testing.T) {
	refusal := fault.New(fault.Invalid, "the request is not valid", nil)
	refusal.Violations = []fault.Violation{{Field: "until", Description: "must be within a year"}}
	f := fleet{refuse: refusal}
	code, _, errs := f.command(t, "audit", "finding", "ack", job, "--reason", "r", "--for", "60w")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "until: must be within a year")
}

func TestFindingShowAndReopen_ShowTheFinding(t *testing.T) {
	f := fleet{findings: []*nthlayerv1.AuditFinding{{
		FindingId: job, TeamId: "storage", Kind: "remove_member", Status: "open", Message: "is not declared", ChangedBy: "ada",
	}}}
	for _, verb := range []string{"show", "reopen"} {
		code, out, errs := f.command(t, "audit", "finding", verb, job)
		require.Zero(t, code, errs)
		require.Contains(t, bare(out), "made so by   ada")
	}
	code, out, _ := f.command(t, "audit", "finding", "show", job, "-o", "yaml")
	require.Zero(t, code)
	require.Contains(t, out, "changed_by: ada\n")
}
