package ownership

import (
	"fmt"
	"strings"
)

// BaseRole is the role a person has in the whole PagerDuty account. Fixed base roles decide the team role.
type BaseRole string

// The base roles, as PagerDuty's API spells them (reference: PagerDuty REST API, User.role).
const (
	BaseOwner              BaseRole = "owner"
	BaseAdmin              BaseRole = "admin"
	BaseUser               BaseRole = "user"
	BaseLimitedUser        BaseRole = "limited_user"
	BaseObserver           BaseRole = "observer"
	BaseRestrictedAccess   BaseRole = "restricted_access"
	BaseReadOnlyUser       BaseRole = "read_only_user"
	BaseReadOnlyLimitedUse BaseRole = "read_only_limited_user"
)

// stakeholder reports a base role that PagerDuty keeps out of teams.
func (b BaseRole) stakeholder() bool { return b == BaseReadOnlyUser || b == BaseReadOnlyLimitedUse }

// effective is the role that a person with this base role really gets in a team when role is asked for. Planning for
// anything else would never converge.
func (b BaseRole) effective(role Role) Role {
	switch {
	case b == BaseOwner || b == BaseAdmin:
		return Manager
	case b.stakeholder():
		return Observer
	default:
		return role
	}
}

// RoleMap translates the source's role words to target roles. The word "*" stands for every word not named and for
// people without a role.
type RoleMap map[string]Role

// DefaultRoleMap makes managers of the source managers and everybody else a responder.
func DefaultRoleMap() RoleMap { return RoleMap{"manager": Manager, "*": Responder} }

// UnmarshalText reads "word=role,word=role". A word has one role: of two that somebody wrote, neither can be guessed.
func (m *RoleMap) UnmarshalText(text []byte) error {
	parsed := RoleMap{}
	for pair := range strings.SplitSeq(string(text), ",") {
		word, role, found := strings.Cut(pair, "=")
		word = roleWord(word)
		if !found || word == "" {
			return fmt.Errorf("role map entry %q: want word=role", pair)
		}
		r := Role(strings.TrimSpace(role))
		if r.rank() == 0 {
			return fmt.Errorf("role map entry %q: role must be manager, responder or observer", pair)
		}
		if _, twice := parsed[word]; twice {
			return fmt.Errorf("role map entry %q: the word is there twice", pair)
		}
		parsed[word] = r
	}
	if _, ok := parsed["*"]; !ok {
		return fmt.Errorf("role map %q: want an entry for * (every other word)", text)
	}
	*m = parsed
	return nil
}

// Of is the strongest target role that the words stand for.
func (m RoleMap) Of(words []string) Role {
	var best Role
	for _, word := range words {
		role, ok := m[roleWord(word)]
		if !ok {
			role = m["*"]
		}
		if role.rank() > best.rank() {
			best = role
		}
	}
	if best == "" {
		return m["*"]
	}
	return best
}

// roleWord is how a role word is compared: case and the space around it mean nothing.
func roleWord(word string) string { return strings.ToLower(strings.TrimSpace(word)) }

func (r Role) rank() int {
	switch r {
	case Manager:
		return 3
	case Responder:
		return 2
	case Observer:
		return 1
	default:
		return 0
	}
}
