package cli_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// reported is a fleet with an audit under way, a canceled one, and 40 each of a schedule and asked for, the newest first.
func reported() *fleet {
	f := &fleet{audits: []*nthlayerv1.Audit{underWay(1), ended("canceled", nil)}}
	for n := range 80 {
		f.audits = append(f.audits, ended("succeeded", func(a *nthlayerv1.Audit) {
			a.AuditId = fmt.Sprintf("audit-%d", n)
			if n%2 == 1 {
				a.ScheduleId = "nightly"
			}
			a.CreatedAt, a.FinishedAt = at(-time.Duration(n+1)*time.Hour), at(-time.Duration(n+1)*time.Hour+time.Minute)
			a.Counts.OutOfSync = int32(n)
		}))
	}
	for n := range 5 {
		f.findings = append(f.findings, &nthlayerv1.AuditFinding{
			FindingId: fmt.Sprint("finding-", n), TeamId: "storage", Kind: "remove_member", Category: "drift", Status: "open",
			EntityRef: fmt.Sprintf("person:p%d@example.org", n), Message: "is not declared", FirstSeenAt: at(-1000 * time.Hour),
		})
	}
	f.findings[0].FirstSeenAt = at(0) // after all of them
	return f
}

type jsonReport struct {
	Audit struct {
		AuditID    string `json:"audit_id"`
		ScheduleID string `json:"schedule_id"`
		Trend      []struct {
			OutOfSync int `json:"out_of_sync"`
		}
	}
	Findings []struct {
		FindingID string `json:"finding_id"`
	}
}

func TestAuditReport_IsOfTheNewestThatCounts_WithTheThirtyOfItsSchedule(t *testing.T) {
	for want, args := range map[string][]string{
		"audit-0":  {},
		"audit-1":  {"--schedule", "nightly"},
		"audit-10": {"audit-10"},
		"audit-75": {"audit-75"},
		job:        {job}, // canceled: shown where it is asked for
	} {
		f := reported()
		if want == job {
			f.audits = f.audits[1:]
		}
		code, out, errs := f.command(t, append([]string{"audit", "report", "-o", "json"}, args...)...)
		require.Zero(t, code, errs)
		var got jsonReport
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		require.Equal(t, want, got.Audit.AuditID)
		require.Len(t, got.Findings, 4, "of all pages, without the one that came later")
		var trend []int
		for _, p := range got.Audit.Trend {
			trend = append(trend, p.OutOfSync)
		}
		switch want {
		case "audit-1":
			require.Len(t, trend, 30)
			require.Equal(t, []int{59, 57}, trend[:2], "the oldest first")
			require.Equal(t, []int{3, 1}, trend[28:])
		case "audit-75":
			require.Equal(t, []int{79, 77, 75}, trend)
			require.Equal(t, "nightly", got.Audit.ScheduleID)
		case "audit-10":
			require.Equal(t, []int{12, 10}, trend[28:], "of those that were asked for")
		}
	}
}

func TestAuditReport_EachFormat_ToTheTerminalOrAFile(t *testing.T) {
	dir := t.TempDir()
	for format, begins := range map[string]string{
		"table": "1 of 3 teams", "csv": "finding_id,", "markdown": "#", "html": "<!doctype html>", "json": "{\n",
	} {
		code, out, errs := reported().command(t, "audit", "report", "audit-1", "-o", format)
		require.Zero(t, code, errs)
		require.Regexp(t, "(?i)^"+begins, out, format)
		require.Contains(t, out, "p4@example.org", format)
		path := filepath.Join(dir, format)
		code, nothing, errs := reported().command(t, "audit", "report", "audit-1", "-o", format, "--file", path)
		require.Zero(t, code, errs)
		require.Empty(t, nothing)
		require.Contains(t, errs, path)
		written, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, out, string(written))
	}
}

func TestAuditReport_File_ItsEndingSaysTheFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "findings.csv")
	code, _, errs := reported().command(t, "audit", "report", "--file", path)
	require.Zero(t, code, errs)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	rows, err := csv.NewReader(strings.NewReader(string(written))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 5)
	code, _, errs = reported().command(t, "audit", "report", "--file", path, "-o", "markdown")
	require.Zero(t, code, errs)
	written, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, "^#", string(written), "-o comes first")
}

func TestAuditReport_NothingToReport_SaysWhatToDo(t *testing.T) {
	for want, args := range map[string][]string{
		"nthlayer audit watch " + job:       {"audit", "report", job},
		"no audit yet":                      {"audit", "report", "--schedule", "weekly"},
		"say which":                         {"audit", "report", job, "--schedule", "nightly"},
		"must be table, json, csv":          {"audit", "report", "-o", "yaml"},
		"there is nothing like it":          {"audit", "report", "other"},
		"write the report: open /no/such/x": {"audit", "report", "--file", "/no/such/x"},
	} {
		code, out, errs := reported().command(t, args...)
		require.Equal(t, 1, code)
		require.Empty(t, out)
		require.Contains(t, errs, want)
	}
}
