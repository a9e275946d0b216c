package render_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

var morning = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

func audited() notice.AuditFinished {
	return notice.AuditFinished{
		AuditID: job, ScheduleID: "nightly", Status: "incomplete", Summary: "12 of 240 teams are out of sync; 5 could not be read",
		StartedAt: morning, FinishedAt: morning.Add(93 * time.Second),
		Counts:   notice.AuditCounts{Teams: 240, InSync: 223, OutOfSync: 12, Unknown: 5, Unread: 5, Open: 31, Acknowledged: 4, New: 2, Reopened: 1, Resolved: 1},
		Previous: &notice.AuditCounts{Teams: 240, InSync: 231, OutOfSync: 9, Open: 26, Acknowledged: 4},
		Kinds:    []notice.AuditKind{{Kind: "add_member", Open: 20, New: 4}, {Kind: "user_not_found", Open: 8}},
		TopTeams: []notice.AuditTeam{{TeamID: "shop/payments", Name: "Payments", Open: 9}, {TeamID: "labs", Open: 4}},
		Unread:   []notice.AuditUnread{{Reason: "PAGERDUTY_UNAVAILABLE", Message: "PagerDuty does not answer; try again later", Teams: 5}},
		New: []notice.AuditItem{
			{TeamID: "shop/payments", Kind: "add_member", Entity: "person:ann@example.org", Message: "ann@example.org is missing", ChangedBy: "Eve (web)"},
			{TeamID: "labs", Kind: "user_not_found", Entity: "person:zoe@example.org", Message: "no account on the target", Returned: true},
			{TeamID: "shop/payments", Kind: "change_role", Entity: "person:bob@example.org", Message: "is responder and should be manager"},
		},
		Resolved: []notice.AuditItem{{TeamID: "labs", Kind: "remove_member", Entity: "person:eve@example.org", Message: "eve@example.org is nowhere declared"}},
		URL:      "https://nthlayer.example.org/audits/1?a=1&b=2",
	}
}

func TestAuditFinished_Golden(t *testing.T) {
	for name, ended := range map[string]func() notice.AuditFinished{
		"audit_drifted": audited,
		"audit_first": func() notice.AuditFinished {
			return notice.AuditFinished{AuditID: job, RequestedBy: "ann@example.org", Status: "succeeded", Counts: notice.AuditCounts{Teams: 3, InSync: 3}}
		},
		"audit_failed": func() notice.AuditFinished {
			n := audited()
			n.Status, n.Summary, n.New, n.Resolved, n.Kinds, n.TopTeams, n.URL = "failed", "nothing could be compared", nil, nil, nil, nil, ""
			n.Counts = notice.AuditCounts{Teams: 240, Unknown: 240, Unread: 240, Open: 31}
			n.ErrorReason, n.ErrorMessage = "CORTEX_UNAUTHORIZED", "Cortex refuses the token; check NTHLAYER_CORTEX_TOKEN"
			return n
		},
		"audit_canceled": func() notice.AuditFinished {
			return notice.AuditFinished{AuditID: job, Status: "canceled", Summary: "canceled by ann@example.org", Counts: notice.AuditCounts{Teams: 3, InSync: 1, Unknown: 2}}
		},
		"audit_hostile": func() notice.AuditFinished {
			n := audited()
			n.ScheduleID, n.Summary, n.URL = "<!channel>", "<!here> & \u202e*x*", "javascript:alert(1)"
			n.TopTeams[0].Name, n.New[0].Message, n.Kinds[0].Kind, n.Unread[0].Message = "<@U1>", "<https://evil.example|click>", "`rm`", "a\x00b\nc"
			return n
		},
		"audit_empty": func() notice.AuditFinished { return notice.AuditFinished{} },
	} {
		t.Run(name, func(t *testing.T) {
			summary, details := render.AuditFinished(ended())
			golden(t, name, showMessages(t, summary, details))
		})
	}
}

// showMessages writes messages as a person would see them, with their markup.
func showMessages(t require.TestingT, summary render.Message, details []render.Message) string {
	var b strings.Builder
	for i, m := range append([]render.Message{summary}, details...) {
		if i > 0 {
			fmt.Fprintf(&b, "\n=== reply %d\n", i)
		}
		fmt.Fprintf(&b, "notification: %s\n", m.Text)
		for _, text := range texts(t, m) {
			fmt.Fprintf(&b, "---\n%s\n", text)
		}
	}
	return b.String()
}

