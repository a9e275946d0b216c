// Package report tells of an audit: for a terminal, an e-mail, a wiki, a spreadsheet, or as a page to keep.
//
// Every medium shows the same content, which is put together once (package-internal type document): the headline, the
// counts and how they moved since the audit before, what is wrong by kind and by team, what could not be read and why,
// what is new and what is gone, and what it cost. What comes from outside (names, messages) is put on one line, freed of
// what nobody sees, and escaped for its medium; it can neither change the layout nor act.
package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/notice"
)

// Report is an audit with what it found.
type Report struct {
	Audit notice.AuditFinished
	// Findings are all that are not resolved; empty: only those of the notice, the new and the resolved ones, are shown.
	Findings []notice.AuditItem
}

// Subject is the one line that an e-mail begins with.
func Subject(n notice.AuditFinished) string {
	name := "NthLayer audit"
	if schedule := clean(n.ScheduleID, nameRunes); schedule != "" {
		name += " " + schedule
	}
	subject := name + ": " + Headline(n)
	if fresh := n.Counts.New + n.Counts.Reopened; fresh > 0 {
		subject += "; " + count(fresh, "new finding")
	}
	return subject
}

// Headline says in one line what came out.
func Headline(n notice.AuditFinished) string {
	switch n.Status {
	case "succeeded", "incomplete":
		return outcome(n)
	case "failed":
		return "the audit failed, no team was compared"
	case "canceled":
		return "the audit was canceled"
	default:
		return "the audit ended as " + cmp.Or(words(clean(n.Status, nameRunes)), "unknown")
	}
}

func outcome(n notice.AuditFinished) string {
	c := n.Counts
	if c.Teams == 0 {
		return "there was no team to compare"
	}
	said := "all " + count(c.Teams, "team") + " in sync"
	if c.Teams == 1 {
		said = "the one team is in sync"
	}
	if c.OutOfSync > 0 || c.Unknown > 0 {
		said = fmt.Sprintf("%d of %s out of sync", c.OutOfSync, count(c.Teams, "team"))
		if delta := Delta(n, func(c notice.AuditCounts) int { return c.OutOfSync }); delta != "" {
			said += " (" + delta + ")"
		}
	}
	if c.Unknown > 0 {
		said += fmt.Sprintf(", %d unknown", c.Unknown)
	}
	return said
}

// Delta is how a count moved since the audit before: "+3", "-2", "±0". It is empty where there is nothing to compare with,
// also because this audit did not come to its end: what it did not see has not gone.
func Delta(n notice.AuditFinished, of func(notice.AuditCounts) int) string {
	if n.Previous == nil || (n.Status != "succeeded" && n.Status != "incomplete") {
		return ""
	}
	if d := of(n.Counts) - of(*n.Previous); d != 0 {
		return fmt.Sprintf("%+d", d)
	}
	return "±0"
}

// kinds are the kinds that name what would mend a finding, in words for what is wrong.
var kinds = map[string]string{
	"add_member":    "missing member",
	"remove_member": "extra member",
	"change_role":   "wrong role",
	"create_team":   "missing team",
	"update_team":   "team differs",
}

// Kind says in words what is wrong.
func Kind(kind string) string {
	kind = clean(kind, nameRunes)
	return cmp.Or(kinds[kind], words(kind), "unknown")
}

// words makes words of a name such as user_not_found.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

// Finding says in one line what is wrong, and who made it so where that is known. Most messages name whom they are about;
// the others get it put in front.
func Finding(item notice.AuditItem) string {
	line := finding(item)
	if by := clean(item.ChangedBy, nameRunes); by != "" {
		line += " (changed by " + by + ")"
	}
	return line
}

func finding(item notice.AuditItem) string {
	about := entity(item.Entity)
	message := cmp.Or(clean(item.Message, messageRunes), Kind(item.Kind))
	if about == "" || strings.Contains(message, about) {
		return message
	}
	return about + ": " + message
}

// entity is whom a finding is about, without the word for what that is: "person:ann@example.org".
func entity(ref string) string {
	if _, name, found := strings.Cut(ref, ":"); found {
		ref = name
	}
	return clean(ref, nameRunes)
}
