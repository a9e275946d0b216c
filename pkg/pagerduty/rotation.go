package pagerduty

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

const (
	routePolicies  = "/escalation_policies"
	routeSchedules = "/schedules"
	routeSchedule  = "/schedules/{id}"

	// typeShiftBased are schedules of the third version, which have a path of their own.
	typeShiftBased = "schedule_v3"
)

// Rotation finds who cannot be removed from the team: everybody on its escalation policies, directly or through a
// schedule, on shift or not. On-call look-ups would miss those who are not on shift now (reference: terraform provider
// issue 914). It costs ⌈policies/100⌉ calls and one for each schedule.
func (c *Client) Rotation(ctx context.Context, targetID string) (ownership.Rotation, error) {
	if err := checkID("target_id", targetID); err != nil {
		return nil, err
	}
	policies, err := read(ctx, c, list{
		route: routePolicies, path: routePolicies, key: "escalation_policies", query: url.Values{"team_ids[]": {targetID}},
	}, func(p pd.EscalationPolicy) string { return p.ID })
	if err != nil {
		return nil, fmt.Errorf("read escalation policies of team %s from pagerduty: %w", targetID, err)
	}
	rotation := ownership.Rotation{}
	schedules := map[string][]string{} // path -> users: policies share schedules
	for _, policy := range policies {
		users, err := c.paged(ctx, policy, schedules)
		if err != nil {
			return nil, err
		}
		hold(rotation, policy.Name, users)
	}
	return rotation, nil
}

// paged finds the users of a policy, each once for every target that pages them.
func (c *Client) paged(ctx context.Context, policy pd.EscalationPolicy, schedules map[string][]string) ([]string, error) {
	var paged []string
	for _, rule := range policy.EscalationRules {
		for _, target := range rule.Targets {
			users, err := c.usersOf(ctx, target, schedules)
			if err != nil {
				return nil, fmt.Errorf("read who is on escalation policy %q: %w", policy.Name, err)
			}
			paged = append(paged, users...)
		}
	}
	return paged, nil
}

// hold notes that a policy pages these users.
func hold(rotation ownership.Rotation, policy string, users []string) {
	for _, id := range users {
		if !slices.Contains(rotation[id], policy) {
			rotation[id] = append(rotation[id], policy)
		}
	}
}

// usersOf resolves one target of an escalation rule.
func (c *Client) usersOf(ctx context.Context, target pd.APIObject, schedules map[string][]string) ([]string, error) {
	if err := checkID("escalation target", target.ID); err != nil {
		return nil, incomplete("PagerDuty gave an escalation target without a usable id", err)
	}
	var path string
	switch strings.TrimSuffix(target.Type, "_reference") {
	case "user":
		return []string{target.ID}, nil
	case "schedule":
		path = routeSchedules + "/" + target.ID
	case typeShiftBased:
		path = "/v3/schedules/" + target.ID
	default:
		return nil, incomplete(fmt.Sprintf("escalation target %s is of unknown type %q", target.ID, target.Type), nil)
	}
	if users, known := schedules[path]; known {
		return users, nil
	}
	users, err := c.scheduleUsers(ctx, path)
	if err != nil {
		return nil, err
	}
	schedules[path] = users
	return users, nil
}

func (c *Client) scheduleUsers(ctx context.Context, path string) ([]string, error) {
	var answer struct {
		Schedule struct {
			Users *[]pd.APIObject `json:"users"`
		} `json:"schedule"`
	}
	err := c.do(ctx, call{method: http.MethodGet, route: routeSchedule, path: path}, &answer)
	switch {
	case fault.Is(err, fault.NotFound): // deleted since the policies were read: it holds nobody
		return nil, nil
	case err != nil:
		return nil, err
	case answer.Schedule.Users == nil:
		return nil, incomplete("PagerDuty's answer for "+path+" does not say who is on the schedule", nil)
	}
	return idsOf(*answer.Schedule.Users), nil
}

func idsOf(objects []pd.APIObject) []string {
	var ids []string
	for _, o := range objects {
		ids = append(ids, o.ID)
	}
	return ids
}
