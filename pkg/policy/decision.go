// Package policy holds the guards: they look at a plan before it is applied and allow it, deny it, or say that a person
// has to approve it.
//
// The rules are written in Rego. Those that every company needs are shipped with their parameters (rules/); a company
// overrides parameters and adds rules of its own with a directory. Whatever cannot be evaluated is an error and never an
// allowance: rules are type-checked against what they are given (input.schema.json), an unknown parameter or a result
// that is no violation is refused, and nothing that a rule may call reads the network, the clock or the environment.
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
}

// decide sums violations up: the sternest counts.
func decide(violations []Violation) Decision {
	d := Decision{Verdict: Allow, Violations: violations}
	for _, v := range violations {
		d.Reasons = append(d.Reasons, v.Reason)
		if d.Verdict != Deny {
			d.Verdict = v.Verdict
		}
	}
	return d
}
