package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Binding gives a subject a role: on one team or, where TeamID is empty, everywhere.
type Binding struct {
	ID        string
	Subject   string
	Role      string // built in, custom, or a single action
	TeamID    string
	Reason    string
	GrantedBy string
	GrantedAt time.Time
	ExpiresAt *time.Time
	RevokedBy string // empty: it was not revoked
	RevokedAt *time.Time
}

// holds reports a binding that counts at a time.
func (b Binding) holds(now time.Time) bool {
	return b.RevokedAt == nil && (b.ExpiresAt == nil || now.Before(*b.ExpiresAt))
}

// Grants is what a company has granted beside what tokens say.
type Grants struct {
	AsOf       time.Time // when reading began; zero: now
	Bindings   []Binding
	Roles      map[string][]string // custom role → its actions
	Identities map[string]string   // e-mail address, in small letters → subject
}

// Resource is what a call is about: the field of the request that names it, and what stands there. ID "*" is all of them.
type Resource struct{ Field, ID string }

// All is the resource of a call that is about everything.
var All = Resource{ID: "*"}

// Team is a team as a resource.
func Team(id string) Resource { return Resource{Field: "team_id", ID: id} }

// Visible is what of a list a caller may see.
type Visible struct {
	Everything bool
	Teams      []string // where not everything
}

// Decision is that a call is allowed, why, and how much of a list it may show.
type Decision struct {
	Why     string
	Until   *time.Time // when what allows it ends; nil: it does not end by itself
	Visible Visible
}

// Teams tells what the Authorizer has to know of teams.
type Teams interface {
	// TeamOf tells which team a run, a dead letter or a finding is about; empty: none, or there is no such thing.
	TeamOf(ctx context.Context, r Resource) (teamID string, err error)
	// ManagedBy lists the teams of which the source declares one of these addresses as a manager: of all or, where one is
	// named, whether it is that one.
	ManagedBy(ctx context.Context, emails []string, teamID string) (teamIDs []string, err error)
}

// Authorizer decides who may do what. It is safe for concurrent use.
//
// What a token grants counts everywhere. What bindings grant counts for their team, and only while they are known to be
// current: an Authorizer that has learned nothing for a while forgets them. Everything else is denied.
type Authorizer struct {
	teams  Teams
	now    func() time.Time
	grants atomic.Pointer[known]
}

// currentFor is how long grants count that could not be read again.
const currentFor = 5 * time.Minute

// known is Grants made ready to be asked.
type known struct {
	at        time.Time
	bySubject map[string][]Binding
	roles     map[string][]string
	subjects  map[string]string   // by e-mail
	emails    map[string][]string // by subject
}

// NewAuthorizer makes an Authorizer that knows what tokens grant; Learn tells it the rest. Without teams, grants for single
// teams count where a call names its team, and nobody manages one.
func NewAuthorizer(teams Teams) *Authorizer {
	return &Authorizer{teams: teams, now: time.Now}
}

// Learn replaces what is granted. It is as old as the moment when reading it began: what took long to arrive, or lay in a
// process that was frozen, is no younger for that.
func (a *Authorizer) Learn(g Grants) {
	if g.AsOf.IsZero() {
		g.AsOf = a.now()
	}
	k := &known{at: g.AsOf, bySubject: map[string][]Binding{}, roles: g.Roles, subjects: g.Identities, emails: map[string][]string{}}
	for _, b := range g.Bindings {
		k.bySubject[b.Subject] = append(k.bySubject[b.Subject], b)
	}
	for email, subject := range g.Identities {
		k.emails[subject] = append(k.emails[subject], email)
	}
	a.grants.Store(k)
}

func (a *Authorizer) known() *known {
	if k := a.grants.Load(); k != nil && a.now().Sub(k.at) < currentFor {
		return k
	}
	return &known{}
}

// managing is what the managers of a team may do with it without anybody granting it.
var managing = []string{"teams.get", "teams.list", "teams.plan", "teams.reconcile", "runs.get", "runs.list", "runs.watch"}

// perTeam are the lists that can be cut to some teams.
var perTeam = []string{"teams.list", "runs.list", "findings.list", "audit_findings.list", "dead_letters.list"}

// Authorize decides whether a principal may take an action on a resource. Where not, the fault names what would be needed.
func (a *Authorizer) Authorize(ctx context.Context, p Principal, action string, r Resource) (Decision, error) {
	if action == "access.check" && p.Subject != "" {
		return Decision{Why: "everybody may ask about themselves"}, nil
	}
	k := a.known()
	if owner := k.subjects[strings.ToLower(p.Email)]; p.Email != "" && owner != "" && owner != p.Subject && !ReadOnly(action) {
		return Decision{}, fault.New(fault.PermissionDenied, fmt.Sprintf(
			"%s is linked to %s, and not to %s: one person is one principal; an admin corrects that with: nthlayer access identity link %s SUBJECT",
			p.Email, owner, p.Subject, p.Email), nil).WithReason("IDENTITY_CONFLICT")
	}
	if why, until := a.everywhere(k, p, action); why != "" {
		return Decision{Why: why, Until: until, Visible: Visible{Everything: true}}, nil
	}
	if r.ID == "*" || r.ID == "" {
		if slices.Contains(perTeam, action) {
			return a.some(ctx, k, p, action)
		}
		return Decision{}, denied(p, action, r)
	}
	if !a.mayHaveTeams(k, p, action) {
		return Decision{}, denied(p, action, r)
	}
	team := r.ID
	if r.Field != "team_id" {
		if a.teams == nil {
			return Decision{}, denied(p, action, r)
		}
		var err error
		if team, err = a.teams.TeamOf(ctx, r); err != nil {
			return Decision{}, err
		}
	}
	if team == "" {
		return Decision{}, denied(p, action, r)
	}
	for _, b := range k.bySubject[p.Subject] {
		if b.TeamID == team && b.holds(a.now()) && k.grants(b.Role, action) {
			return Decision{Why: b.why(), Visible: Visible{Teams: []string{team}}}, nil
		}
	}
	if slices.Contains(managing, action) {
		managed, err := a.managed(ctx, k, p, team)
		if err != nil {
			return Decision{}, err
		}
		if slices.Contains(managed, team) {
			return Decision{Why: "manager of " + team, Visible: Visible{Teams: []string{team}}}, nil
		}
	}
	return Decision{}, denied(p, action, r)
}

