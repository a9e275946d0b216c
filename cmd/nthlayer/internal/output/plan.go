package output

import (
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowPlan writes a plan as a diff: what is added, changed and removed, what the guards say, and what a person has to
// look at.
func ShowPlan(w io.Writer, p *nthlayerv1.Plan) error {
	var b strings.Builder
	title := clean(p.GetTeamId())
	if name := clean(p.GetTeamName()); name != "" && name != title {
		title += " (" + name + ")"
	}
	target := "a new PagerDuty team"
	if id := p.GetTargetTeamId(); id != "" {
		target = "PagerDuty team " + clean(id)
	}
	fmt.Fprintf(&b, "%s → %s\n", bold.Render(title), target)
	fmt.Fprintf(&b, "%s%s\n", statusStyle(p.GetSyncStatus()).Render(words(p.GetSyncStatus())), faint.Render(counts(p)))

	if len(p.GetChanges()) > 0 {
		b.WriteByte('\n')
		width := 0
		for _, c := range p.GetChanges() {
			width = max(width, lipgloss.Width(person(c.GetEntityRef())))
		}
		for _, c := range p.GetChanges() {
			fmt.Fprintf(&b, "  %s\n", diffLine(c, width))
		}
	}
	if len(p.GetLeftOut()) > 0 {
		fmt.Fprintf(&b, "\n%s\n", bold.Render("Left out"))
		for _, c := range p.GetLeftOut() {
			fmt.Fprintf(&b, "  %s\n", diffLine(c, 0))
		}
	}
	if len(p.GetIssues()) > 0 {
		fmt.Fprintf(&b, "\n%s\n", bold.Render("To look at"))
		for _, i := range p.GetIssues() {
			writeIssue(&b, i)
		}
	}
	writeIgnored(&b, p.GetIgnored())
	writeDecision(&b, p.GetDecision())
	_, err := io.WriteString(w, b.String())
	return err
}

func counts(p *nthlayerv1.Plan) string {
	var parts []string
	if n := len(p.GetChanges()); n > 0 {
		parts = append(parts, plural(n, "change"))
	}
	parts = append(parts, plural(int(p.GetUnchanged()), "member")+" right already")
	return ": " + strings.Join(parts, ", ")
}

// ChangeLine is one change as a line of a diff; of one that failed it says why.
func ChangeLine(c *nthlayerv1.Change, failed bool, why string) string {
	line := diffLine(c, 0)
	if failed {
		return bad.Render("✗ ") + line + bad.Render(": "+clean(why))
	}
	return line
}

// diffLine writes a change in the manner of diff(1): + ~ -. The names of people are padded to width.
func diffLine(c *nthlayerv1.Change, width int) string {
	ref := person(c.GetEntityRef())
	padded := ref + strings.Repeat(" ", max(width-lipgloss.Width(ref), 0))
	before, after := fields(c.GetBefore().AsMap()), fields(c.GetAfter().AsMap())
	switch c.GetKind() {
	case "create_team":
		return good.Render("+ team    " + padded + differing(before, after))
	case "update_team":
		return caution.Render("~ team    " + padded + differing(before, after))
	case "add_member":
		return good.Render("+ add     " + padded + "  " + after["role"])
	case "remove_member":
		return bad.Render("- remove  " + padded + "  " + before["role"])
	case "change_role":
		return caution.Render("~ role    " + padded + "  " + before["role"] + " → " + after["role"])
	default:
		return caution.Render("~ " + words(c.GetKind()) + "  " + padded + differing(before, after))
	}
}

// differing lists the fields that are not the same before and after.
func differing(before, after map[string]string) string {
	var parts []string
	for _, name := range []string{"name", "description"} {
		switch {
		case before[name] == after[name]:
		case before[name] == "":
			parts = append(parts, fmt.Sprintf("%s %q", name, after[name]))
		default:
			parts = append(parts, fmt.Sprintf("%s %q → %q", name, before[name], after[name]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

func fields(m map[string]any) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = clean(fmt.Sprint(v))
	}
	return out
}

func writeIssue(b *strings.Builder, i *nthlayerv1.Issue) {
	mark := "!"
	note := ""
	if i.GetBlocksRemovals() {
		note = faint.Render(" (nobody is removed while this stands)")
	}
	fmt.Fprintf(b, "  %s %s: %s%s\n", caution.Render(mark), person(i.GetEntityRef()), clean(i.GetMessage()), note)
}

// writeIgnored says what ignore rules hide, and until when.
func writeIgnored(b *strings.Builder, ignored []*nthlayerv1.IgnoredChange) {
	if len(ignored) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", bold.Render("Ignored"))
	for _, i := range ignored {
		what := "  ! " + person(i.GetIssue().GetEntityRef()) + ": " + clean(i.GetIssue().GetMessage())
		if i.GetChange() != nil {
			what = "  " + ansi.Strip(diffLine(i.GetChange(), 0))
		}
		fmt.Fprintf(b, "%s\n    %s\n", faint.Render(what), faint.Render(fmt.Sprintf("until %s: %s (rule %s, ask %s)",
			date(i.GetExpiresAt()), clean(i.GetReason()), clean(i.GetRuleId()), clean(i.GetOwner()))))
	}
}

func writeDecision(b *strings.Builder, d *nthlayerv1.Decision) {
	verdict, sentence := d.GetVerdict(), ""
	switch verdict {
	case "", "allow":
		return
	case "deny":
		sentence = "The guards refuse this plan"
	case "require_approval":
		sentence = "The guards want a person's approval"
	default:
		sentence = words(verdict)
	}
	fmt.Fprintf(b, "\n%s\n", statusStyle(verdict).Bold(true).Render(sentence))
	for _, reason := range d.GetReasons() {
		fmt.Fprintf(b, "  %s\n", clean(reason))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
