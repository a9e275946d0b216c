package report_test

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// media are the ways to write a report, by the endings of the golden files.
var media = map[string]func(io.Writer, report.Report) error{
	"txt": report.Text, "md": report.Markdown, "html": report.HTML, "mail.html": report.MailHTML,
	"csv": func(w io.Writer, r report.Report) error { return report.CSV(w, append(r.Audit.New, r.Findings...)) },
}

var start = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

func drifted() report.Report {
	found := []notice.AuditItem{
		{FindingID: "f-1", TeamID: "shop/payments", Kind: "add_member", Category: "drift", Entity: "person:ann@example.org", Message: "ann@example.org is missing", Status: "open", Since: start, ChangedBy: "Eve (web), 2026-03-01"},
		{FindingID: "f-2", TeamID: "shop/payments", Kind: "change_role", Category: "drift", Entity: "person:bob@example.org", Message: "is responder and should be manager", Status: "open", Since: start.AddDate(0, -1, 0), Returned: true},
		{FindingID: "f-3", Kind: "orphan_team", Category: "structure", Entity: "target:P0ORPHAN", Message: "no team of the source is linked to it", Status: "acknowledged", Since: start},
	}
	return report.Report{
		Audit: notice.AuditFinished{
			AuditID: "01890a5d-ac96-774b-bcce-b302099a8057", ScheduleID: "nightly", Status: "incomplete", Summary: "12 of 240 teams are out of sync; 5 could not be read",
			Read: "full", ReadReason: "the weekly full read", StartedAt: start, FinishedAt: start.Add(93 * time.Second),
			Counts:   notice.AuditCounts{Teams: 240, InSync: 223, OutOfSync: 12, Unknown: 5, Unread: 5, Open: 31, Acknowledged: 4, New: 6, Reopened: 1, Resolved: 2, Missed: 1},
			Previous: &notice.AuditCounts{Teams: 240, InSync: 231, OutOfSync: 9, Open: 26, Acknowledged: 4},
			Calls:    notice.AuditCalls{Cortex: 14, PagerDuty: 71},
			Kinds:    []notice.AuditKind{{Kind: "add_member", Open: 20, New: 4}, {Kind: "user_not_found", Open: 8, Acknowledged: 4, New: 2, Resolved: 1}, {Kind: "change_role", Open: 3, New: 1, Resolved: 1}},
			TopTeams: []notice.AuditTeam{{TeamID: "shop/payments", Name: "Payments", Open: 9}, {TeamID: "labs", Open: 4}},
			Unread:   []notice.AuditUnread{{Reason: "PAGERDUTY_UNAVAILABLE", Message: "PagerDuty does not answer; try again later", Teams: 5}},
			New:      found, RunsStarted: 3, URL: "https://nthlayer.example.org/audits/1",
			Resolved: []notice.AuditItem{{FindingID: "f-4", TeamID: "labs", Kind: "remove_member", Category: "drift", Entity: "person:eve@example.org", Message: "eve@example.org is nowhere declared", Status: "resolved", Since: start.AddDate(0, 0, -3), ChangedBy: "NthLayer"}},
			Trend: []notice.AuditPoint{
				{At: start.AddDate(0, 0, -2), InSync: 235, OutOfSync: 5, Open: 14}, {At: start.AddDate(0, 0, -1), InSync: 231, OutOfSync: 9, Open: 26},
				{At: start, InSync: 223, OutOfSync: 12, Unknown: 5, Open: 31},
			},
		},
		Findings: found,
	}
}

// first is an audit that has none before it and found nothing.
func first() report.Report {
	return report.Report{Audit: notice.AuditFinished{
		AuditID: "a-1", RequestedBy: "ann@example.org", Status: "succeeded", Summary: "all 3 teams are in sync", Read: "full",
		StartedAt: start, FinishedAt: start.Add(2 * time.Second), Counts: notice.AuditCounts{Teams: 3, InSync: 3},
		Calls: notice.AuditCalls{Cortex: 1, PagerDuty: 3}, Trend: []notice.AuditPoint{{At: start, InSync: 3}},
	}}
}

