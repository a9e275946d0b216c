// Package ownership is the domain: who shall own a team, who does, and what changes make the second equal the first.
//
// It is pure. Everything comes in as values and goes out as values; the package reads no clock and does no I/O, so the
// same desired and observed state always give the same plan.
package ownership

import "strings"

// Role is a person's role in a team, in the target's terms.
type Role string

// The roles a team knows, strongest first.
const (
	Manager   Role = "manager"
	Responder Role = "responder"
	Observer  Role = "observer"
)

// Desired is the ownership of a team as the source declares it.
type Desired struct {
	TeamID      string   `json:"team_id"`               // the team's tag in the source
	SourceID    string   `json:"source_id,omitempty"`   // the source's immutable id; empty where the request gave the desired state
	TargetID    string   `json:"target_id,omitempty"`   // the target team that the source declares, if it does
	Name        string   `json:"name,omitempty"`        // empty: not declared
	Description string   `json:"description,omitempty"` // empty: not declared
	Archived    bool     `json:"archived,omitempty"`
	Groups      []string `json:"groups,omitempty"` // which the source puts the team in, for example its tier
	Members     []Member `json:"members"`
}

// Member is a person who shall be in the team.
type Member struct {
	Email string   `json:"email,omitempty"` // as declared; empty where the source knows none
	Name  string   `json:"name,omitempty"`
	Roles []string `json:"roles,omitempty"` // the source's words, mapped by Roles
}

// Observed is a team as it is on the target. It is always whole: a read that missed anything is an error, not an
// Observed.
type Observed struct {
	TargetID    string           `json:"target_id"`
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Members     []ObservedMember `json:"members"`
}

// ObservedMember is a person who is in the team on the target.
type ObservedMember struct {
	User User `json:"user"`
	Role Role `json:"role"`
}

// User is a person's account on the target.
type User struct {
	ID    string   `json:"id"`
	Email string   `json:"email"`
	Name  string   `json:"name,omitempty"`
	Base  BaseRole `json:"base_role,omitempty"`
}

// TeamRef names a team on the target.
type TeamRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Rotation says who is paged for a team: the people on its escalation policies, directly or through a schedule, with
// the names of the policies that hold them. Such people cannot leave the team.
type Rotation map[string][]string // user id -> escalation policies

// NormalizeEmail is the form in which e-mail addresses are compared: trimmed and in lower case. Platforms and identity
// providers spell the same address differently (reference: terraform-provider-pagerduty PR 756).
func NormalizeEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// NormalizeName is the form in which team names are compared: trimmed, runs of blanks squeezed to one, as PagerDuty
// does when it stores them.
func NormalizeName(name string) string { return strings.Join(strings.Fields(name), " ") }
