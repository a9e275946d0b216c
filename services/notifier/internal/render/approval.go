package render

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/slack"
)

// What the message of an approval holds at most.
const (
	reasonBytes  = 500 // why somebody asked
	summaryVotes = 10
	// Slack takes 100 characters in the title of a dialog, 300 in its text and 30 on its buttons (Block Kit reference).
	confirmBytes = 250
)

// ApprovalRequested gives the message that asks for the approval of a plan, and later says what came of that. buttons: it
// can be answered where it is read; otherwise it names the commands. The replies tell the plan alone: they stay what they
// are when the message changes.
func ApprovalRequested(n notice.ApprovalRequested, buttons bool) (summary Message, details []Message) {
	s := story{title: approvalTitle(n), name: approvalTeam(n), whole: "nthlayer run get " + n.ApprovalOf, footer: approvalFooter(n)}
	s.list("Why the rules ask", bullets(n.Reasons), summaryReasons)
	s.list("What is to change", planLines(n.Changes), summaryChanges)
	s.list("Ignored", ignoredLines(n.Ignored), summaryIgnored)
	details = s.details()

	if n.Outcome != "" {
		s.tell(n.Message)
	}
	if reason := escape(n.Reason, reasonBytes); reason != "" {
		s.blocks = append([]slack.Block{section("*Why it was asked for*\n" + reason)}, s.blocks...)
	}
	if len(n.Votes) > 0 {
		text, rest := clip("Approved by", voteLines(n.Votes), summaryVotes)
		if rest > 0 {
			text += fmt.Sprintf("\n…and %d more", rest)
		}
		s.blocks = append(s.blocks, section(text))
	}
	if n.Outcome == "" {
		s.blocks = append(s.blocks, section(wanted(n, buttons)))
		if buttons {
			s.blocks = append(s.blocks, answers(n))
		}
	}
	return s.summary(), details
}

func approvalTeam(n notice.ApprovalRequested) string {
	return cmp.Or(escape(n.TeamName, nameBytes), escape(n.TeamID, nameBytes), "a team")
}

// approvalTitle says in one line what the plan waits for, or what came of it.
func approvalTitle(n notice.ApprovalRequested) string {
	plan := "*" + approvalTeam(n) + "*: the plan (" + tally(n.Changes) + ")"
	switch n.Outcome {
	case "":
		return "✋ " + plan + " waits for approval"
	case "approved":
		return "✅ " + plan + " was approved by " + voters(n.Votes)
	case "rejected":
		return "⛔ " + plan + " was rejected"
	case "expired":
		return "⌛ " + plan + " was not approved in time"
	case "canceled":
		return "⏹️ " + plan + " was canceled"
	case "replaced":
		return "🔁 " + plan + " is out of date"
	default:
		return "ℹ️ " + plan + ": " + escape(words(n.Outcome), nameBytes)
	}
}

// tally counts changes by what they are.
func tally(changes []notice.Change) string {
	kinds := []struct{ kind, words string }{
		{"create_team", "team to create"}, {"update_team", "team to update"}, {"add_member", "to add"}, {"change_role", "to change"}, {"remove_member", "to remove"},
	}
	counts, rest := map[string]int{}, len(changes)
	for _, c := range changes {
		counts[c.Kind]++
	}
	var parts []string
	for _, k := range kinds {
		if n := counts[k.kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k.words))
			rest -= n
		}
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("%d other", rest))
	}
	return cmp.Or(strings.Join(parts, ", "), "no changes")
}