// everywhere says what grants an action on everything, and until when; empty: nothing does. What lasts longest counts.
func (a *Authorizer) everywhere(k *known, p Principal, action string) (why string, until *time.Time) {
	if action == "" {
		return "", nil
	}
	for word, from := range claimed(p) {
		if k.grants(word, action) {
			return from, nil
		}
	}
	for _, b := range k.bySubject[p.Subject] {
		if b.TeamID != "" || !b.holds(a.now()) || !k.grants(b.Role, action) {
			continue
		}
		if b.ExpiresAt == nil {
			return b.why(), nil
		}
		if until == nil || b.ExpiresAt.After(*until) {
			why, until = b.why(), b.ExpiresAt
		}
	}
	return why, until
}

// mayHaveTeams reports whether it is worth finding out which team a call is about.
func (a *Authorizer) mayHaveTeams(k *known, p Principal, action string) bool {
	return len(k.bySubject[p.Subject]) > 0 || slices.Contains(managing, action) && len(k.addresses(p)) > 0
}

// some decides on a list of which the principal may see some teams.
func (a *Authorizer) some(ctx context.Context, k *known, p Principal, action string) (Decision, error) {
	var teams []string
	for _, b := range k.bySubject[p.Subject] {
		if b.TeamID != "" && b.holds(a.now()) && k.grants(b.Role, action) {
			teams = append(teams, b.TeamID)
		}
	}
	if slices.Contains(managing, action) {
		managed, err := a.managed(ctx, k, p, "")
		if err != nil {
			return Decision{}, err
		}
		teams = append(teams, managed...)
	}
	if len(teams) == 0 {
		return Decision{}, denied(p, action, All)
	}
	slices.Sort(teams)
	teams = slices.Compact(teams)
	return Decision{Why: fmt.Sprintf("on %d of the teams", len(teams)), Visible: Visible{Teams: teams}}, nil
}

// managed are the teams whose manager the principal is; where one is named, at most that one.
func (a *Authorizer) managed(ctx context.Context, k *known, p Principal, teamID string) ([]string, error) {
	emails := k.addresses(p)
	if len(emails) == 0 || a.teams == nil {
		return nil, nil
	}
	return a.teams.ManagedBy(ctx, emails, teamID)
}

// addresses are those that are known to be the principal's.
func (k *known) addresses(p Principal) []string {
	emails := slices.Clone(k.emails[p.Subject])
	if own := strings.ToLower(p.Email); own != "" && (k.subjects[own] == "" || k.subjects[own] == p.Subject) {
		emails = append(emails, own)
	}
	return emails
}

// grants reports whether a role, built in or custom, or an action's own name, grants an action.
func (k *known) grants(word, action string) bool {
	return grants(word, action) || slices.Contains(k.roles[word], action)
}

func (b Binding) why() string {
	where := ""
	if b.TeamID != "" {
		where = " on team " + b.TeamID
	}
	return fmt.Sprintf("binding %s%s, granted by %s", b.Role, where, b.GrantedBy)
}

// RolesOn are the roles that a principal holds on a team, with those that they include; "manager" where the source declares
// them as one.
func (a *Authorizer) RolesOn(ctx context.Context, p Principal, teamID string) ([]string, error) {
	k := a.known()
	var roles []string
	for word := range claimed(p) {
		if _, custom := k.roles[word]; custom || slices.Contains(BuiltIn(), word) {
			roles = append(roles, including(word)...)
		}
	}
	for _, b := range k.bySubject[p.Subject] {
		if (b.TeamID == "" || b.TeamID == teamID) && b.holds(a.now()) {
			roles = append(roles, including(b.Role)...)
		}
	}
	if teamID == "" { // nobody manages everything
		slices.Sort(roles)
		return slices.Compact(roles), nil
	}
	managed, err := a.managed(ctx, k, p, teamID)
	if err != nil {
		return nil, err
	}
	if slices.Contains(managed, teamID) {
		roles = append(roles, Manager)
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

// ByEmail is the principal to whom an address belongs, for somebody who is known by it alone. What they may do is what was
// bound to them: they show no token.
func (a *Authorizer) ByEmail(_ context.Context, email string) (Principal, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	subject := a.known().subjects[email]
	if email == "" || subject == "" {
		return Principal{}, fault.New(fault.NotFound,
			fmt.Sprintf("nobody here is known by %s; an admin links the address with: nthlayer access identity link %s SUBJECT", email, email), nil).
			WithReason("IDENTITY_UNKNOWN")
	}
	return Principal{Subject: subject, Email: email}, nil
}

// denied says what was asked for and what would grant it.
func denied(p Principal, action string, r Resource) error {
	text := fmt.Sprintf("%s may not %s", p.Subject, action)
	if r.ID != "" && r.ID != "*" {
		text += " on " + r.ID
	}
	text += "; ask for one of the scopes " + strings.Join(scopesFor(action), ", ") + ", or for a binding"
	return fault.New(fault.PermissionDenied, text, nil).WithReason("ACTION_NOT_GRANTED")
}
