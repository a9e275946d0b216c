package pagerduty_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	simulator "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
)

// account is a simulated account whose clock is the test's.
type account struct {
	t      *testing.T
	server *simulator.Server
	now    time.Time
}

// people have each another base role; their handles say which. Ann and Ben are the members of the team sre.
const people = `{"people":[
	{"handle":"owner","pagerduty":{"role":"owner"}}, {"handle":"admin","pagerduty":{"role":"admin"}}, "ann", "ben", "user",
	{"handle":"responder","pagerduty":{"role":"limited_user"}}, {"handle":"lead","pagerduty":{"role":"limited_user"}},
	{"handle":"observer","pagerduty":{"role":"observer"}}, {"handle":"stakeholder","pagerduty":{"role":"read_only_user"}}],
	"teams":[{"tag":"sre","name":"sre","org":"acme","maintainers":["ann"],"members":["ben"]}],
	"pagerduty":{"teams":{"sre":{"id":"PSRE001","extra":{"lead":"manager","responder":"responder"}}}}}`

func newAccount(t *testing.T) *account {
	a := &account{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	a.server = simulator.New(simulator.Options{Token: "key", Clock: func() time.Time { return a.now }})
	o, err := org.Decode(strings.NewReader(people))
	require.NoError(t, err)
	require.NoError(t, a.server.LoadOrg(o))
	return a
}

// ask makes a request with a token.
func (a *account) ask(token, method, path, body string) *httptest.ResponseRecorder {
	a.t.Helper()
	return a.serve(a.request(token, method, path, body))
}

func (a *account) request(token, method, path, body string) *http.Request {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		request.Header.Set("Authorization", "Token token="+token)
	}
	return request
}

func (a *account) serve(request *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	a.server.ServeHTTP(answer, request)
	return answer
}

// must is ask with the account's key for what has to work.
func (a *account) must(method, path, body string) *httptest.ResponseRecorder {
	a.t.Helper()
	answer := a.ask("key", method, path, body)
	require.Less(a.t, answer.Code, 300, "%s %s: %s", method, path, answer.Body)
	return answer
}

// members are those that the API shows: name → role.
func (a *account) members(teamID string) map[string]string {
	a.t.Helper()
	var page struct {
		Members []struct {
			User struct{ Summary string }
			Role string
		}
	}
	require.NoError(a.t, json.Unmarshal(a.must("GET", "/teams/"+teamID+"/members", "").Body.Bytes(), &page))
	roles := map[string]string{}
	for _, m := range page.Members {
		roles[m.User.Summary] = m.Role
	}
	return roles
}

// id is a user's.
func (a *account) id(handle string) string {
	a.t.Helper()
	state, ok := a.server.State().(simulator.State)
	require.True(a.t, ok)
	for _, u := range state.Users {
		if u.Name == handle {
			return u.ID
		}
	}
	a.t.Fatalf("nobody is called %q", handle)
	return ""
}

func TestReads_LagWrites_ByDefaultAndAsLongAsLimitsSay(t *testing.T) {
	a := newAccount(t)
	require.Equal(t, control.Limits{PerMinute: 960, StaleMS: 300}, a.server.Control().Limits())
	for _, stale := range []time.Duration{300 * time.Millisecond, 2 * time.Second} {
		a.server.Control().SetLimits(control.Limits{StaleMS: int(stale.Milliseconds())})
		before := a.members("PSRE001")
		a.must("DELETE", "/teams/PSRE001/users/"+a.id("ben"), "")
		a.must("PUT", "/teams/PSRE001", `{"team":{"name":"acme/renamed"}}`)
		a.now = a.now.Add(stale / 2)
		a.must("PUT", "/teams/PSRE001/users/"+a.id("observer"), `{"role":"observer"}`)
		a.now = a.now.Add(stale/2 - time.Millisecond)
		require.Equal(t, before, a.members("PSRE001"))
		require.Contains(t, a.must("GET", "/teams/PSRE001", "").Body.String(), `"name":"acme/sre"`)
		require.NotContains(t, a.must("GET", "/teams?query=renamed", "").Body.String(), "PSRE001")

		a.now = a.now.Add(time.Millisecond)
		require.NotContains(t, a.members("PSRE001"), "ben", "each write shows after its own time")
		require.NotContains(t, a.members("PSRE001"), "observer")
		require.Contains(t, a.must("GET", "/teams?query=renamed", "").Body.String(), "PSRE001")
		a.now = a.now.Add(stale / 2)
		require.Contains(t, a.members("PSRE001"), "observer")

		a.server.Control().SetLimits(control.Limits{})
		a.must("DELETE", "/teams/PSRE001/users/"+a.id("observer"), "")
		a.must("PUT", "/teams/PSRE001/users/"+a.id("ben"), `{"role":"responder"}`)
		a.must("PUT", "/teams/PSRE001", `{"team":{"name":"acme/sre"}}`)
		require.Equal(t, before, a.members("PSRE001"), "0 shows writes at once")
	}
}

func TestCreateTeam_IsListedAMomentLate(t *testing.T) {
	a := newAccount(t)
	created := a.create("key")
	a.must("GET", "/teams/"+created, "")
	require.NotContains(t, a.must("GET", "/teams", "").Body.String(), created)
	a.now = a.now.Add(300 * time.Millisecond)
	require.Contains(t, a.must("GET", "/teams", "").Body.String(), created)
}

// create makes a team and gives its id.
func (a *account) create(token string) string {
	a.t.Helper()
	answer := a.ask(token, "POST", "/teams", `{"team":{"name":"acme/new"}}`)
	require.Equal(a.t, http.StatusCreated, answer.Code, answer.Body.String())
	var created struct{ Team struct{ ID string } }
	require.NoError(a.t, json.Unmarshal(answer.Body.Bytes(), &created))
	return created.Team.ID
}

func TestLists_BeyondRowTenThousand_AreRefused(t *testing.T) {
	a := newAccount(t)
	for query, want := range map[string]int{
		"offset=9900&limit=100": 200, "offset=9901&limit=100": 400, "offset=9975": 200, "offset=9976": 400, "offset=9900&limit=500": 200,
		"offset=9901&limit=500": 400, "offset=9223372036854775807": 400, "offset=-1": 400, "limit=many": 400,
	} {
		for _, list := range []string{"/teams", "/teams/PSRE001/members", "/users", "/users?query=a", "/escalation_policies", "/schedules"} {
			path, filter, _ := strings.Cut(list, "?")
			require.Equal(t, want, a.ask("key", "GET", path+"?"+filter+"&"+query, "").Code, "%s %s", list, query)
		}
	}
}
