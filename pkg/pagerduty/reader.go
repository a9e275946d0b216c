package pagerduty

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Reader is the part of a Client that cannot change anything: who holds one cannot reach a write by its type. It reads
// the whole account in the fewest calls, and shares the Client's memory of users. It is safe for concurrent use.
type Reader struct {
	client *Client
}

// Reader gives the read-only part of the Client.
func (c *Client) Reader() *Reader { return &Reader{client: c} }

// TeamInfo is a row of the list of teams.
type TeamInfo struct {
	ID, Name, Description string
}

// Users reads all accounts, a page at a time, in ⌈users/100⌉ calls. An account without an e-mail address comes with an
// empty one.
//
// A list that moves under the walk is walked a second time, so each may be given an account twice, and one that is gone.
// whole is false, without an error, where there are more accounts than PagerDuty's offsets reach (10,000): that shows in
// one call, and each is not called. (Where PagerDuty leaves out the total, or the list grows across that border, it shows
// later; what each was given then is no whole list.) An error of each ends the walk and is returned as it is.
func (r *Reader) Users(ctx context.Context, each func([]ownership.User) error) (whole bool, err error) {
	var stop error // of each
	err = stream(ctx, r.client, list{route: routeUsers, path: routeUsers, key: "users"},
		func(u pd.User) string { return u.ID }, func() {},
		func(rows []pd.User) error {
			users := make([]ownership.User, len(rows))
			for i, row := range rows {
				users[i] = user(row)
			}
			stop = each(users)
			return stop
		})
	switch {
	case stop != nil:
		return false, stop
	case errors.Is(err, errTooDeep):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read users from pagerduty: %w", err)
	}
	return true, nil
}

// Teams reads all teams in ⌈teams/100⌉ calls. whole is false, and there are none, where there are more than PagerDuty's
// offsets reach (10,000).
func (r *Reader) Teams(ctx context.Context) (teams []TeamInfo, whole bool, err error) {
	rows, err := read(ctx, r.client, list{route: routeTeams, path: routeTeams, key: "teams"}, func(t pd.Team) string { return t.ID })
	switch {
	case errors.Is(err, errTooDeep):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read teams from pagerduty: %w", err)
	}
	for _, row := range rows {
		teams = append(teams, TeamInfo{ID: row.ID, Name: row.Name, Description: row.Description})
	}
	return teams, true, nil
}

// Members reads all members of a team in ⌈members/100⌉ calls; Observe reads the team itself as well. fault.NotFound
// (TARGET_TEAM_NOT_FOUND) means that the team is gone.
func (r *Reader) Members(ctx context.Context, targetID string) ([]ownership.ObservedMember, error) {
	if err := checkID("target_id", targetID); err != nil {
		return nil, err
	}
	return r.client.members(ctx, targetID)
}

// Observe is the Client's.
func (r *Reader) Observe(ctx context.Context, targetID string) (ownership.Observed, error) {
	return r.client.Observe(ctx, targetID)
}

// FindUsers is the Client's.
func (r *Reader) FindUsers(ctx context.Context, emails []string) ([]ownership.User, error) {
	return r.client.FindUsers(ctx, emails)
}

// FindTeams is the Client's.
func (r *Reader) FindTeams(ctx context.Context, name string) ([]ownership.TeamRef, error) {
	return r.client.FindTeams(ctx, name)
}

// teamsACall is how many teams one call is narrowed to, where a list is too long to be read whole: 50 keep its URL below
// 2,000 characters, and with 100 policies a team, PagerDuty's limit, even full teams stay within reach of offsets.
const teamsACall = 50

// policyRow is a policy that says which teams it is on; nil: it does not say.
type policyRow struct {
	pd.EscalationPolicy
	Teams *[]pd.APIReference `json:"teams"`
}

// scheduleRow is a schedule with those who are on it; nil: it does not say.
type scheduleRow struct {
	ID    string          `json:"id"`
	Type  string          `json:"type"`
	Users *[]pd.APIObject `json:"users"`
}

