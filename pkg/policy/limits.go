package policy

import (
	"cmp"
	"fmt"
	"math"
	"path"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

func (d Decision) with(v Verdict, reason string) Decision {
	d.Reasons = append(d.Reasons, reason)
	if d.Verdict != Deny {
		d.Verdict = v
	}
	return d
}

// Limits bounds what one plan may do without a person. The zero value asks for approval of every removal.
type Limits struct {
	RemovalShare   float64  // of the team's members; a plan may always remove RemovalFloor of them
	RemovalFloor   int      // small teams change by large shares every day
	ProtectedTeams []string // team ids, with * and ? as in path.Match
}

// Check decides on a plan. A team is never emptied, whatever the limits say: an empty team is far more often a broken
// source than a wish, and its pages reach nobody.
func (l Limits) Check(p ownership.Plan) Decision {
	decision := Decision{Verdict: Allow}
	if p.Empty() {
		return decision
	}
	removals := p.Count(ownership.RemoveMember)
	if removals > 0 && p.Remaining() == 0 {
		decision = decision.with(Deny, fmt.Sprintf(
			"the plan would remove all %d members of the team and leave it empty; if the team is gone, archive it in the source", removals))
	}
	if allowed := l.removals(p.Members); removals > allowed {
		decision = decision.with(RequireApproval, fmt.Sprintf(
			"the plan would remove %d of %d members, more than the %d that may leave in one run without approval", removals, p.Members, allowed))
	}
	for _, pattern := range l.ProtectedTeams {
		if ok, err := path.Match(pattern, p.TeamID); ok || err != nil {
			decision = decision.with(RequireApproval, fmt.Sprintf(
				"the team is protected (%s): each change to it needs approval", cmp.Or(pattern, p.TeamID)))
			break
		}
	}
	return decision
}

func (l Limits) removals(members int) int {
	return max(l.RemovalFloor, int(math.Floor(l.RemovalShare*float64(members))))
}
