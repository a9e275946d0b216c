package reconcile

import (
	"fmt"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// summary says in one sentence what came out.
func summary(s *State, v verdict) string {
	switch {
	case len(s.done()) == 0 && (s.Plan == nil || v.reason != ""):
		return v.message
	case s.Request.DryRun && v.reason == "":
		text := "dry run: " + describePlan(*s.Plan)
		if s.Decision.Verdict == policy.RequireApproval && !s.Plan.Empty() {
			text += "; needs approval"
		}
		return text
	}
	var done ownership.Plan
	if s.Plan != nil {
		done.Issues, done.LeftOut, done.Ignored = s.Plan.Issues, s.Plan.LeftOut, s.Plan.Ignored
	}
	missed, unknown := 0, 0
	for _, c := range s.done() {
		switch c.Outcome {
		case trail.Applied:
			done.Changes = append(done.Changes, c.Change)
		case trail.Unknown:
			unknown++
		default:
			missed++
		}
	}
	text := describePlan(done)
	if s.Request.RollbackOf != "" {
		text = "undone: " + text
	}
	if missed > 0 {
		text += fmt.Sprintf(", %s not made", count(missed, "change", "changes"))
	}
	if unknown > 0 {
		text += fmt.Sprintf(", %s perhaps made", count(unknown, "change", "changes"))
	}
	return text
}

// describePlan counts a plan's changes in words.
func describePlan(p ownership.Plan) string {
	words := []struct{ kind, one, many string }{
		{string(ownership.CreateTeam), "team created", "teams created"},
		{string(ownership.UpdateTeam), "team updated", "teams updated"},
		{string(ownership.AddMember), "member added", "members added"},
		{string(ownership.ChangeRole), "role changed", "roles changed"},
		{string(ownership.RemoveMember), "member removed", "members removed"},
	}
	var parts []string
	for _, w := range words {
		if n := p.Count(ownership.Kind(w.kind)); n > 0 {
			parts = append(parts, count(n, w.one, w.many))
		}
	}
	text := "nothing to do"
	if len(parts) > 0 {
		text = strings.Join(parts, ", ")
	}
	if n := len(p.LeftOut); n > 0 {
		text += "; " + count(n, "change", "changes") + " left out"
	}
	if n := len(p.Issues); n > 0 {
		text += "; " + count(n, "issue needs", "issues need") + " attention"
	}
	if n := len(p.Ignored); n > 0 {
		text += "; " + count(n, "difference", "differences") + " ignored"
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
