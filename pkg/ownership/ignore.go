package ownership

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// IgnoreKind says what an ignore rule's value names.
type IgnoreKind string

// The kinds of ignore rule.
const (
	// IgnorePerson hides what is about one person: being added, changing role, being removed, and not being matched.
	IgnorePerson IgnoreKind = "person"
	// IgnoreRole hides what gives a role or takes it: adds with it, removals from it, changes from it and to it.
	IgnoreRole IgnoreKind = "role"
	// IgnoreTeam hides everything of the teams.
	IgnoreTeam IgnoreKind = "team"
)

// IgnoreRule is somebody's decision that some differences are none of NthLayer's business for a while: they are neither
// applied nor counted as drift, and shown wherever they are hidden. A rule only ever takes away from what would be done.
type IgnoreRule struct {
	ID        string     `json:"id"`
	TeamID    string     `json:"team_id,omitempty"` // whose differences it hides; empty: those of the whole fleet
	Kind      IgnoreKind `json:"kind"`
	Value     string     `json:"value"` // an e-mail address or the id of an account; a role; a team id, in which * and ? stop at slashes
	Reason    string     `json:"reason"`
	Owner     string     `json:"owner"` // whom to ask about it
	ExpiresAt time.Time  `json:"expires_at"`
}

// Ignored is a difference that an ignore rule hides: it is neither applied nor counted as drift.
type Ignored struct {
	Change    Change    `json:"change"`
	Issue     *Issue    `json:"issue,omitempty"` // set where an issue is hidden; there is no change then
	RuleID    string    `json:"rule_id"`
	Reason    string    `json:"reason"`
	Owner     string    `json:"owner,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Kind is the kind of the change or the issue that is hidden.
func (i Ignored) Kind() string {
	if i.Issue != nil {
		return string(i.Issue.Kind)
	}
	return string(i.Change.Kind)
}

// EntityRef is whom or what that is about.
func (i Ignored) EntityRef() string {
	if i.Issue != nil {
		return i.Issue.EntityRef
	}
	return i.Change.EntityRef
}

// Why says in one sentence what hides the difference, and until when.
func (i Ignored) Why() string {
	return fmt.Sprintf("ignored until %s: %s (rule %s, ask %s)", LastDay(i.ExpiresAt).UTC().Format(time.DateOnly), i.Reason, i.RuleID, i.Owner)
}

// LastDay is a moment of the last day on which a rule hides: one that ends with a day ends when the next begins.
func LastDay(expiresAt time.Time) time.Time { return expiresAt.Add(-time.Nanosecond) }

// Ignore takes the differences out of the plan that rules hide; the first rule that hides one is named. It is given the
// rules that are in force. Ask it before HoldRemovals, which goes by the issues that are hidden, too.
func (p Plan) Ignore(rules []IgnoreRule) Plan {
	hide := func(hides func(IgnoreRule) bool, hidden Ignored) bool {
		for _, r := range rules {
			if r.Covers(p.TeamID) && hides(r) {
				p.Ignored = append(p.Ignored, hidden.by(r))
				return true
			}
		}
		return false
	}
	changes := make([]Change, 0, len(p.Changes))
	for _, c := range p.Changes {
		if !hide(func(r IgnoreRule) bool { return r.hides(c) }, Ignored{Change: c}) {
			changes = append(changes, c)
		}
	}
	var issues []Issue
	for _, i := range p.Issues {
		if !hide(func(r IgnoreRule) bool { return r.hidesIssue(i) }, Ignored{Issue: &i}) {
			issues = append(issues, i)
		}
	}
	p.Changes, p.Issues = changes, issues
	return p
}

func (i Ignored) by(r IgnoreRule) Ignored {
	i.RuleID, i.Reason, i.Owner, i.ExpiresAt = r.ID, r.Reason, r.Owner, r.ExpiresAt
	return i
}

// Covers reports whether the rule is about a team at all.
func (r IgnoreRule) Covers(teamID string) bool {
	if r.TeamID != "" && r.TeamID != teamID {
		return false
	}
	if r.Kind != IgnoreTeam {
		return true
	}
	matched, err := path.Match(r.Value, teamID)
	return matched && err == nil // Check refuses what is no pattern
}

func (r IgnoreRule) hides(c Change) bool {
	switch r.Kind {
	case IgnorePerson:
		return r.names(c.EntityRef, c.UserID)
	case IgnoreRole:
		return hasRole(c.Before, Role(r.Value)) || hasRole(c.After, Role(r.Value))
	default:
		return r.Kind == IgnoreTeam
	}
}

func (r IgnoreRule) hidesIssue(i Issue) bool {
	return r.Kind == IgnoreTeam || r.Kind == IgnorePerson && r.names(i.EntityRef, i.UserID)
}

// names reports whether the rule's value is the person.
func (r IgnoreRule) names(entityRef, userID string) bool {
	if strings.Contains(r.Value, "@") {
		return entityRef == "person:"+NormalizeEmail(r.Value)
	}
	return userID == r.Value && userID != ""
}

func hasRole(e *Entity, role Role) bool { return e != nil && e.Role == role }

// Key is the form in which the values of rules are compared.
func (r IgnoreRule) Key() string {
	if r.Kind == IgnorePerson && strings.Contains(r.Value, "@") {
		return NormalizeEmail(r.Value)
	}
	return r.Value
}

var (
	accountID   = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)
	teamPattern = regexp.MustCompile(`^[A-Za-z0-9*?][A-Za-z0-9._/*?-]{0,127}$`)
)

// Check says what is wrong with the rule's kind and value: it names the field, and what would be right.
func (r IgnoreRule) Check() (field, problem string) {
	switch r.Kind {
	case IgnorePerson:
		if local, domain, email := strings.Cut(NormalizeEmail(r.Value), "@"); email && local != "" && domain != "" && !strings.ContainsAny(domain, "@ ") {
			return "", ""
		}
		if !accountID.MatchString(r.Value) {
			return "value", "a person is an e-mail address or the id of an account on the target"
		}
	case IgnoreRole:
		if Role(r.Value).rank() == 0 {
			return "value", fmt.Sprintf("%q is no role; a role is manager, responder or observer", r.Value)
		}
	case IgnoreTeam:
		switch {
		case r.TeamID != "" && r.Value != r.TeamID:
			return "value", "a rule of one team hides that team; leave the value out, or make it a rule of the fleet"
		case !teamPattern.MatchString(r.Value):
			return "value", "want a team id, in which * and ? stand for any characters but slashes"
		case strings.Trim(r.Value, "*?/") == "":
			return "value", "the pattern would hide the whole fleet; name some part of it"
		}
	default:
		return "kind", fmt.Sprintf("%q is no kind of rule; it is person, role or team", cmp.Or(string(r.Kind), "nothing"))
	}
	return "", ""
}
