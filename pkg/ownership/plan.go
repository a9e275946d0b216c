package ownership

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kind says what a change does.
type Kind string

// The kinds of change, in the order in which a plan applies them: nobody leaves before everybody has arrived.
const (
	CreateTeam   Kind = "create_team"
	UpdateTeam   Kind = "update_team"
	AddMember    Kind = "add_member"
	ChangeRole   Kind = "change_role"
	RemoveMember Kind = "remove_member"
)

// Kinds are all kinds of change, in that order.
func Kinds() []Kind { return []Kind{CreateTeam, UpdateTeam, AddMember, ChangeRole, RemoveMember} }

// Change is one step of a plan. It holds what is needed to do it and, in Before and After, to show and to undo it.
type Change struct {
	ID        string  `json:"id"` // "<kind>:<entity_ref>", unique within a plan
	Kind      Kind    `json:"kind"`
	EntityRef string  `json:"entity_ref"`
	UserID    string  `json:"user_id,omitempty"` // the account that a member change is about
	Before    *Entity `json:"before,omitempty"`
	After     *Entity `json:"after,omitempty"`
}

// Entity is the part of a team or a membership that a change is about.
type Entity struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Email       string `json:"email,omitempty"`
	Role        Role   `json:"role,omitempty"`
}

// IssueKind says what keeps a team from being compared or changed in full.
type IssueKind string

// The kinds of issue.
const (
	MissingEmail       IssueKind = "missing_email"
	UserNotFound       IssueKind = "user_not_found"
	AmbiguousUser      IssueKind = "ambiguous_user"
	CannotJoin         IssueKind = "cannot_join"
	FixedRole          IssueKind = "fixed_role"
	OnEscalationPolicy IssueKind = "on_escalation_policy"
	RemovalHeld        IssueKind = "removal_held"
	ArchivedTeam       IssueKind = "team_archived"
	TeamNotFound       IssueKind = "team_not_found"
	AmbiguousTeam      IssueKind = "ambiguous_team"
	LinkedElsewhere    IssueKind = "linked_elsewhere"
	ChangedSince       IssueKind = "changed_since" // a rollback leaves it alone
	NotUndone          IssueKind = "not_undone"
)

// Issue is something a person has to look at, with an explanation.
type Issue struct {
	Kind           IssueKind `json:"kind"`
	EntityRef      string    `json:"entity_ref"`
	UserID         string    `json:"user_id,omitempty"` // the account that it is about, where there is one
	Message        string    `json:"message"`
	BlocksRemovals bool      `json:"blocks_removals,omitempty"`
}

// SyncStatus is how a team compares.
type SyncStatus string

// The sync statuses. Unknown is never treated as empty: a side could not be read, or is not there to compare.
const (
	InSync    SyncStatus = "in_sync"
	OutOfSync SyncStatus = "out_of_sync"
	Unknown   SyncStatus = "unknown"
)

// Plan is the ordered difference desired − observed.
type Plan struct {
	TeamID    string   `json:"team_id"`
	TargetID  string   `json:"target_id,omitempty"` // empty where the team is to be created, or was not found
	TeamName  string   `json:"team_name,omitempty"`
	Changes   []Change `json:"changes"`
	Issues    []Issue  `json:"issues,omitempty"`
	Unchanged int      `json:"unchanged"` // members that are right already
	Members   int      `json:"members"`   // members observed
	// Incomparable is set where there was nothing to compare with: an archived team, or no target team.
	Incomparable bool      `json:"incomparable,omitempty"`
	Basis        string    `json:"basis,omitempty"`    // digest of the states that were compared: see Basis
	LeftOut      []Change  `json:"left_out,omitempty"` // by whoever asked
	Ignored      []Ignored `json:"ignored,omitempty"`  // by ignore rules
}

