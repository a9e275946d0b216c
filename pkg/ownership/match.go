package ownership

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Wanted is a person of the desired state, matched to the one account on the target that is theirs.
type Wanted struct {
	User User
	Role Role // the role the person will really have
}

// Unmatched lists the normalised e-mail addresses of desired members that are not members yet: whom to look up on the
// target before Match.
func Unmatched(d Desired, o Observed) []string {
	present := map[string]bool{}
	for _, m := range o.Members {
		present[NormalizeEmail(m.User.Email)] = true
	}
	missing := map[string]bool{}
	for _, m := range d.Members {
		if email := NormalizeEmail(m.Email); email != "" && !present[email] {
			missing[email] = true
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

// Match finds each desired member's account among the team's members and the users looked up for Unmatched. Whoever
// cannot be matched to exactly one account becomes an issue that holds back every removal: the account that looks
// superfluous may be theirs under another address.
func Match(d Desired, o Observed, lookedUp []User, roles RoleMap) ([]Wanted, []Issue) {
	accounts := accountsByEmail(o, lookedUp)
	observed := map[string]bool{}
	for _, m := range o.Members {
		observed[m.User.ID] = true
	}

	wanted := map[string]Wanted{}
	var issues []Issue
	for _, person := range mergeByEmail(d.Members) {
		if person.Email == "" {
			issues = append(issues, Issue{
				Kind: MissingEmail, EntityRef: "person:" + person.Name, BlocksRemovals: true,
				Message: fmt.Sprintf("%s has no e-mail address in the source and cannot be matched; give the person one there", nameOr(person.Name, "a member")),
			})
			continue
		}
		found := accounts[person.Email]
		switch {
		case len(found) == 0:
			issues = append(issues, Issue{
				Kind: UserNotFound, EntityRef: "person:" + person.Email, BlocksRemovals: true,
				Message: person.Email + " has no account on the target; invite the person, or correct the address in the source",
			})
			continue
		case len(found) > 1:
			issues = append(issues, Issue{
				Kind: AmbiguousUser, EntityRef: "person:" + person.Email, BlocksRemovals: true,
				Message: fmt.Sprintf("%s matches %d accounts on the target (%s); leave one of them", person.Email, len(found), ids(found)),
			})
			continue
		}
		user := found[0]
		if user.Base.stakeholder() && !observed[user.ID] {
			issues = append(issues, Issue{
				Kind: CannotJoin, EntityRef: "person:" + person.Email, UserID: user.ID,
				Message: fmt.Sprintf("%s is a stakeholder (%s) and cannot join a team; give the person a full account", person.Email, user.Base),
			})
			continue
		}
		asked := roles.Of(person.Roles)
		role := user.Base.effective(asked)
		if role != asked {
			issues = append(issues, Issue{
				Kind: FixedRole, EntityRef: "person:" + person.Email, UserID: user.ID,
				Message: fmt.Sprintf("%s is %s in every team because of the base role %s; the declared %s has no effect", person.Email, role, user.Base, asked),
			})
		}
		if earlier, twice := wanted[user.ID]; !twice || role.rank() > earlier.Role.rank() {
			wanted[user.ID] = Wanted{User: user, Role: role}
		}
	}
	matched := slices.Collect(maps.Values(wanted))
	slices.SortFunc(matched, func(a, b Wanted) int { return compareUsers(a.User, b.User) })
	return matched, issues
}

// mergeByEmail normalises addresses and joins entries of the same person, keeping the order of first appearance. Sources
// list a person once for each way they belong to a team.
func mergeByEmail(members []Member) []Member {
	var merged []Member
	at := map[string]int{}
	for _, m := range members {
		m.Email = NormalizeEmail(m.Email)
		if i, seen := at[m.Email]; seen && m.Email != "" {
			merged[i].Roles = slices.Concat(merged[i].Roles, m.Roles)
			continue
		}
		at[m.Email] = len(merged)
		merged = append(merged, m)
	}
	return merged
}

func accountsByEmail(o Observed, lookedUp []User) map[string][]User {
	accounts := map[string][]User{}
	seen := map[string]bool{}
	add := func(u User) {
		if email := NormalizeEmail(u.Email); email != "" && !seen[u.ID] {
			seen[u.ID] = true
			accounts[email] = append(accounts[email], u)
		}
	}
	for _, m := range o.Members {
		add(m.User)
	}
	for _, u := range lookedUp {
		add(u)
	}
	return accounts
}

func compareUsers(a, b User) int {
	if c := strings.Compare(NormalizeEmail(a.Email), NormalizeEmail(b.Email)); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func ids(users []User) string {
	list := make([]string, len(users))
	for i, u := range users {
		list[i] = u.ID
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func nameOr(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}
