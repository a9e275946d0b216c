package cli_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ListFindings shows the trail as the gateway does, three entries a page, from the one after g.trailAfter.
func (g *gateway) ListFindings(_ context.Context, req *nthlayerv1.ListFindingsRequest) (*nthlayerv1.ListFindingsResponse, error) {
	page := &nthlayerv1.ListFindingsResponse{}
	if g.trailAfter > 0 {
		page.Anchor = &nthlayerv1.TrailHead{Seq: int64(g.trailAfter), Hash: g.trail[g.trailAfter-1].Hash}
	}
	if n := len(g.trail); n > 0 {
		page.Head = &nthlayerv1.TrailHead{Seq: int64(n), Hash: g.trail[n-1].Hash}
	}
	after, _ := strconv.Atoi(req.GetPageToken())
	for _, e := range g.trail[max(after, g.trailAfter):] {
		if req.GetTeamId() != "" && e.TeamID != req.GetTeamId() || req.GetRecordedTo() != nil && !e.RecordedAt.Before(req.GetRecordedTo().AsTime()) {
			continue
		}
		if len(page.Findings) == 3 {
			page.NextPageToken = fmt.Sprint(page.Findings[2].GetSeq())
			break
		}
		page.Findings = append(page.Findings, api.Finding(e))
	}
	return page, nil
}

var recorded = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// withTrail is a gateway with a trail of so many entries, one a day.
func withTrail(t *testing.T, n int) *gateway {
	g := &gateway{}
	var head trail.Head
	for i := range n {
		e, next, err := head.Append(trail.Finding{
			JobID: job, ChangeID: fmt.Sprint(i), TeamID: fmt.Sprint("team-", i%2), Action: "add_member", Outcome: trail.Applied, Actor: "ann",
			Message: "=HYPERLINK(\"x\")", Reason: "<why>", ApprovedBy: []string{"bob"}, PlanHash: "p", RecordedAt: recorded.AddDate(0, 0, i),
		})
		require.NoError(t, err)
		g.trail, head = append(g.trail, e), next
	}
	return g
}

func TestTrailExport_ThenVerify_NeedsNoServer(t *testing.T) {
	g := withTrail(t, 8)
	dir := t.TempDir()
	whole, begin := filepath.Join(dir, "whole.jsonl.gz"), filepath.Join(dir, "begin.jsonl")
	code, _, errs := g.command(t, "trail", "export", "-o", whole)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "8 entries")
	code, _, errs = g.command(t, "trail", "export", "--to", recorded.AddDate(0, 0, 4).Format(time.RFC3339), "-o", begin)
	require.Zero(t, code, errs)
	g.trailAfter = 4
	end := filepath.Join(dir, "end.jsonl")
	code, _, errs = g.command(t, "trail", "export", "-o", end)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "Entries up to 4 were moved to archives")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3, "nothing half-written is left")

	head := fmt.Sprintf("%d:%s", 8, g.trail[7].Hash)
	code, out, errs := command(t, "trail", "verify", "--file", whole, "--head", head)
	require.Zero(t, code, errs)
	require.Contains(t, out, "from entry 1 to 8: 8 entries")
	require.Contains(t, out, "head "+head)
	code, out, errs = command(t, "trail", "verify", "--file", end, begin)
	require.Zero(t, code, errs)
	require.Contains(t, out, "from entry 1 to 8: 8 entries")
	anchor := fmt.Sprintf("%d:%s", 4, g.trail[3].Hash)
	code, out, _ = command(t, "trail", "verify", "--file", end, "--anchor", anchor)
	require.Zero(t, code)
	require.Contains(t, out, "anchor "+anchor)

	// Online, the trail goes on where the archives end.
	code, out, errs = g.command(t, "trail", "verify")
	require.Zero(t, code, errs)
	require.Contains(t, out, "4 entries, none changed")
	require.Contains(t, out, "4 entries before them are in archives")
	require.Contains(t, out, "anchor "+anchor)
	code, _, errs = g.command(t, "trail", "verify", "--head", fmt.Sprintf("%d:%s", 2, g.trail[1].Hash))
	require.Equal(t, 1, code, "it cannot be known here")
	require.Contains(t, errs, "moved to the archives")
	code, _, _ = g.command(t, "trail", "verify", "--head", anchor)
	require.Zero(t, code)
	code, _, errs = g.command(t, "trail", "verify", "--head", fmt.Sprintf("%d:%s", 4, g.trail[1].Hash))
	require.Equal(t, 1, code)
	require.Contains(t, errs, "written anew")

	content, err := os.ReadFile(begin)
	require.NoError(t, err)
	edited := filepath.Join(dir, "edited.jsonl")
	require.NoError(t, os.WriteFile(edited, []byte(strings.Replace(string(content), `"actor":"ann"`, `"actor":"eve"`, 1)), 0o600))
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"edited":            {[]string{"--file", edited}, "entry 1: what it shows differs"},
		"twice":             {[]string{"--file", begin, whole}, "give each entry once"},
		"another anchor":    {[]string{"--file", end, "--anchor", head}, "not after the anchor"},
		"head not in it":    {[]string{"--file", begin, "--head", head}, "not the entry 8 that was kept"},
		"head of another":   {[]string{"--file", begin, "--head", "2:" + g.trail[7].Hash}, "written anew"},
		"no such file":      {[]string{"--file", filepath.Join(dir, "none")}, "no such file"},
		"no --file":         {[]string{begin}, "--file"},
		"anchor of servers": {[]string{"--anchor", anchor}, "--anchor is for --file"},
	} {
		code, out, errs := command(t, append([]string{"trail", "verify"}, c.args...)...)
		require.Equal(t, 1, code, name)
		require.Empty(t, out, name)
		require.Contains(t, errs, c.says, name)
	}
}