// The audit is one message, and what is new or gone stands whole in its thread.
func TestAuditFinished_ManyFindings_StandInTheThreadWhole(t *testing.T) {
	n := audited()
	n.New = nil
	for i := range 60 {
		n.New = append(n.New, notice.AuditItem{TeamID: fmt.Sprintf("team-%d", i%7), Message: fmt.Sprintf("person-%02d@example.org is missing", i)})
	}
	summary, details := render.AuditFinished(n)
	thread := render.Plain(details...)
	for _, item := range n.New {
		require.Equal(t, 1, strings.Count(thread, item.Message))
		require.NotContains(t, render.Plain(summary), item.Message)
	}
}

func TestAuditFinished_AnyNotice_KeepsSlacksLimitsAndMentionsNobody(t *testing.T) {
	word := rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[<>&*_a-z \n|]{0,40}`),
		rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("<ü&", n) }),
	)
	item := rapid.Custom(func(t *rapid.T) notice.AuditItem {
		return notice.AuditItem{TeamID: word.Draw(t, "team"), Kind: word.Draw(t, "kind"), Entity: word.Draw(t, "entity"), Message: word.Draw(t, "message"), ChangedBy: word.Draw(t, "by")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := audited()
		n.URL = ""
		n.AuditID, n.ScheduleID, n.RequestedBy = word.Draw(t, "audit"), word.Draw(t, "schedule"), word.Draw(t, "by")
		n.Status = rapid.SampledFrom([]string{"succeeded", "incomplete", "failed", "canceled", ""}).Draw(t, "status")
		n.Summary, n.ErrorReason, n.ErrorMessage = word.Draw(t, "summary"), word.Draw(t, "reason"), word.Draw(t, "error")
		n.New, n.Resolved = rapid.SliceOfN(item, 0, 12).Draw(t, "new"), rapid.SliceOfN(item, 0, 12).Draw(t, "resolved")
		for len(n.New) > 0 && len(n.New) < rapid.IntRange(0, 400).Draw(t, "many") {
			n.New = append(n.New, n.New...)
		}
		for range rapid.IntRange(0, 8).Draw(t, "more") {
			n.Kinds = append(n.Kinds, notice.AuditKind{Kind: word.Draw(t, "kind")})
			n.TopTeams = append(n.TopTeams, notice.AuditTeam{Name: word.Draw(t, "name")})
			n.Unread = append(n.Unread, notice.AuditUnread{Message: word.Draw(t, "unread")})
		}
		summary, details := render.AuditFinished(n)
		if len(details) > 10 {
			t.Fatalf("%d replies", len(details))
		}
		for _, m := range append([]render.Message{summary}, details...) {
			if len(m.Blocks) == 0 || len(m.Blocks) > 50 || m.Text == "" || utf8.RuneCountInString(m.Text) > 4000 {
				t.Fatalf("%d blocks, text %q", len(m.Blocks), m.Text)
			}
			total := 0
			for _, text := range append(texts(t, m), m.Text) {
				size := utf8.RuneCountInString(text)
				total += size
				if size == 0 || size > 3000 || !utf8.ValidString(text) || markup.MatchString(text) {
					t.Fatalf("%d characters: %q", size, text)
				}
			}
			if total > 11_000 {
				t.Fatalf("%d characters in all", total)
			}
		}
	})
}

func TestPlain_IsTextWithoutMarkup(t *testing.T) {
	summary, details := render.AuditFinished(audited())
	text := render.Plain(append([]render.Message{summary}, details...)...)
	require.Contains(t, text, "Open the audit: https://nthlayer.example.org/audits/1?a=1&b=2")
	require.Contains(t, text, "ann@example.org is missing (changed by Eve (web))")
	require.NotRegexp(t, "[*`<>]|&amp;", text)
}

func TestMailOf_Run_SaysWhatSlackIsTold(t *testing.T) {
	n := succeeded()
	n.TeamName = "Search & <script>alert(1)</script>"
	mail, err := render.MailOf(notice.Notice{Run: &n})
	require.NoError(t, err)
	require.Equal(t, "✅ Search & <script>alert(1)</script> was reconciled", mail.Subject)
	for _, want := range []string{"+ ann@example.org joins as manager", "1 member added, 1 role changed, 1 member removed"} {
		require.Contains(t, mail.Text, want)
	}
	require.Contains(t, mail.HTML, "ann@example.org joins as manager")
	require.NotContains(t, mail.HTML, "<script>")
}

func TestMailOf_Audit_IsItsReport(t *testing.T) {
	n := audited()
	mail, err := render.MailOf(notice.Notice{Audit: &n})
	require.NoError(t, err)
	require.Contains(t, mail.Subject, "NthLayer audit nightly: 12 of 240 teams out of sync (+3)")
	for _, body := range []string{mail.Text, mail.HTML} {
		require.Contains(t, body, "bob@example.org: is responder and should be manager")
		require.Contains(t, body, "nthlayer audit report "+job)
	}
}
