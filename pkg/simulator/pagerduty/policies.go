package pagerduty

import (
	"net/http"
	"slices"
	"strings"
)

func (s *Server) showPolicy(p *policy) object {
	targets := []any{}
	for _, id := range p.users {
		targets = append(targets, reference(s.account.users[id]))
	}
	for _, id := range p.schedules {
		targets = append(targets, object{"id": id, "type": "schedule_reference", "summary": s.account.schedules[id].name})
	}
	teams := []any{}
	if t := s.account.teams[p.teamID]; t != nil {
		teams = append(teams, object{"id": t.id, "type": "team_reference", "summary": t.name})
	}
	return object{
		"id": p.id, "type": "escalation_policy", "name": p.name, "summary": p.name, "num_loops": 0, "teams": teams, "services": []any{},
		"escalation_rules": []any{object{"id": madeID("rule", p.id), "escalation_delay_in_minutes": 30, "targets": targets}},
	}
}

func (s *Server) listPolicies(r *http.Request) (int, any) {
	teams, users := r.URL.Query()["team_ids[]"], r.URL.Query()["user_ids[]"]
	query := strings.ToLower(r.URL.Query().Get("query"))
	var rows []*policy
	for _, id := range s.account.policyIDs {
		p := s.account.policies[id]
		if (len(teams) == 0 || slices.Contains(teams, p.teamID)) &&
			(len(users) == 0 || slices.ContainsFunc(users, func(u string) bool { return slices.Contains(p.users, u) })) &&
			strings.Contains(strings.ToLower(p.name), query) {
			rows = append(rows, p)
		}
	}
	return page(r, "escalation_policies", rows, func(p *policy) any { return s.showPolicy(p) })
}

func (s *Server) getPolicy(r *http.Request) (int, any) {
	p := s.account.policies[r.PathValue("id")]
	if p == nil {
		return notFound()
	}
	return http.StatusOK, object{"escalation_policy": s.showPolicy(p)}
}

func (s *Server) showSchedule(v *schedule) object {
	users, policies, teams := []any{}, []any{}, []any{}
	for _, id := range v.users {
		users = append(users, reference(s.account.users[id]))
	}
	for _, p := range v.policies {
		policies = append(policies, object{"id": p.id, "type": "escalation_policy_reference", "summary": p.name})
		if t := s.account.teams[p.teamID]; t != nil {
			teams = append(teams, object{"id": t.id, "type": "team_reference", "summary": t.name})
		}
	}
	return object{
		"id": v.id, "type": "schedule", "name": v.name, "summary": v.name, "time_zone": "Etc/UTC",
		"users": users, "escalation_policies": policies, "teams": teams,
	}
}

func (s *Server) listSchedules(r *http.Request) (int, any) {
	teams := r.URL.Query()["team_ids[]"]
	query := strings.ToLower(r.URL.Query().Get("query"))
	var rows []*schedule
	for _, id := range s.account.schedIDs {
		v := s.account.schedules[id]
		onTeam := len(teams) == 0 || slices.ContainsFunc(v.policies, func(p *policy) bool { return slices.Contains(teams, p.teamID) })
		if onTeam && strings.Contains(strings.ToLower(v.name), query) {
			rows = append(rows, v)
		}
	}
	return page(r, "schedules", rows, func(v *schedule) any { return s.showSchedule(v) })
}

func (s *Server) getSchedule(r *http.Request) (int, any) {
	v := s.account.schedules[r.PathValue("id")]
	if v == nil {
		return notFound()
	}
	return http.StatusOK, object{"schedule": s.showSchedule(v)}
}

func (s *Server) attachPolicy(r *http.Request) (int, any) {
	t, p := s.account.teams[r.PathValue("id")], s.account.policies[r.PathValue("ep")]
	if t == nil || p == nil {
		return notFound()
	}
	if !s.mayManage(r, t) {
		return denied()
	}
	if p.teamID != "" && p.teamID != t.id {
		return http.StatusBadRequest, object{"error": object{"code": 2001, "message": "Escalation Policy has already been taken", "errors": nil}}
	}
	p.teamID = t.id
	if joined := s.account.adopt(s.now(), s.stale(), p); len(joined) > 0 {
		s.record(r, joining(t, joined...))
	}
	return http.StatusNoContent, nil
}

// detachPolicy answers 204 also where nothing was attached (terraform-provider-pagerduty issue 709).
func (s *Server) detachPolicy(r *http.Request) (int, any) {
	t, p := s.account.teams[r.PathValue("id")], s.account.policies[r.PathValue("ep")]
	if t == nil || p == nil {
		return notFound()
	}
	if !s.mayManage(r, t) {
		return denied()
	}
	if p.teamID == t.id {
		p.teamID = ""
	}
	return http.StatusNoContent, nil
}

// getNewSchedule knows no shift-based schedules: an id of a classic one is refused, as PagerDuty does.
func (s *Server) getNewSchedule(r *http.Request) (int, any) {
	if s.account.schedules[r.PathValue("id")] != nil {
		return invalid("Schedule is not shift-based; use /schedules")
	}
	return notFound()
}
