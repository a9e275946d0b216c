package pagerduty_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is a PagerDuty account for tests that need an odd one: lists that move, totals that lie, errors in any shape.
// (The ordinary behaviour is tested against the simulator.)
type account struct {
	mu        sync.Mutex
	lists     map[string][]any // path -> rows
	keys      map[string]string
	total     func(path string, offset int) any // nil: the length
	before    func(path string, offset int)     // runs before a page is served
	cut       int                               // the most rows in a page; 0: as asked
	overrides map[string]http.HandlerFunc       // "METHOD /path"
	calls     []string
	bodies    []string
}

func newAccount() *account {
	return &account{
		lists: map[string][]any{}, overrides: map[string]http.HandlerFunc{},
		keys: map[string]string{"/users": "users", "/teams": "teams", "/escalation_policies": "escalation_policies", "/schedules": "schedules"},
	}
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	a.calls = append(a.calls, r.Method+" "+r.URL.Path)
	a.bodies = append(a.bodies, string(body))
	if r.Header.Get("Authorization") != "Token token=key" || r.Header.Get("Accept") != "application/vnd.pagerduty+json;version=2" {
		says(401, `{"error":{"message":"Unauthorized","code":2006}}`)(w, r)
		return
	}
	if handle, ok := a.overrides[r.Method+" "+r.URL.Path]; ok {
		handle(w, r)
		return
	}
	rows, ok := a.lists[r.URL.Path]
	if !ok {
		says(404, `{"error":{"message":"Not Found","code":2100}}`)(w, r)
		return
	}
	query := r.URL.Query()
	limit, _ := strconv.Atoi(query.Get("limit"))
	offset, _ := strconv.Atoi(query.Get("offset"))
	if limit < 1 || limit > 100 || offset+limit > 10_000 {
		says(400, `{"error":{"message":"Invalid Input Provided","code":2001,"errors":["Offset + limit exceeds maximum allowed value of 10000"]}}`)(w, r)
		return
	}
	if a.before != nil {
		a.before(r.URL.Path, offset)
		rows = a.lists[r.URL.Path]
	}
	if wanted := query.Get("query"); wanted != "" {
		rows = matching(rows, wanted)
	}
	if teams := query["team_ids[]"]; len(teams) > 0 {
		rows = slices.DeleteFunc(slices.Clone(rows), func(row any) bool { return !onTeams(row, teams) })
	}
	if a.cut > 0 {
		limit = min(limit, a.cut)
	}
	page := rows[min(offset, len(rows)):min(offset+limit, len(rows))]
	var total any = len(rows)
	if a.total != nil {
		total = a.total(r.URL.Path, offset)
	}
	key := a.keys[r.URL.Path]
	if key == "" {
		key = "members"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		key: append([]any{}, page...), "limit": limit, "offset": offset, "more": offset+len(page) < len(rows), "total": total,
	})
}

// onTeams reports whether a row is on one of these teams. Rows that name no teams are on all.
func onTeams(row any, ids []string) bool {
	teams, said := row.(map[string]any)["teams"].([]any)
	return !said || slices.ContainsFunc(teams, func(team any) bool { return slices.Contains(ids, fmt.Sprint(team.(map[string]any)["id"])) })
}

func matching(rows []any, wanted string) []any {
	var found []any
	for _, row := range rows {
		fields := row.(map[string]any)
		text := fmt.Sprint(fields["name"], " ", fields["email"])
		if strings.Contains(strings.ToLower(text), strings.ToLower(wanted)) {
			found = append(found, row)
		}
	}
	return found
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// team gives the account a team with n members.
func (a *account) team(id string, n int) {
	a.overrides["GET /teams/"+id] = says(200, fmt.Sprintf(`{"team":{"id":%q,"type":"team","name":"Payments","description":null}}`, id))
	a.lists["/teams/"+id+"/members"] = members(0, n)
}

func members(from, to int) []any {
	var rows []any
	for i := from; i < to; i++ {
		rows = append(rows, map[string]any{"role": "responder", "user": person(i)})
	}
	return rows
}

func person(i int) map[string]any {
	return map[string]any{
		"id": fmt.Sprintf("PU%04d", i), "type": "user", "name": fmt.Sprintf("Person %d", i), "email": fmt.Sprintf("P%d@example.org", i), "role": "limited_user",
	}
}

func (a *account) people(n int) {
	for i := range n {
		a.lists["/users"] = append(a.lists["/users"], person(i))
	}
}

func (a *account) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

// client connects to the account.
func (a *account) client(t *testing.T, adjust ...func(*pagerduty.Config)) *pagerduty.Client {
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	web := pagerduty.HTTP(upstream.Config{Attempts: 3, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(web.CloseIdleConnections)
	cfg := pagerduty.Config{BaseURL: server.URL, Token: config.NewSecret("key"), HTTP: web}
	for _, f := range adjust {
		f(&cfg)
	}
	return pagerduty.New(cfg)
}

func requireBody(t *testing.T, want, got string) {
	t.Helper()
	require.JSONEq(t, want, got)
}
