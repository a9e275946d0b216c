package output

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

// ViolationLine is what a rule has against a plan, in one line.
func ViolationLine(v policy.Violation) string {
	verdict := string(v.Verdict)
	if v.By != nil {
		verdict += " by " + approvers(*v.By)
	}
	return fmt.Sprintf("%s (%s): %s", clean(v.Rule), verdict, clean(v.Reason))
}

// approvers names who has to approve: "2 of approver".
func approvers(a policy.Approvers) string {
	text := fmt.Sprintf("%d of %s", a.Count, clean(a.Role))
	if a.Requester {
		text += ", also who asked"
	}
	return text
}

// ShowExplanation writes why a policy decides as it does, rule by rule.
func ShowExplanation(w io.Writer, e rules.Explanation) error {
	var b strings.Builder
	b.WriteString(statusStyle(string(e.Decision.Verdict)).Render(string(e.Decision.Verdict)))
	for i, a := range e.Decision.Approvers {
		b.WriteString([]string{" by ", " and "}[min(i, 1)] + approvers(a))
	}
	b.WriteByte('\n')
	for _, r := range e.Rules {
		fmt.Fprintf(&b, "\n%s  %s\n", bold.Render(clean(r.Name)), clean(r.Title))
		if r.Description != "" {
			fmt.Fprintf(&b, "  %s\n", faint.Render(clean(r.Description)))
		}
		for _, v := range r.Violations {
			fmt.Fprintf(&b, "  %s\n", statusStyle(string(v.Verdict)).Render(ViolationLine(v)))
		}
		if len(r.Violations) == 0 {
			b.WriteString("  found nothing\n")
		}
		for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
			value, err := json.Marshal(r.Parameters[name])
			if err != nil {
				return fmt.Errorf("show parameter %s: %w", name, err)
			}
			fmt.Fprintf(&b, "  %s = %s\n", clean(name), clean(string(value)))
		}
		for line := range strings.Lines(r.Trace) {
			fmt.Fprintf(&b, "  | %s\n", clean(strings.TrimRight(line, "\n")))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Fleet is what a policy says of the plans of many teams, beside what the deployed one says.
type Fleet struct {
	Revision string      `json:"revision"` // of the policy
	Teams    []FleetTeam `json:"teams"`    // by id
}

// FleetTeam is one team of a fleet.
type FleetTeam struct {
	TeamID   string           `json:"team_id"`
	Changes  int              `json:"changes"`
	Deployed *policy.Decision `json:"deployed,omitempty"` // nil where there is nothing to decide on
	Policy   *policy.Decision `json:"policy,omitempty"`
	Error    string           `json:"error,omitempty"` // why there is no plan
}

// Failed are the teams of which there is no plan.
func (f Fleet) Failed() (n int) {
	for _, t := range f.Teams {
		if t.Error != "" {
			n++
		}
	}
	return n
}

var verdicts = []policy.Verdict{policy.Allow, policy.RequireApproval, policy.Deny}

func sternness(d *policy.Decision) int { return slices.Index(verdicts, d.Verdict) }

// ShowFleet writes how many plans each of both policies would let pass and stop, and which it would newly stop or let pass.
func ShowFleet(w io.Writer, f Fleet) error {
	counts := map[[2]policy.Verdict]int{}
	decided := 0
	for _, t := range f.Teams {
		if t.Policy != nil {
			decided++
			counts[[2]policy.Verdict{t.Deployed.Verdict, t.Policy.Verdict}]++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d to change, %d with nothing to decide on, %d without a plan\n\n",
		plural(len(f.Teams), "team"), decided, len(f.Teams)-decided-f.Failed(), f.Failed())
	matrix := table{headings: []string{"deployed \\ this policy"}}
	for _, v := range verdicts {
		matrix.headings = append(matrix.headings, words(string(v)))
	}
	for _, before := range verdicts {
		row := []cell{text(words(string(before)))}
		for _, after := range verdicts {
			row = append(row, number(counts[[2]policy.Verdict{before, after}]))
		}
		matrix.add(row...)
	}
	if err := matrix.write(&b); err != nil {
		return err
	}
	f.list(&b, "Newly stopped", func(t FleetTeam) bool { return t.Policy != nil && sternness(t.Policy) > sternness(t.Deployed) })
	f.list(&b, "Stopped less than now", func(t FleetTeam) bool { return t.Policy != nil && sternness(t.Policy) < sternness(t.Deployed) })
	f.list(&b, "Without a plan", func(t FleetTeam) bool { return t.Error != "" })
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Fleet) list(b *strings.Builder, heading string, of func(FleetTeam) bool) {
	for _, t := range f.Teams {
		if !of(t) {
			continue
		}
		if heading != "" {
			fmt.Fprintf(b, "\n%s\n", bold.Render(heading))
			heading = ""
		}
		if t.Error != "" {
			fmt.Fprintf(b, "  %s: %s\n", clean(t.TeamID), clean(t.Error))
			continue
		}
		fmt.Fprintf(b, "  %s: %s → %s, %s\n", clean(t.TeamID), words(string(t.Deployed.Verdict)), words(string(t.Policy.Verdict)), plural(t.Changes, "change"))
		why := t.Policy
		if sternness(t.Policy) < sternness(t.Deployed) {
			why = t.Deployed
		}
		for _, v := range why.Violations {
			if v.Verdict != policy.Allow {
				fmt.Fprintf(b, "    %s\n", ViolationLine(v))
			}
		}
	}
}
