// Package policy holds the guards: they look at a plan before it is applied and allow it, deny it, or say that a person
// has to approve it.
// Here are the words for what they say; package rules is how they come to it.
package policy

import (
	"cmp"
	"slices"
	"time"
)

// Verdict is what a guard says of a plan.
type Verdict string

// The verdicts, mildest first.
const (
	Allow           Verdict = "allow"
	RequireApproval Verdict = "require_approval"
	Deny            Verdict = "deny"
)

// Violation is what one rule has against a plan.
type Violation struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"` // Deny or RequireApproval; Allow where the rule only notes something
	Reason  string  `json:"reason"`  // a sentence for people
	// By is who has to approve, where the verdict is RequireApproval; nil: one approver who did not ask for the run.
	By *Approvers `json:"by,omitempty"`
}

// Approvers are so many different people who hold a role on the team.
type Approvers struct {
	Role      string `json:"role"`
	Count     int    `json:"count"`
	Requester bool   `json:"requester,omitempty"` // whoever asked for the run may be one of them
}

// Vote is one person's approval of a plan.
type Vote struct {
	Principal string    `json:"principal"`
	Roles     []string  `json:"roles"` // which the person held on the team when voting
	Reason    string    `json:"reason,omitempty"`
	Via       string    `json:"via"` // api or slack
	At        time.Time `json:"at"`
}

// Decision is a verdict and a sentence for each rule that did not allow the plan.
type Decision struct {
	Verdict    Verdict     `json:"verdict"`
	Reasons    []string    `json:"reasons,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
	Revision   string      `json:"revision,omitempty"` // of the bundle that decided
	Approvers  []Approvers `json:"approvers,omitempty"`
}

// Missing is whose approval the decision still waits for. One person counts once for each role, and whoever asked for the
// run counts only where that is allowed.
func (d Decision) Missing(requester string, votes []Vote) []Approvers {
	var missing []Approvers
	for _, a := range d.Approvers {
		who := map[string]bool{}
		for _, v := range votes {
			if slices.Contains(v.Roles, a.Role) && (a.Requester || v.Principal != requester) {
				who[v.Principal] = true
			}
		}
		if a.Count -= len(who); a.Count > 0 {
			missing = append(missing, a)
		}
	}
	return missing
}

// Decide sums violations up: the sternest counts, and everybody whom a rule asks for has to approve.
func Decide(violations []Violation) Decision {
	d := Decision{Verdict: Allow, Violations: violations}
	for _, v := range violations {
		if v.Verdict == Allow {
			continue
		}
		d.Reasons = append(d.Reasons, v.Reason)
		if d.Verdict != Deny {
			d.Verdict = v.Verdict
		}
		if v.Verdict == RequireApproval {
			d.ask(cmp.Or(v.By, &Approvers{Role: DefaultApprover, Count: 1}))
		}
	}
	return d
}

// DefaultApprover is the role of who approves where a rule does not say.
const DefaultApprover = "approver"

// ask adds who has to approve: of each role the most that any rule asks for, and the requester only where all let it.
func (d *Decision) ask(by *Approvers) {
	i := slices.IndexFunc(d.Approvers, func(a Approvers) bool { return a.Role == by.Role })
	if i < 0 {
		d.Approvers = append(d.Approvers, *by)
		return
	}
	d.Approvers[i].Count = max(d.Approvers[i].Count, by.Count)
	d.Approvers[i].Requester = d.Approvers[i].Requester && by.Requester
}