func failed() report.Report {
	r := first()
	r.Audit.Status, r.Audit.Summary = "failed", "nothing could be compared"
	r.Audit.Counts = notice.AuditCounts{Teams: 3, Unknown: 3, Unread: 3, Open: 2}
	r.Audit.Previous = &notice.AuditCounts{Teams: 3, InSync: 2, OutOfSync: 1, Open: 2}
	r.Audit.Unread = []notice.AuditUnread{{Reason: "CORTEX_UNAUTHORIZED", Message: "Cortex refuses the token; check NTHLAYER_CORTEX_TOKEN", Teams: 3}}
	r.Audit.ErrorReason, r.Audit.ErrorMessage = "CORTEX_UNAUTHORIZED", "Cortex refuses the token; check NTHLAYER_CORTEX_TOKEN"
	return r
}

func canceled() report.Report {
	r := first()
	r.Audit.Status, r.Audit.Summary = "canceled", "canceled by ann@example.org"
	r.Audit.Counts = notice.AuditCounts{Teams: 3, InSync: 1, Unknown: 2}
	r.Audit.Previous = &notice.AuditCounts{Teams: 3, InSync: 3}
	return r
}

// ignored is an audit in which rules hid something, more of them than are named.
func ignored() report.Report {
	r := first()
	r.Audit.Summary = "3 teams: 3 in sync, 0 out of sync, 0 unknown; 0 new, 0 returned, 1 resolved; 4 differences ignored"
	r.Audit.Counts.Ignored, r.Audit.Previous = 4, &notice.AuditCounts{Teams: 3, InSync: 3, Ignored: 1}
	r.Audit.IgnoreRules = []notice.AuditRule{
		{RuleID: "r-1", Kind: "role", Value: "observer", Reason: "observers are kept by hand", Owner: "sre@example.org", Until: start.AddDate(0, 3, 0), Ignored: 2},
		{RuleID: "r-2", TeamID: "labs", Kind: "person", Value: "ann@example.org", Reason: "on loan", Owner: "labs", Until: start, Ignored: 1},
	}
	return r
}

const wicked = "<script>alert(1)</script>\x1b[31m\u202e\n# [x](javascript:alert(1)) | *b* & \"q\" http://evil.example"

func hostile() report.Report {
	r := drifted()
	a := &r.Audit
	for _, field := range []*string{&a.AuditID, &a.ScheduleID, &a.RequestedBy, &a.Status, &a.Summary, &a.Read, &a.ReadReason, &a.ErrorReason, &a.ErrorMessage} {
		*field = wicked
	}
	a.URL = "javascript:alert(1)"
	a.Kinds[0].Kind, a.TopTeams[0].TeamID, a.TopTeams[0].Name, a.Unread[0].Reason, a.Unread[0].Message = wicked, wicked, wicked, wicked, wicked
	a.IgnoreRules = []notice.AuditRule{{RuleID: wicked, TeamID: wicked, Kind: wicked, Value: wicked, Reason: wicked, Owner: wicked}}
	for _, items := range [][]notice.AuditItem{a.New, a.Resolved, r.Findings} {
		for i := range items {
			items[i] = notice.AuditItem{
				FindingID: "=1+1", TeamID: "+" + wicked, Kind: "-" + wicked, Category: "@x", Entity: "\t=cmd|' /C calc'!A0", Message: "＝1", Status: wicked, ChangedBy: " =HYPERLINK(\"http://evil.example\")",
			}
		}
	}
	return r
}

var reports = map[string]func() report.Report{
	"drifted": drifted, "first": first, "failed": failed, "canceled": canceled, "ignored": ignored, "hostile": hostile, "empty": func() report.Report { return report.Report{} },
}

