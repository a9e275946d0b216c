package pagerduty

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The audit trail (PagerDuty REST API, "List audit records").
const (
	recordsLimit  = 100
	recordsWindow = 31 * 24 * time.Hour
	recordsSince  = 24 * time.Hour // how far back a walk goes that does not say
	// maxRecords bounds the trail; the oldest records go.
	maxRecords = 100_000

	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
)

// trail is the account's audit records, oldest first. Their numbers have no gaps.
type trail struct {
	records []record
	written int
}

// record is one change as it is shown, and what filters look at.
type record struct {
	number                          int
	at                              time.Time
	rootType, action                string
	actorType, actorID, methodToken string
	shown                           json.RawMessage // a tenth of the memory that the objects take
}

// change is what a record tells.
type change struct {
	action     string
	root       object // a reference
	resource   object // nil: the root
	fields     []any
	references []any
}

// record writes a change down as the work of whoever makes the request.
func (s *Server) record(r *http.Request, c change) {
	t, who := &s.account.trail, callerOf(r)
	t.written++
	actor := object{"id": madeID("api key", who.token), "type": "api_key_reference", "summary": "Account API key"}
	if u := s.account.users[who.userID]; u != nil {
		actor = reference(u)
	}
	token := who.token[max(len(who.token)-4, 0):]
	if c.resource == nil {
		c.resource = c.root
	}
	now := s.now()
	shown, err := json.Marshal(object{
		"id": fmt.Sprintf("PDRECORDID%d", t.written), "self": nil, "execution_time": now.UTC().Format("2006-01-02T15:04:05.000Z"),
		"execution_context": object{"request_id": requestID(r), "remote_address": r.RemoteAddr},
		"actors":            []any{actor}, "method": object{"type": "api_token", "truncated_token": token, "description": nil},
		"root_resource": c.root, "action": c.action,
		"details": object{"resource": c.resource, "fields": orEmpty(c.fields), "references": orEmpty(c.references)},
	})
	if err != nil {
		panic("a record cannot be written down: " + err.Error()) // it holds strings alone
	}
	t.records = append(t.records, record{
		number: t.written, at: now, action: c.action, methodToken: token,
		rootType: text(c.root["type"]), actorType: text(actor["type"]), actorID: text(actor["id"]), shown: shown,
	})
	if len(t.records) > maxRecords {
		t.records = t.records[len(t.records)-maxRecords:]
	}
}

func text(value any) string { return fmt.Sprint(value) }

func orEmpty(list []any) []any { return append([]any{}, list...) }

func teamReference(t *team) object {
	return object{"id": t.id, "type": "team_reference", "summary": t.name, "self": "https://api.pagerduty.com/teams/" + t.id}
}

// joining and leaving are changes of the team; the role of somebody who is in it is one of the person in the team.
func joining(t *team, users ...*user) change { return membership(t, users, nil) }
func leaving(t *team, users ...*user) change { return membership(t, nil, users) }

func membership(t *team, added, removed []*user) change {
	references := func(users []*user) []any {
		shown := []any{}
		for _, u := range users {
			shown = append(shown, reference(u))
		}
		return shown
	}
	return change{action: actionUpdate, root: teamReference(t), references: []any{
		object{"name": "members", "description": nil, "added": references(added), "removed": references(removed)},
	}}
}

func roleChange(t *team, u *user) change {
	role := t.members[t.index(u.id)].role
	return change{
		action: actionUpdate, root: teamReference(t), resource: reference(u),
		fields: []any{object{"name": "members.role", "description": nil, "value": role}},
	}
}

// fields are those that differ from before; nil: it was not there.
func (t *team) fields(before *team) []any {
	if before == nil {
		before = &team{}
	}
	return differing("name", before.name, t.name, "description", before.description, t.description, "default_role", before.defaultRole, t.defaultRole)
}

func (u *user) fields(before *user) []any {
	if before == nil {
		before = &user{}
	}
	return differing("name", before.name, u.name, "email", before.email, u.email, "role", before.role, u.role)
}

// differing takes names, each with the value before and after.
func differing(fields ...string) []any {
	var shown []any
	for field := range slices.Chunk(fields, 3) {
		if name, before, after := field[0], field[1], field[2]; before != after {
			shown = append(shown, object{"name": name, "description": nil, "value": after, "before_value": before})
		}
	}
	return shown
}

