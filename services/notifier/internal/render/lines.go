package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

func changesTitle(changes []notice.Change) string {
	if slices.ContainsFunc(changes, func(c notice.Change) bool { return c.Outcome == "applied" }) {
		return "What changed"
	}
	return "What was to change"
}

// changeLines gives one line a change, those that failed first: they are what somebody has to act on.
func changeLines(changes []notice.Change) []string {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b notice.Change) int { return cmp.Compare(urgency(a), urgency(b)) })
	lines := make([]string, len(sorted))
	for i, c := range sorted {
		lines[i] = changeLine(c)
	}
	return lines
}

func urgency(c notice.Change) int {
	switch c.Outcome {
	case "failed":
		return 0
	case "applied":
		return 2
	default:
		return 1
	}
}

// changeLine reads like a line of a diff: + ~ -.
func changeLine(c notice.Change) string {
	line := what(c)
	switch c.Outcome {
	case "applied", "":
		return line
	case "failed":
		return "❌ " + line + " (failed" + suffix(": ", escape(c.Message, lineBytes)) + ")"
	case "skipped":
		return line + " (" + cmp.Or(escape(c.Message, lineBytes), "not done") + ")"
	case "denied": // the guards' reasons stand above, once
		return line + " (not allowed)"
	default:
		return line + " (" + escape(words(c.Outcome), nameBytes) + ")"
	}
}

func what(c notice.Change) string {
	who, before, after := escape(c.Who, nameBytes), escape(c.Before, nameBytes), escape(c.After, nameBytes)
	switch c.Kind {
	case "create_team":
		return "`+` team " + who + " is created" + suffix(" as ", after)
	case "add_member":
		return "`+` " + who + " joins" + suffix(" as ", after)
	case "remove_member":
		return "`-` " + who + " leaves" + suffix(", was ", before)
	case "change_role":
		return "`~` " + who + ": " + before + " → " + after
	case "update_team":
		return "`~` team " + who + " is now" + suffix(" ", after) + suffix(", was ", before)
	default:
		return "`~` " + escape(words(c.Kind), nameBytes) + " " + who + suffix(": ", before) + suffix(" → ", after)
	}
}

// suffix is nothing where there is nothing to say.
func suffix(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// issueLines give what stays until a person acts. Most messages begin with whom they are about.
func issueLines(issues []notice.Issue) []string {
	lines := make([]string, len(issues))
	for i, issue := range issues {
		_, entity, found := strings.Cut(issue.Entity, ":") // "person:ann@example.org"
		if !found {
			entity = issue.Entity
		}
		message := cmp.Or(issue.Message, words(issue.Kind))
		if entity == "" || strings.HasPrefix(message, entity) {
			lines[i] = "• " + escape(message, lineBytes)
		} else {
			lines[i] = "• " + escape(entity, nameBytes) + ": " + escape(message, lineBytes)
		}
	}
	return lines
}

// ignoredLines say what ignore rules hide, why and until when.
func ignoredLines(ignored []notice.Ignored) []string {
	lines := make([]string, len(ignored))
	for i, hidden := range ignored {
		lines[i] = fmt.Sprintf("• %s %s, until %s: %s", escape(words(hidden.Kind), nameBytes), escape(hidden.Who, nameBytes),
			ownership.LastDay(hidden.Until).UTC().Format(time.DateOnly), escape(hidden.Reason+" (ask "+hidden.Owner+")", lineBytes))
	}
	return lines
}

func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
