// Package policy holds the guards: they look at a plan before it is applied and allow it, deny it, or say that a person
// has to approve it.
// Here are the words for what they say; package rules is how they come to it.
package policy

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
	Verdict Verdict `json:"verdict"` // RequireApproval or Deny
	Reason  string  `json:"reason"`  // a sentence for people
}

// Decision is a verdict and a sentence for each rule that did not allow the plan.
type Decision struct {
	Verdict    Verdict     `json:"verdict"`
	Reasons    []string    `json:"reasons,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
	Revision   string      `json:"revision,omitempty"` // of the bundle that decided
}

// Decide sums violations up: the sternest counts.
func Decide(violations []Violation) Decision {
	d := Decision{Verdict: Allow, Violations: violations}
	for _, v := range violations {
		d.Reasons = append(d.Reasons, v.Reason)
		if d.Verdict != Deny {
			d.Verdict = v.Verdict
		}
	}
	return d
}
