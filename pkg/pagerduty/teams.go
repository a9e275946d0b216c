package pagerduty

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

const (
	routeTeams   = "/teams"
	routeTeam    = "/teams/{id}"
	routeMembers = "/teams/{id}/members"
	routeMember  = "/teams/{id}/users/{id}"
)

// member is a row of a member list with include[]=users: without that, user is a bare reference and every person
// would cost a call.
type member struct {
	User pd.User `json:"user"`
	Role string  `json:"role"`
}

// Observe reads a team and all its members in 1 + ⌈members/100⌉ calls.
func (c *Client) Observe(ctx context.Context, targetID string) (ownership.Observed, error) {
	if err := checkID("target_id", targetID); err != nil {
		return ownership.Observed{}, err
	}
	var answer struct {
		Team pd.Team `json:"team"`
	}
	path := "/teams/" + targetID
	if err := c.do(ctx, call{method: http.MethodGet, route: routeTeam, path: path}, &answer); err != nil {
		return ownership.Observed{}, fmt.Errorf("read team %s from pagerduty: %w", targetID, err)
	}
	if answer.Team.ID != targetID {
		return ownership.Observed{}, incomplete(fmt.Sprintf("PagerDuty was asked for team %s and answered with %q", targetID, answer.Team.ID), nil)
	}
	members, err := c.members(ctx, targetID)
	if err != nil {
		return ownership.Observed{}, err
	}
	return ownership.Observed{
		TargetID: targetID, Name: answer.Team.Name, Description: answer.Team.Description, Members: members,
	}, nil
}

// members reads all members of a team in ⌈members/100⌉ calls.
func (c *Client) members(ctx context.Context, targetID string) ([]ownership.ObservedMember, error) {
	rows, err := read(ctx, c, list{
		route: routeMembers, path: "/teams/" + targetID + "/members", key: "members", query: url.Values{"include[]": {"users"}},
	}, func(m member) string { return m.User.ID })
	if err != nil {
		return nil, fmt.Errorf("read members of %s from pagerduty: %w", targetID, err)
	}
	members := make([]ownership.ObservedMember, 0, len(rows))
	for _, row := range rows {
		// A member that cannot be matched would look like one who does not belong.
		if row.User.Email == "" {
			return nil, incomplete("PagerDuty gave member "+row.User.ID+" of team "+targetID+" without an e-mail address", nil)
		}
		members = append(members, ownership.ObservedMember{User: user(row.User), Role: ownership.Role(row.Role)})
	}
	return members, nil
}

// FindTeams gives the teams with exactly this name, after normalising: none, one, or several, for PagerDuty does not
// promise unique names.
func (c *Client) FindTeams(ctx context.Context, name string) ([]ownership.TeamRef, error) {
	name = ownership.NormalizeName(name)
	if name == "" {
		return nil, fault.Field("name", "must not be empty")
	}
	rows, err := read(ctx, c, list{route: routeTeams, path: "/teams", key: "teams", query: url.Values{"query": {name}}},
		func(t pd.Team) string { return t.ID })
	if err != nil {
		return nil, fmt.Errorf("find team %q on pagerduty: %w", name, err)
	}
	var teams []ownership.TeamRef
	for _, row := range rows {
		if ownership.NormalizeName(row.Name) == name {
			teams = append(teams, ownership.TeamRef{ID: row.ID, Name: row.Name})
		}
	}
	return teams, nil
}

// teamBody is the wrapped team: without the wrapper limited tokens get 403 (reference: terraform provider issue 1085).
type teamBody struct {
	Team teamFields `json:"team"`
}

type teamFields struct {
	Type        string `json:"type"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// CreateTeam makes a team and returns its id. The API has no idempotency key: look for the name first, and look again
// after fault.Deadline, when the team may or may not exist.
func (c *Client) CreateTeam(ctx context.Context, name, description string) (string, error) {
	var answer struct {
		Team pd.Team `json:"team"`
	}
	err := c.do(ctx, call{
		method: http.MethodPost, route: routeTeams, path: "/teams",
		body: teamBody{teamFields{Type: "team", Name: ownership.NormalizeName(name), Description: description}},
	}, &answer)
	switch {
	case fault.Is(err, fault.Incomplete), err == nil && answer.Team.ID == "":
		return "", effectUnknown("PagerDuty answered the creation of a team without its id", err)
	case err != nil:
		return "", fmt.Errorf("create team %q on pagerduty: %w", name, err)
	}
	return answer.Team.ID, nil
}

// UpdateTeam changes name and description; an empty one stays as it is.
func (c *Client) UpdateTeam(ctx context.Context, id, name, description string) error {
	if err := checkID("target_id", id); err != nil {
		return err
	}
	err := c.do(ctx, call{
		method: http.MethodPut, route: routeTeam, path: "/teams/" + id,
		body: teamBody{teamFields{Type: "team", Name: ownership.NormalizeName(name), Description: description}},
	}, nil)
	if err != nil {
		return fmt.Errorf("update team %s on pagerduty: %w", id, err)
	}
	return nil
}

// PutMember adds the user to the team or changes their role; repeating it changes nothing. The role is always sent:
// PagerDuty's default for a missing one has changed before.
func (c *Client) PutMember(ctx context.Context, teamID, userID string, role ownership.Role) error {
	if role == "" {
		return fault.Field("role", "must be manager, responder or observer")
	}
	body := struct {
		Role ownership.Role `json:"role"`
	}{role}
	if err := c.member(ctx, http.MethodPut, teamID, userID, body); err != nil {
		return fmt.Errorf("make user %s %s of team %s on pagerduty: %w", userID, role, teamID, err)
	}
	return nil
}

// RemoveMember takes the user off the team. fault.Conflict with ON_ESCALATION_POLICY means that PagerDuty will not do
// it; fault.NotFound may mean that they are gone already: read again to know.
func (c *Client) RemoveMember(ctx context.Context, teamID, userID string) error {
	if err := c.member(ctx, http.MethodDelete, teamID, userID, nil); err != nil {
		return fmt.Errorf("remove user %s from team %s on pagerduty: %w", userID, teamID, err)
	}
	return nil
}

func (c *Client) member(ctx context.Context, method, teamID, userID string, body any) error {
	if err := checkID("target_id", teamID); err != nil {
		return err
	}
	if err := checkID("user_id", userID); err != nil {
		return err
	}
	return c.do(ctx, call{method: method, route: routeMember, path: "/teams/" + teamID + "/users/" + userID, body: body}, nil)
}

func user(u pd.User) ownership.User {
	return ownership.User{ID: u.ID, Email: u.Email, Name: u.Name, Base: ownership.BaseRole(u.Role)}
}