// Rotations finds who cannot be removed from their teams, as Client.Rotation does for one, for all teams of the account:
// ⌈policies/100⌉ + ⌈schedules/100⌉ calls, and one for each shift-based schedule, whose users the list does not have. A
// team without anybody on a policy is not in the answer.
//
// Where the account has more policies or schedules than PagerDuty's offsets reach (10,000), only those of targetIDs are
// read, and other teams are missing from the answer.
func (r *Reader) Rotations(ctx context.Context, targetIDs []string) (map[string]ownership.Rotation, error) {
	for _, id := range targetIDs {
		if err := checkID("target_ids", id); err != nil {
			return nil, err
		}
	}
	policies, err := readByTeams(ctx, r.client, list{route: routePolicies, path: routePolicies, key: "escalation_policies"},
		targetIDs, func(p policyRow) string { return p.ID })
	if err != nil {
		return nil, fmt.Errorf("read escalation policies from pagerduty: %w", err)
	}
	rows, err := readByTeams(ctx, r.client, list{route: routeSchedules, path: routeSchedules, key: "schedules"},
		targetIDs, func(s scheduleRow) string { return s.ID })
	if err != nil {
		return nil, fmt.Errorf("read schedules from pagerduty: %w", err)
	}
	schedules, shiftBased, err := byPath(rows)
	if err != nil {
		return nil, err
	}
	rotations := map[string]ownership.Rotation{}
	for _, row := range policies {
		if row.Teams == nil {
			return nil, incomplete("PagerDuty does not say which team escalation policy "+row.ID+" is on", nil)
		}
		if len(*row.Teams) == 0 {
			continue
		}
		users, err := r.client.paged(ctx, retarget(row.EscalationPolicy, shiftBased), schedules)
		if err != nil {
			return nil, err
		}
		for _, team := range *row.Teams { // at most one, says PagerDuty
			if team.ID == "" {
				return nil, incomplete("PagerDuty gave escalation policy "+row.ID+" a team without id", nil)
			}
			if rotations[team.ID] == nil && len(users) > 0 {
				rotations[team.ID] = ownership.Rotation{}
			}
			hold(rotations[team.ID], row.Name, users)
		}
	}
	return rotations, nil
}

// byPath sorts schedules into those whose users are known, by the path that would give them, and those that are
// shift-based and have to be asked for.
func byPath(rows []scheduleRow) (users map[string][]string, shiftBased map[string]bool, err error) {
	users, shiftBased = make(map[string][]string, len(rows)), map[string]bool{}
	for _, row := range rows {
		switch {
		case row.Type == typeShiftBased:
			shiftBased[row.ID] = true
		case row.Users == nil:
			return nil, nil, incomplete("PagerDuty's list of schedules does not say who is on "+row.ID, nil)
		default:
			users[routeSchedules+"/"+row.ID] = idsOf(*row.Users)
		}
	}
	return users, shiftBased, nil
}

// retarget has targets that are shift-based schedules say so: asked for as another one, such a schedule is not found.
func retarget(policy pd.EscalationPolicy, shiftBased map[string]bool) pd.EscalationPolicy {
	for i, rule := range policy.EscalationRules {
		for j, target := range rule.Targets {
			if shiftBased[target.ID] {
				policy.EscalationRules[i].Targets[j].Type = typeShiftBased
			}
		}
	}
	return policy
}

// readByTeams reads the whole list; where it is longer than offsets reach, the part of these teams, some at a time.
func readByTeams[T any](ctx context.Context, c *Client, l list, teamIDs []string, id func(T) string) ([]T, error) {
	rows, err := read(ctx, c, l, id)
	if !errors.Is(err, errTooDeep) || len(teamIDs) == 0 {
		return rows, err
	}
	seen := map[string]bool{} // a schedule may belong to several teams
	for some := range slices.Chunk(teamIDs, teamsACall) {
		part, err := readOfTeams(ctx, c, l, some, id)
		if err != nil {
			return nil, err
		}
		fresh, err := unseen(part, seen, l, id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, fresh...)
	}
	return rows, nil
}

// readOfTeams halves the teams where their part is still too long.
func readOfTeams[T any](ctx context.Context, c *Client, l list, teamIDs []string, id func(T) string) ([]T, error) {
	l.query = url.Values{"team_ids[]": teamIDs}
	rows, err := read(ctx, c, l, id)
	if !errors.Is(err, errTooDeep) || len(teamIDs) == 1 {
		return rows, err
	}
	middle := len(teamIDs) / 2
	rows, err = readOfTeams(ctx, c, l, teamIDs[:middle], id)
	if err != nil {
		return nil, err
	}
	rest, err := readOfTeams(ctx, c, l, teamIDs[middle:], id)
	if err != nil {
		return nil, err
	}
	return append(rows, rest...), nil
}