// listRecords is for the account's key, its owner and its admins. It gives a walk no snapshot, and needs none: new records
// come before those that a cursor stands for.
func (s *Server) listRecords(r *http.Request) (int, any) {
	if !s.isAdmin(r) {
		return denied()
	}
	f, problem := readFilter(r.URL.Query(), s.now())
	if problem != "" {
		return invalid(problem)
	}
	shown := []any{}
	all := s.account.trail.records
	start := len(all)
	if f.before > 0 && len(all) > 0 {
		start = min(max(f.before-all[0].number, 0), len(all))
	}
	for i := start - 1; i >= 0 && !all[i].at.Before(f.since); i-- {
		if !f.takes(all[i]) {
			continue
		}
		if len(shown) == f.limit {
			return http.StatusOK, object{"records": shown, "limit": f.limit, "next_cursor": cursor(all[i].number + 1)}
		}
		shown = append(shown, all[i].shown)
	}
	return http.StatusOK, object{"records": shown, "limit": f.limit, "next_cursor": nil}
}

// filter is what a walk over the trail looks for.
type filter struct {
	limit        int
	before       int // a record's number; 0: from the newest
	since, until time.Time
	roots        []string // as types of references
	actions      []string
	actorType    string
	actorID      string
	methodType   string
	methodToken  string
}

func (f filter) takes(r record) bool {
	return !r.at.After(f.until) &&
		(len(f.roots) == 0 || slices.Contains(f.roots, r.rootType)) &&
		(len(f.actions) == 0 || slices.Contains(f.actions, r.action)) &&
		(f.actorType == "" || f.actorType == r.actorType) &&
		(f.actorID == "" || f.actorID == r.actorID) &&
		(f.methodType == "" || f.methodType == "api_token") &&
		(f.methodToken == "" || f.methodToken == r.methodToken)
}

// rootTypes are the words of root_resource_types[] with the types of references they stand for.
var rootTypes = map[string]string{
	"users": "user_reference", "teams": "team_reference", "schedules": "schedule_reference", "services": "service_reference",
	"escalation_policies": "escalation_policy_reference", "ip_allow_lists": "ip_allow_list_reference",
}

func readFilter(query url.Values, now time.Time) (f filter, problem string) {
	limit, err := number(query.Get("limit"), recordsLimit)
	if err != nil {
		return f, "Limit must be a number"
	}
	f = filter{
		limit: min(max(limit, 1), recordsLimit), actions: query["actions[]"],
		actorType: query.Get("actor_type"), actorID: query.Get("actor_id"),
		methodType: query.Get("method_type"), methodToken: query.Get("method_truncated_token"),
	}
	for _, word := range query["root_resource_types[]"] {
		if rootTypes[word] == "" {
			return f, "Root resource types is not included in the list"
		}
		f.roots = append(f.roots, rootTypes[word])
	}
	for _, word := range []struct {
		name    string
		given   []string
		allowed []string
	}{
		{"Actions", f.actions, []string{actionCreate, actionUpdate, actionDelete}},
		{"Actor type", []string{f.actorType}, []string{"", "user_reference", "api_key_reference", "app_reference"}},
		{"Method type", []string{f.methodType}, []string{"", "browser", "oauth", "api_token", "identity_provider", "other"}},
	} {
		if slices.ContainsFunc(word.given, func(w string) bool { return !slices.Contains(word.allowed, w) }) {
			return f, word.name + " is not included in the list"
		}
	}
	switch {
	case f.actorID != "" && f.actorType == "":
		return f, "Actor id must come with an actor type"
	case f.methodToken != "" && f.methodType == "":
		return f, "Method truncated token must come with a method type"
	}
	if f.before, problem = readCursor(query.Get("cursor")); problem != "" {
		return f, problem
	}
	f.since, f.until, problem = readSpan(query, now)
	return f, problem
}

func readSpan(query url.Values, now time.Time) (since, until time.Time, problem string) {
	since, until = now.Add(-recordsSince), now
	for name, at := range map[string]*time.Time{"since": &since, "until": &until} {
		if given := query.Get(name); given != "" {
			parsed, err := time.Parse(time.RFC3339, given)
			if err != nil {
				return since, until, strings.ToUpper(name[:1]) + name[1:] + " must be an ISO 8601 time"
			}
			*at = parsed
		}
	}
	switch {
	case until.Before(since):
		return since, until, "Until must not be before since"
	case until.Sub(since) > recordsWindow:
		return since, until, "Until must not be more than 31 days after since"
	}
	return since, until, ""
}

// cursor stands for the records before one.
func cursor(number int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("before " + strconv.Itoa(number)))
}

func readCursor(given string) (before int, problem string) {
	if given == "" {
		return 0, ""
	}
	plain, err := base64.RawURLEncoding.DecodeString(given)
	if err == nil {
		before, err = strconv.Atoi(strings.TrimPrefix(string(plain), "before "))
	}
	if err != nil || before < 1 {
		return 0, "Cursor is not valid"
	}
	return before, ""
}