func TestTrailVerify_GapBetweenFiles_IsNamed(t *testing.T) {
	g := withTrail(t, 9)
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")}
	all := g.trail
	for i, name := range names {
		g.trail, g.trailAfter = all[:3*i+3], 3*i
		code, _, errs := g.command(t, "trail", "export", "-o", name)
		require.Zero(t, code, errs)
	}
	code, _, errs := command(t, "trail", "verify", "--file", names[2], "--file", names[0], "--file", names[1])
	require.Zero(t, code, errs)
	code, _, errs = command(t, "trail", "verify", "--file", names[2], "--file", names[0])
	require.Equal(t, 1, code)
	require.Contains(t, errs, "entries 4 to 6 are in none of the files")

	other := withTrail(t, 9)
	forged, _, err := trail.Head{Seq: 5, Hash: other.trail[4].Hash}.Append(trail.Finding{JobID: job, Actor: "eve"})
	require.NoError(t, err)
	other.trail, other.trailAfter = append(other.trail[:5:5], forged), 3
	code, _, errs = other.command(t, "trail", "export", "-o", names[1])
	require.Zero(t, code, errs)
	code, _, errs = command(t, append([]string{"trail", "verify", "--file"}, names...)...)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "entry 7: it does not follow the last entry of the file before")
}

func TestTrailExport_Filtered_IsRefusedAsProof(t *testing.T) {
	g := withTrail(t, 8)
	file := filepath.Join(t.TempDir(), "x.jsonl")
	code, _, errs := g.command(t, "trail", "export", "--team", "team-1", "-o", file)
	require.Zero(t, code, errs)
	code, _, errs = command(t, "trail", "verify", "--file", file)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "it is filtered and cannot prove anything")
}

func TestTrailExport_CSV_IsForSpreadsheets(t *testing.T) {
	g := withTrail(t, 4)
	code, out, errs := g.command(t, "trail", "export", "--format", "csv")
	require.Zero(t, code, errs)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 5)
	cell := func(row int, title string) string {
		for i, name := range rows[0] {
			if name == title {
				return rows[row][i]
			}
		}
		t.Fatal(title)
		return ""
	}
	require.Equal(t, "'=HYPERLINK(\"x\")", cell(1, "message"), "no spreadsheet computes it")
	require.Equal(t, "<why>", cell(1, "reason"))
	require.Equal(t, "bob", cell(1, "approved_by"))
	var v trail.Verifier
	for i := range 4 {
		f, err := trail.Decode(cell(i+1, "content"))
		require.NoError(t, err)
		require.NoError(t, v.Next(trail.Entry{Finding: f, Content: cell(i+1, "content"), PrevHash: cell(i+1, "prev_hash"), Hash: cell(i+1, "hash")}))
	}
}

func TestTrailExport_BrokenTrailOrBadPeriod_LeavesNoFile(t *testing.T) {
	g := withTrail(t, 8)
	g.trail[4].Actor = "eve"
	file := filepath.Join(t.TempDir(), "x.jsonl")
	for says, args := range map[string][]string{
		"entry 5: ":                            nil,
		"there is nothing to export":           {"--to", "2020-01-01"},
		"--to must be later than --from":       {"--from", "2026-02-01", "--to", "2026-01-01"},
		`--from: "yesterday" is no time`:       {"--from", "yesterday"},
		`--format "xml": must be jsonl or csv`: {"--format", "xml"},
	} {
		code, _, errs := g.command(t, append([]string{"trail", "export", "-o", file}, args...)...)
		require.Equal(t, 1, code)
		require.Contains(t, errs, says)
		left, err := os.ReadDir(filepath.Dir(file))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestTrailList_ShowsWhyAndWhoApproved(t *testing.T) {
	g := withTrail(t, 2)
	_, out, _ := g.command(t, "trail", "list")
	require.Contains(t, out, "APPROVED BY")
	require.Contains(t, out, "<why>")
	_, out, _ = g.command(t, "trail", "list", "-o", "json")
	var shown struct{ Findings []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Equal(t, "p", shown.Findings[0]["plan_hash"])
}
