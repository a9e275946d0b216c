package pagerduty

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"
)

// account is everything one PagerDuty account holds. Its methods are the rules of the platform; they know no HTTP. The
// Server holds its lock while it calls them.
type account struct {
	users     map[string]*user
	userOrder []string // by id: PagerDuty's lists have a stable order
	emails    map[string]string
	teams     map[string]*team
	teamOrder []string
	policies  map[string]*policy
	policyIDs []string
	schedules map[string]*schedule
	schedIDs  []string
	created   int // teams and users made through the API, for their ids
	trail     trail
}

type user struct {
	id, name, email, role string
	words                 string          // name and address in lower case, for searches
	teams                 map[string]bool // ids; kept in step with the teams' members
}

// rename keeps what searches look at in step.
func (u *user) rename(name, email string) {
	u.name, u.email = name, email
	u.words = strings.ToLower(name + "\n" + email)
}

type team struct {
	id, name    string
	description string
	defaultRole string
	createdAt   time.Time // zero: loaded
	members     []member  // in the order in which they joined
	past        []version // newest last; only what a stale read may still show
}

type member struct {
	userID, role string
}

// version is what a team was before a write.
type version struct {
	replacedAt        time.Time
	name, description string
	members           []member
}

type policy struct {
	id, name, teamID string
	users, schedules []string // direct targets
}

type schedule struct {
	id, name string
	users    []string
	policies []*policy // that page it, by their ids
}

func newAccount() *account {
	return &account{
		users: map[string]*user{}, emails: map[string]string{}, teams: map[string]*team{},
		policies: map[string]*policy{}, schedules: map[string]*schedule{},
	}
}

// write keeps what a team is before it changes, for stale reads.
func (t *team) write(now time.Time, keep time.Duration, change func()) {
	if keep > 0 {
		for len(t.past) > 0 && now.Sub(t.past[0].replacedAt) > keep {
			t.past = t.past[1:]
		}
		t.past = append(t.past, version{now, t.name, t.description, slices.Clone(t.members)})
	} else {
		t.past = nil
	}
	change()
}

// seen is the team as a read at this moment shows it: writes younger than stale are not there yet.
func (t *team) seen(now time.Time, stale time.Duration) version {
	for _, v := range t.past {
		if now.Sub(v.replacedAt) < stale {
			return v
		}
	}
	return version{name: t.name, description: t.description, members: t.members}
}

// listed reports whether the list of teams shows the team yet.
func (t *team) listed(now time.Time, stale time.Duration) bool {
	return t.createdAt.IsZero() || now.Sub(t.createdAt) >= stale
}

func (t *team) index(userID string) int {
	return slices.IndexFunc(t.members, func(m member) bool { return m.userID == userID })
}

// Base roles that decide the team role (PagerDuty support, "Advanced Permissions").
const (
	roleOwner = "owner"
	roleAdmin = "admin"
	roleUser  = "user"
)

func stakeholder(base string) bool {
	return base == "read_only_user" || base == "read_only_limited_user"
}

// joinRole is the role that a user gets in a team when role is asked for; empty: none was asked for.
func joinRole(base, role string) string {
	switch base {
	case roleOwner, roleAdmin:
		return "manager"
	}
	if role != "" {
		return role
	}
	switch base {
	case roleUser:
		return "manager"
	case "limited_user":
		return "responder"
	default:
		return "observer"
	}
}

// put adds a member or changes its role, and says what that changed; empty: nothing.
func (t *team) put(u *user, role string) (effect string) {
	role = joinRole(u.role, role)
	if i := t.index(u.id); i >= 0 {
		if t.members[i].role == role {
			return ""
		}
		t.members[i].role = role
		return "change_role " + t.id + " " + u.id + " " + role
	}
	t.members = append(t.members, member{u.id, role})
	u.teams[t.id] = true
	return "add_member " + t.id + " " + u.id + " " + role
}

// holding names an escalation policy of the team that pages a user, directly or through a schedule.
func (a *account) holding(teamID, userID string) string {
	for _, id := range a.policyIDs {
		p := a.policies[id]
		if p.teamID == teamID && slices.Contains(a.paged(p), userID) {
			return p.name
		}
	}
	return ""
}

// paged lists the users that a policy pages.
func (a *account) paged(p *policy) []string {
	users := slices.Clone(p.users)
	for _, id := range p.schedules {
		if s := a.schedules[id]; s != nil {
			users = append(users, s.users...)
		}
	}
	return users
}

// adopt puts everybody whom a policy pages on the policy's team, as PagerDuty does, and says whom it put there.
func (a *account) adopt(now time.Time, keep time.Duration, p *policy) (joined []*user) {
	t := a.teams[p.teamID]
	if t == nil {
		return nil
	}
	t.write(now, keep, func() {
		for _, id := range a.paged(p) {
			if u := a.users[id]; u != nil && t.index(id) < 0 && !stakeholder(u.role) {
				t.put(u, "")
				joined = append(joined, u)
			}
		}
	})
	return joined
}

func (a *account) addUser(u *user) {
	a.users[u.id] = u
	a.emails[strings.ToLower(u.email)] = u.id
	insert(&a.userOrder, u.id)
}

func (a *account) addTeam(t *team) {
	a.teams[t.id] = t
	insert(&a.teamOrder, t.id)
}

func (a *account) deleteTeam(id string) {
	for _, m := range a.teams[id].members {
		delete(a.users[m.userID].teams, id)
	}
	delete(a.teams, id)
	if i, found := slices.BinarySearch(a.teamOrder, id); found {
		a.teamOrder = slices.Delete(a.teamOrder, i, i+1)
	}
}

// newID makes an id that looks like PagerDuty's and is not taken. The same calls give the same ids.
func (a *account) newID(kind string) string {
	for {
		a.created++
		id := madeID(kind, fmt.Sprint(a.created))
		if a.teams[id] == nil && a.users[id] == nil {
			return id
		}
	}
}

func madeID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "P" + base32.StdEncoding.EncodeToString(sum[:])[:6]
}

func insert(order *[]string, id string) {
	i, found := slices.BinarySearch(*order, id)
	if !found {
		*order = slices.Insert(*order, i, id)
	}
}

// squeeze is how PagerDuty stores names: trimmed, runs of blanks made one.
func squeeze(name string) string { return strings.Join(strings.Fields(name), " ") }
