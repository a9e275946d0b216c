package render

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/report"
	"github.com/nthlayer/nthlayer/pkg/slack"
)

// What the message of an audit holds at most.
const (
	auditKinds  = 5
	auditTeams  = 5
	auditUnread = 5
)

// AuditFinished gives the message that tells of an audit's end, and the replies of its thread with what is new and what
// is gone.
func AuditFinished(n notice.AuditFinished) (summary Message, details []Message) {
	s := story{
		title: auditEmoji(n) + " " + auditTitle(n), name: auditName(n), whole: "nthlayer audit report " + n.AuditID, footer: auditFooter(n),
	}
	s.tell(n.Summary)
	if n.Status == "failed" {
		s.tell(n.ErrorMessage)
	}
	if n.Counts.Unread > 0 {
		s.tell("What was found before in teams that could not be read was left as it is.")
	}
	s.block("Counts", auditCounts(n), 2)
	s.block("By kind", kindLines(n.Kinds), auditKinds)
	s.block("Most findings", teamLines(n.TopTeams), auditTeams)
	s.block("Could not be read", unreadLines(n.Unread), auditUnread)
	if address := link(n.URL); address != "" {
		s.blocks = append(s.blocks, section("<"+address+"|Open the audit>"))
	}
	lists := append(itemLists("New or returned", n.New, n.Counts.New+n.Counts.Reopened), itemLists("Resolved", n.Resolved, n.Counts.Resolved)...)
	return s.summary(), pack(lists, s.name, s.whole)
}

// block puts the first lines into the message; the rest is for the report.
func (s *story) block(title string, lines []string, limit int) {
	if len(lines) == 0 {
		return
	}
	text, rest := clip(title, lines, limit)
	if rest > 0 {
		text += fmt.Sprintf("\n…and %d more in the report", rest)
	}
	s.blocks = append(s.blocks, section(text))
}

func auditEmoji(n notice.AuditFinished) string {
	switch {
	case n.Status == "failed":
		return "❌"
	case n.Status == "canceled":
		return "⏹️"
	case n.Status == "succeeded" && n.Counts.OutOfSync == 0 && n.Counts.Unknown == 0:
		return "✅"
	default:
		return "⚠️"
	}
}

func auditTitle(n notice.AuditFinished) string {
	return "*" + auditName(n) + "*: " + escape(report.Headline(n), lineBytes)
}

func auditName(n notice.AuditFinished) string {
	return "Audit" + suffix(" ", escape(n.ScheduleID, nameBytes))
}

// auditCounts is one line of how teams stand and one of findings.
func auditCounts(n notice.AuditFinished) []string {
	show := func(name string, of func(notice.AuditCounts) int) string {
		return fmt.Sprintf("%d %s%s", of(n.Counts), name, inParentheses(report.Delta(n, of)))
	}
	teams := []string{
		show("in sync", func(c notice.AuditCounts) int { return c.InSync }),
		show("out of sync", func(c notice.AuditCounts) int { return c.OutOfSync }),
		show("unknown", func(c notice.AuditCounts) int { return c.Unknown }),
	}
	findings := []string{
		show("open", func(c notice.AuditCounts) int { return c.Open }),
		show("acknowledged", func(c notice.AuditCounts) int { return c.Acknowledged }),
		fmt.Sprintf("%d new", n.Counts.New), fmt.Sprintf("%d returned", n.Counts.Reopened), fmt.Sprintf("%d resolved", n.Counts.Resolved),
	}
	return []string{"Teams: " + strings.Join(teams, ", "), "Findings: " + strings.Join(findings, ", ")}
}

func inParentheses(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func kindLines(kinds []notice.AuditKind) (lines []string) {
	for _, k := range kinds {
		line := fmt.Sprintf("• %d %s", k.Open, escape(report.Kind(k.Kind), nameBytes))
		if k.New > 0 {
			line += fmt.Sprintf(", %d new", k.New)
		}
		lines = append(lines, line)
	}
	return lines
}

func teamLines(teams []notice.AuditTeam) (lines []string) {
	for _, t := range teams {
		name := cmp.Or(escape(t.Name, nameBytes), escape(t.TeamID, nameBytes), "a team")
		lines = append(lines, fmt.Sprintf("• %s: %d", name, t.Open))
	}
	return lines
}

func unreadLines(unread []notice.AuditUnread) (lines []string) {
	for _, u := range unread {
		teams := "teams"
		if u.Teams == 1 {
			teams = "team"
		}
		lines = append(lines, fmt.Sprintf("• %d %s: %s", u.Teams, teams, cmp.Or(escape(u.Message, lineBytes), escape(words(u.Reason), nameBytes))))
	}
	return lines
}

// itemLists is a list for each team, in the order in which they come first. total is how many findings there are, of which
// a notice may hold fewer.
func itemLists(title string, items []notice.AuditItem, total int) (lists []list) {
	index := map[string]int{}
	for _, i := range items {
		team := cmp.Or(escape(i.TeamID, nameBytes), "no team")
		place, seen := index[team]
		if !seen {
			place = len(lists)
			index[team] = place
			lists = append(lists, list{title: title + ": " + team})
		}
		line := "• " + escape(report.Finding(i), 2*lineBytes)
		if i.Returned {
			line += " (returned)"
		}
		lists[place].lines = append(lists[place].lines, line)
	}
	if rest := total - len(items); rest > 0 && len(lists) > 0 {
		last := &lists[len(lists)-1]
		last.lines = append(last.lines, fmt.Sprintf("…and %d more in the report", rest))
	}
	return lists
}

// link is an address that Slack may show as a link; anything else is nothing.
func link(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || len(u.String()) > 2000 || strings.ContainsAny(u.String(), "<>| ") {
		return ""
	}
	return entities.Replace(u.String())
}

// auditFooter says what ran it, and how to see everything.
func auditFooter(n notice.AuditFinished) slack.Block {
	var parts []string
	if who := escape(n.RequestedBy, nameBytes); who != "" {
		parts = append(parts, "asked for by "+who)
	}
	for _, part := range []struct{ label, value string }{{"schedule ", n.ScheduleID}, {"", n.ErrorReason}, {"audit ", n.AuditID}} {
		if value := code(part.value); value != "" {
			parts = append(parts, part.label+value)
		}
	}
	if n.AuditID != "" {
		parts = append(parts, code("nthlayer audit report "+n.AuditID))
	}
	return context(parts)
}
