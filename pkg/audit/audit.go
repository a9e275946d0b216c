// Package audit is the flow team.audit: it finds where a team's ownership is wrong, and can change nothing.
//
//	resolve → observe → match → compare → inspect
//
// The comparison is that of package reconcile; what it would change is what an audit finds. Everything the flow is given
// only reads: there is no Applier here, and no way to one. What could not be read whole is an error, never a finding: an
// unread team is unknown, and what was found of it before stays as it was.
package audit

import (
	"slices"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// The statuses of an audit.
const (
	Queued     = "queued"
	Running    = "running"
	Succeeded  = "succeeded"  // every team in scope was compared
	Incomplete = "incomplete" // some could not be read
	Failed     = "failed"     // a platform could not be read at all: every team is unknown
	Canceled   = "canceled"   // by somebody
)

// Ended reports whether an audit with this status has ended.
func Ended(status string) bool { return status != Queued && status != Running }

// The modes: what is read of the target.
const (
	Auto        = "auto"        // incremental where that is possible and the last full read is young enough
	Full        = "full"        // every team
	Incremental = "incremental" // the teams that changed since the last audit
)

// What an audit does about a team that is out of sync.
const (
	Observe = "observe" // nothing
	Enforce = "enforce" // it asks for a run
)

// The categories of findings.
const (
	Drift     = "drift"     // what a run would change
	Identity  = "identity"  // people who cannot be matched
	Structure = "structure" // teams that cannot be compared, or should not be as they are
)

// The kinds of finding beyond the changes and the issues of a plan.
const (
	OrphanTeam       = "orphan_team"        // a target team that no team of the source stands for
	SinglePersonTeam = "single_person_team" // one person is paged for everything
	SharedTarget     = "shared_target"      // several teams of the source stand for one target team
	VanishedTeam     = "team_vanished"      // the source declared it once and does not any more
)

// CategoryOf sorts a kind of finding.
func CategoryOf(kind string) string {
	switch kind {
	case string(ownership.CreateTeam), string(ownership.UpdateTeam), string(ownership.AddMember),
		string(ownership.ChangeRole), string(ownership.RemoveMember), string(ownership.RemovalHeld):
		return Drift
	case string(ownership.MissingEmail), string(ownership.UserNotFound), string(ownership.AmbiguousUser),
		string(ownership.CannotJoin), string(ownership.FixedRole):
		return Identity
	default:
		return Structure
	}
}

// Finding is one thing that is wrong. Team, kind and entity name it: what returns is the same finding.
type Finding struct {
	TeamID    string
	Kind      string
	EntityRef string
	Message   string
	TargetID  string // the target team concerned; empty: none
	UserID    string // the account concerned; empty: none
}

// Scope says which teams are audited.
type Scope struct {
	Include []string `json:"include,omitempty"` // patterns of team ids with * and ?; none: all
	Exclude []string `json:"exclude,omitempty"`
}

// Whole reports a scope that leaves nothing out: only then can be told what nobody declares.
func (s Scope) Whole() bool { return len(s.Include) == 0 && len(s.Exclude) == 0 }

// Compile makes the scope ready to be asked about many teams.
func (s Scope) Compile() Teams {
	compile := func(patterns []string) (globs []Glob) {
		for _, p := range patterns {
			globs = append(globs, NewGlob(p))
		}
		return globs
	}
	return Teams{compile(s.Include), compile(s.Exclude)}
}

// Teams is a compiled scope.
type Teams struct{ include, exclude []Glob }

// Matches reports whether a team is in scope.
func (t Teams) Matches(teamID string) bool {
	folded := fold(teamID)
	in := func(globs []Glob) bool {
		return slices.ContainsFunc(globs, func(g Glob) bool { return g.match(folded) })
	}
	return (len(t.include) == 0 || in(t.include)) && !in(t.exclude)
}