func write(t require.TestingT, medium string, r report.Report) string {
	var b bytes.Buffer
	require.NoError(t, media[medium](&b, r))
	return b.String()
}

func TestReport_Golden(t *testing.T) {
	for name, made := range reports {
		for medium := range media {
			t.Run(name+"."+medium, func(t *testing.T) {
				got := write(t, medium, made())
				path := filepath.Join("testdata", name+"."+medium)
				if *update {
					require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				}
				want, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, string(want), got, "go test -update writes it anew")
			})
		}
	}
}

func TestSubject_IsOneLineWithWhatMatters(t *testing.T) {
	for want, r := range map[string]report.Report{
		"NthLayer audit nightly: 12 of 240 teams out of sync (+3), 5 unknown; 7 new findings": drifted(),
		"NthLayer audit: all 3 teams in sync":                                                 first(),
		"NthLayer audit: the audit failed, no team was compared":                              failed(),
		"NthLayer audit: the audit was canceled":                                              canceled(),
		"NthLayer audit: the audit ended as unknown":                                          {},
	} {
		require.Equal(t, want, report.Subject(r.Audit))
	}
	require.NotContains(t, report.Subject(hostile().Audit), "\n")
}

// What was not compared has not got better or worse.
func TestReport_NotToItsEnd_ShowsNoChange(t *testing.T) {
	for _, r := range []report.Report{failed(), canceled()} {
		require.NotContains(t, write(t, "txt", r), "Change")
	}
	require.Contains(t, write(t, "txt", drifted()), "Change", "the control")
	require.NotContains(t, write(t, "txt", failed()), "There is no audit before this one")
}

func TestReport_UnknownTeams_SaysThatTheirFindingsWereLeft(t *testing.T) {
	for medium := range media {
		if medium == "csv" {
			continue
		}
		require.Contains(t, write(t, medium, drifted()), "The findings of 5 teams that could not be read were left as they are", medium)
		require.NotContains(t, write(t, medium, first()), "were left as they are", medium)
	}
}

// The two bodies of an e-mail say the same.
func TestMailHTML_SaysWhatTextSays(t *testing.T) {
	for name, made := range reports {
		if name == "hostile" {
			continue // escaped, it reads otherwise
		}
		body, _ := visible(t, write(t, "mail.html", made()))
		for _, word := range strings.Fields(write(t, "txt", made())) {
			if word = strings.Trim(word, "=- "); word != "" {
				require.Contains(t, body, word, name)
			}
		}
	}
}

// visible gives the text of a page and the names of its elements.
func visible(t require.TestingT, page string) (text string, elements map[string]bool) {
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	elements = map[string]bool{}
	var b strings.Builder
	for n := range root.Descendants() {
		switch n.Type {
		case html.ElementNode:
			elements[n.Data] = true
			for _, a := range n.Attr {
				require.False(t, strings.HasPrefix(a.Key, "on"), a.Key)
				if a.Key == "src" || a.Key == "href" {
					require.True(t, strings.HasPrefix(a.Val, "https://nthlayer.example.org/"), a.Val)
				}
			}
		case html.TextNode:
			b.WriteString(n.Data + " ")
		default:
		}
	}
	return b.String(), elements
}

func TestHTML_IsOnePageThatFetchesAndRunsNothing(t *testing.T) {
	for name, made := range reports {
		for _, medium := range []string{"html", "mail.html"} {
			page := write(t, medium, made())
			_, elements := visible(t, page)
			for _, forbidden := range []string{"script", "link", "img", "iframe", "object", "embed", "form", "base"} {
				require.False(t, elements[forbidden], "%s of %s has <%s>", medium, name, forbidden)
			}
			require.NotRegexp(t, `url\(|@import`, page)
		}
	}
	_, elements := visible(t, write(t, "html", drifted()))
	require.True(t, elements["svg"])
	_, elements = visible(t, write(t, "mail.html", drifted()))
	require.False(t, elements["svg"] || elements["style"], "mail clients drop them")
}