// Diff is the plan that makes observed equal to desired, whose members were matched to wanted.
func Diff(d Desired, o Observed, wanted []Wanted) Plan {
	p := Plan{TeamID: d.TeamID, TargetID: o.TargetID, TeamName: cmp.Or(NormalizeName(d.Name), o.Name, d.TeamID), Members: len(o.Members)}
	p.Changes = append(p.Changes, teamChange(d, o)...)

	current := map[string]ObservedMember{}
	for _, m := range o.Members {
		current[m.User.ID] = m
	}
	var adds, raises, lowers, removals []Change
	for _, w := range wanted {
		m, isMember := current[w.User.ID]
		delete(current, w.User.ID)
		switch {
		case !isMember:
			adds = append(adds, memberChange(AddMember, w.User, "", w.Role))
		case m.Role == w.Role:
			p.Unchanged++
		case w.Role.rank() > m.Role.rank():
			raises = append(raises, memberChange(ChangeRole, w.User, m.Role, w.Role))
		default:
			lowers = append(lowers, memberChange(ChangeRole, w.User, m.Role, w.Role))
		}
	}
	for _, m := range current {
		removals = append(removals, memberChange(RemoveMember, m.User, m.Role, ""))
	}
	// Raises come before lowers, so that a team that changes its manager is never without one.
	for _, group := range [][]Change{adds, raises, lowers, removals} {
		slices.SortFunc(group, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
		p.Changes = append(p.Changes, group...)
	}
	return p
}

// teamChange creates the team, or corrects what the source declares of its name and description.
func teamChange(d Desired, o Observed) []Change {
	ref := "team:" + d.TeamID
	name, description := NormalizeName(d.Name), truncate(strings.TrimSpace(d.Description), maxDescription)
	if o.TargetID == "" {
		return []Change{{
			ID: string(CreateTeam) + ":" + ref, Kind: CreateTeam, EntityRef: ref,
			After: &Entity{Name: cmp.Or(name, d.TeamID), Description: description},
		}}
	}
	before, after := Entity{}, Entity{}
	if name != "" && name != NormalizeName(o.Name) {
		before.Name, after.Name = o.Name, name
	}
	if description != "" && description != strings.TrimSpace(o.Description) {
		before.Description, after.Description = o.Description, description
	}
	if after == (Entity{}) {
		return nil
	}
	return []Change{{ID: string(UpdateTeam) + ":" + ref, Kind: UpdateTeam, EntityRef: ref, Before: &before, After: &after}}
}

func memberChange(kind Kind, u User, before, after Role) Change {
	ref := "person:" + cmp.Or(NormalizeEmail(u.Email), u.ID)
	c := Change{ID: string(kind) + ":" + ref, Kind: kind, EntityRef: ref, UserID: u.ID}
	if before != "" {
		c.Before = &Entity{Email: u.Email, Role: before}
	}
	if after != "" {
		c.After = &Entity{Email: u.Email, Role: after}
	}
	return c
}

// HoldRemovals takes the removals out of the plan that must not be tried, and says why: all of them while an issue
// blocks removals, and those of people who are paged for the team. An issue that an ignore rule hides blocks as before: the
// account may be that person's, whether anybody wants to hear of it or not.
func (p Plan) HoldRemovals(r Rotation) Plan {
	issues := slices.Clone(p.Issues)
	for _, hidden := range p.Ignored {
		if hidden.Issue != nil {
			issues = append(issues, *hidden.Issue)
		}
	}
	var blocking []string
	why := "the account may belong to "
	for _, issue := range issues {
		if issue.BlocksRemovals {
			if issue.Kind == ChangedSince {
				why = "nobody leaves while somebody is not put back: "
			}
			blocking = append(blocking, fmt.Sprintf("%s (%s)", issue.EntityRef, issue.Kind))
		}
	}
	kept := make([]Change, 0, len(p.Changes))
	for _, c := range p.Changes {
		policies := r[c.UserID]
		switch {
		case c.Kind != RemoveMember:
			kept = append(kept, c)
		case len(policies) > 0:
			p.Issues = append(p.Issues, Issue{
				Kind: OnEscalationPolicy, EntityRef: c.EntityRef,
				Message: fmt.Sprintf("not removed: still paged through %s; take the person off there first", strings.Join(policies, ", ")),
			})
		case len(blocking) > 0:
			p.Issues = append(p.Issues, Issue{
				Kind: RemovalHeld, EntityRef: c.EntityRef,
				Message: "not removed: " + why + strings.Join(blocking, ", "),
			})
		default:
			kept = append(kept, c)
		}
	}
	p.Changes = kept
	return p
}

// Count is the number of changes of a kind.
func (p Plan) Count(kind Kind) int {
	n := 0
	for _, c := range p.Changes {
		if c.Kind == kind {
			n++
		}
	}
	return n
}

// Empty reports whether there is nothing to change.
func (p Plan) Empty() bool { return len(p.Changes) == 0 }

// Remaining is the number of members the team has when the plan is done.
func (p Plan) Remaining() int { return p.Members + p.Count(AddMember) - p.Count(RemoveMember) }

// SyncStatus is how the team compares before the plan is applied.
func (p Plan) SyncStatus() SyncStatus {
	if p.Incomparable {
		return Unknown
	}
	if !p.Empty() || len(p.LeftOut) > 0 || slices.ContainsFunc(p.Issues, func(i Issue) bool { return i.Kind != FixedRole }) {
		return OutOfSync
	}
	return InSync
}

// Hash is SHA-256, in hex, over the changes and the states that they were made of. Two plans with the same hash do the same
// to a team that is the same.
func (p Plan) Hash() string {
	content, err := json.Marshal(struct {
		TeamID, TargetID string
		Changes          []Change
		Basis            string
	}{p.TeamID, p.TargetID, p.Changes, p.Basis})
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Basis is a digest of what a plan was made of: who shall be in the team, and who is, whatever the order.
func Basis(d Desired, o Observed) string {
	var lines []string
	for _, m := range d.Members {
		roles := slices.Sorted(slices.Values(m.Roles))
		lines = append(lines, fmt.Sprintf("desired %q %q", NormalizeEmail(m.Email), roles))
	}
	for _, m := range o.Members {
		lines = append(lines, fmt.Sprintf("observed %q %q", m.User.ID, m.Role))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// maxDescription is PagerDuty's limit on a team's description (PagerDuty REST API, Team.description).
const maxDescription = 1024

func truncate(s string, limit int) string {
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return string(runes[:limit])
}

// Shows reports whether a change can be seen in what is observed: it took effect, or was never needed.
func (o Observed) Shows(c Change) bool {
	switch c.Kind {
	case CreateTeam:
		return o.TargetID != ""
	case UpdateTeam:
		return (c.After.Name == "" || NormalizeName(o.Name) == c.After.Name) &&
			(c.After.Description == "" || strings.TrimSpace(o.Description) == c.After.Description)
	}
	for _, m := range o.Members {
		if m.User.ID == c.UserID {
			return c.Kind != RemoveMember && m.Role == c.After.Role
		}
	}
	return c.Kind == RemoveMember
}