// voters names who approved: few, and briefly.
func voters(votes []notice.ApprovalVote) string {
	const most = 3
	var names []string
	for _, v := range votes[:min(len(votes), most)] {
		names = append(names, voter(v))
	}
	if rest := len(votes) - most; rest > 0 {
		names = append(names, fmt.Sprintf("%d more", rest))
	}
	if len(names) < 2 {
		return cmp.Or(strings.Join(names, ""), "nobody that is named")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// voter is who voted, and where if that is not the API.
func voter(v notice.ApprovalVote) string {
	name := cmp.Or(escape(v.By, nameBytes), "somebody")
	switch v.Via {
	case "", "api":
		return name
	case "slack":
		return name + " (Slack)"
	default:
		return name + " (" + escape(words(v.Via), nameBytes) + ")"
	}
}

func voteLines(votes []notice.ApprovalVote) []string {
	lines := make([]string, len(votes))
	for i, v := range votes {
		lines[i] = "• " + voter(v) + suffix(", ", moment(v.At)) + suffix(": ", escape(v.Reason, reasonBytes))
	}
	return lines
}

func bullets(texts []string) []string {
	lines := make([]string, len(texts))
	for i, text := range texts {
		lines[i] = "• " + escape(text, lineBytes)
	}
	return lines
}

// planLines tell what each change is, whatever has become of it.
func planLines(changes []notice.Change) []string {
	lines := make([]string, len(changes))
	for i, c := range changes {
		lines[i] = what(c)
	}
	return lines
}

// wanted says whose answer the plan waits for, until when, and how to give it.
func wanted(n notice.ApprovalRequested, buttons bool) string {
	text := "*Who has to approve:* " + cmp.Or(escape(strings.Join(n.Approvers, ", "), lineBytes), "an approver")
	if until := moment(n.ExpiresAt); until != "" {
		text += "\n*Until:* " + until
	}
	if n.ApprovalOf == "" {
		return text
	}
	text += "\n" + code("nthlayer run get "+n.ApprovalOf) + " shows everything"
	if !buttons {
		text += "\n" + code("nthlayer run approve "+n.ApprovalOf+" --plan "+n.PlanHash) + " or " + code("nthlayer run reject "+n.ApprovalOf) + " answers"
	}
	return text
}

// moment is a time as each reader's own clock has it; empty for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time}|%s>", t.Unix(), t.UTC().Format("2006-01-02 15:04 UTC"))
}

// answers are the buttons. Each asks once more, as a click is quickly made.
func answers(n notice.ApprovalRequested) slack.Block {
	value, team := notice.ButtonValue(n.ApprovalOf, n.PlanHash), approvalTeam(n)
	approve := goslack.NewButtonBlockElement(notice.ApproveAction, value, plainText("Approve")).
		WithStyle(goslack.StylePrimary).
		WithConfirm(dialog("Approve this plan?", team+": "+tally(n.Changes)+".", "Approve", goslack.StylePrimary))
	reject := goslack.NewButtonBlockElement(notice.RejectAction, value, plainText("Reject")).
		WithStyle(goslack.StyleDanger).
		WithConfirm(dialog("Reject this plan?", team+": nothing is changed, and the run ends.", "Reject", goslack.StyleDanger))
	return goslack.NewActionBlock("approval", approve, reject)
}

func dialog(title, text, yes string, style goslack.Style) *goslack.ConfirmationBlockObject {
	c := goslack.NewConfirmationBlockObject(plainText(title), plainText(cut(text, confirmBytes)), plainText(yes), plainText("Back"))
	c.Style = style
	return c
}

// cut keeps escaped text within limit bytes, and no entity in halves.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	text = strings.ToValidUTF8(text[:limit], "")
	if i := strings.LastIndexByte(text, '&'); i >= 0 && !strings.Contains(text[i:], ";") {
		text = text[:i]
	}
	return text + "…"
}

func plainText(text string) *goslack.TextBlockObject {
	return goslack.NewTextBlockObject(goslack.PlainTextType, text, false, false)
}

func approvalFooter(n notice.ApprovalRequested) slack.Block {
	var parts []string
	if who := escape(n.RequestedBy, nameBytes); who != "" {
		parts = append(parts, "asked for by "+who)
	}
	short := n.PlanHash[:min(len(n.PlanHash), 12)]
	for _, part := range []struct{ label, value string }{{"team ", n.TeamID}, {"plan ", short}, {"job ", n.ApprovalOf}} {
		if value := code(part.value); value != "" {
			parts = append(parts, part.label+value)
		}
	}
	return context(parts)
}

// Whisper is a message that one person alone sees: why what they pressed had no effect.
func Whisper(text string) string { return cmp.Or(escape(text, summaryText), "It had no effect.") }