// Every picture has a title that a screen reader reads.
func TestHTML_Pictures_HaveTitles(t *testing.T) {
	page := write(t, "html", drifted())
	require.Equal(t, 3, strings.Count(page, "<svg "))
	for _, id := range []string{"teams-title", "kinds-title", "trend-title"} {
		require.Contains(t, page, `role="img" aria-labelledby="`+id+`"`)
		require.Contains(t, page, `<title id="`+id+`">`)
	}
}

func TestCSV_Formulas_AreText(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(write(t, "csv", hostile()))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+6)
	quoted := 0
	for _, row := range rows {
		for _, cell := range row {
			require.NotRegexp(t, `^\s*[=+\-@＝＋－＠]`, cell)
			if strings.HasPrefix(cell, "'") {
				quoted++
			}
		}
	}
	require.Equal(t, 6*7, quoted, "seven cells of each would have been formulas")
}

func TestMarkdown_HostileText_IsEscaped(t *testing.T) {
	got := write(t, "md", hostile())
	require.NotContains(t, got, "<script>")
	require.NotRegexp(t, `[^\\]\[x\]`, got)
	require.NotContains(t, got, " http://", "it would become a link")
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "| ") {
			cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") - 1
			require.Contains(t, []int{2, 3, 5, 7}, cells, line)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReport_WriterFails_IsTold(t *testing.T) {
	for medium, writeTo := range media {
		require.ErrorIs(t, writeTo(broken{}, drifted()), io.ErrClosedPipe, medium)
	}
}

var control = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f-\x9f]`)

// Whatever the platforms call people and teams: no medium shows what moves the cursor or turns the direction of writing,
// and nothing becomes an element of the page.
func TestReport_AnyText_StaysText(t *testing.T) {
	word := rapid.OneOf(rapid.String(), rapid.StringMatching(`[<>&*_|'"\x1b\x{202e}=+@a-z \n-]{0,40}`), rapid.Just(wicked))
	_, plain := visible(t, write(t, "html", drifted()))
	rapid.Check(t, func(t *rapid.T) {
		r := drifted()
		n := rapid.IntRange(-3, 100)
		r.Audit.ScheduleID, r.Audit.Summary, r.Audit.ErrorMessage = word.Draw(t, "schedule"), word.Draw(t, "summary"), word.Draw(t, "error")
		r.Audit.Status = rapid.SampledFrom([]string{"succeeded", "incomplete", "failed", "canceled", ""}).Draw(t, "status")
		r.Audit.Counts = notice.AuditCounts{Teams: n.Draw(t, "teams"), InSync: n.Draw(t, "in sync"), OutOfSync: n.Draw(t, "out"), Unknown: n.Draw(t, "unknown")}
		r.Audit.TopTeams[0].Name, r.Audit.Kinds[0] = word.Draw(t, "name"), notice.AuditKind{Kind: word.Draw(t, "kind"), Open: n.Draw(t, "open"), Acknowledged: n.Draw(t, "known")}
		r.Audit.New[0] = notice.AuditItem{TeamID: word.Draw(t, "team"), Entity: word.Draw(t, "entity"), Message: word.Draw(t, "message"), ChangedBy: word.Draw(t, "by")}
		for medium := range media {
			got := write(t, medium, r)
			if medium != "csv" && control.MatchString(got) {
				t.Fatalf("%s holds a control character: %q", medium, control.FindString(got))
			}
			if i := strings.IndexFunc(got, func(c rune) bool { return unicode.Is(unicode.Bidi_Control, c) }); i >= 0 {
				t.Fatalf("%s turns the direction of writing", medium)
			}
			if medium == "html" {
				_, elements := visible(t, got)
				for name := range elements {
					if !plain[name] {
						t.Fatalf("<%s> came in: %s", name, fmt.Sprintf("%q", r.Audit.Summary))
					}
				}
			}
		}
	})
}
