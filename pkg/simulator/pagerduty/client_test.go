package pagerduty_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	simulator "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// simulated is a client of a simulated PagerDuty with one team of n people, and the simulator's address.
func simulated(t *testing.T, n int) (*pagerduty.Client, string) {
	server := httptest.NewServer(simulator.New(simulator.Options{Token: "key"}))
	t.Cleanup(server.Close)
	var people []string
	for i := range n {
		people = append(people, fmt.Sprintf("person-%04d", i))
	}
	steer(t, server.URL, "limits", map[string]any{"per_minute": 6000, "stale_ms": 0})
	steer(t, server.URL, "org", map[string]any{
		"people": append(people, "outsider"),
		"teams": []any{map[string]any{
			"tag": "acme-everyone", "name": "everyone", "org": "acme", "description": "All of us", "maintainers": people[:1], "members": people[1:],
		}},
	})
	web := pagerduty.HTTP(upstream.Config{
		Attempts: 3, Log: slog.New(slog.DiscardHandler), Limiter: upstream.NewLocal("pagerduty", 6000),
	})
	t.Cleanup(web.CloseIdleConnections)
	return pagerduty.New(pagerduty.Config{BaseURL: server.URL, Token: config.NewSecret("key"), HTTP: web}), server.URL
}

func steer(t *testing.T, address, what string, body any) {
	content, err := json.Marshal(body)
	require.NoError(t, err)
	method := http.MethodPut
	if what == "faults" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address+"/_control/"+what, bytes.NewReader(content))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Less(t, response.StatusCode, 300, "control %s", what)
	http.DefaultClient.CloseIdleConnections()
}

// only finds the one team.
func only(t *testing.T, c *pagerduty.Client) string {
	teams, err := c.FindTeams(t.Context(), "acme/everyone")
	require.NoError(t, err)
	require.Len(t, teams, 1)
	return teams[0].ID
}

func TestSimulator_LargeTeamWithFiveChanges_CostsPagesNotPeople(t *testing.T) {
	for _, n := range []int{320, 1500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c, _ := simulated(t, n)
			require.NoError(t, c.Probe(t.Context()))
			id := only(t, c)
			ctx, calls := upstream.Record(t.Context())
			before, err := c.Observe(ctx, id)
			require.NoError(t, err)
			require.Len(t, before.Members, n)
			users, err := c.FindUsers(ctx, []string{"OUTSIDER@example.org"})
			require.NoError(t, err)
			require.Len(t, users, 1)
			require.NoError(t, c.PutMember(ctx, id, users[0].ID, ownership.Responder))
			for _, m := range before.Members[:4] {
				require.NoError(t, c.RemoveMember(ctx, id, m.User.ID))
			}
			after, err := c.Observe(ctx, id)
			require.NoError(t, err)
			require.Len(t, after.Members, n-3)
			pages := (n + 99) / 100
			require.LessOrEqual(t, len(calls.List()), 2*(pages+1)+1+5)
			for _, call := range calls.List() {
				require.NotEmpty(t, call.RequestID)
			}
		})
	}
}

func TestSimulator_FaultsOfAllKinds_RoleAndListSurvive(t *testing.T) {
	busy := map[string]any{"error": map[string]any{"message": "Invalid Input Provided", "code": 2001, "errors": []string{"account could not be locked"}}}
	cases := map[string]map[string]any{
		"throttled":       {"match": "* *", "status": 429, "times": 1},
		"failing":         {"match": "* *", "status": 503, "times": 2},
		"busy":            {"match": "PUT /teams/*/users/*", "status": 400, "times": 1, "body": busy},
		"connection lost": {"match": "* *", "drop": true, "times": 1},
	}
	for name, what := range cases {
		t.Run(name, func(t *testing.T) {
			c, address := simulated(t, 130)
			id := only(t, c)
			users, err := c.FindUsers(t.Context(), []string{"outsider@example.org"})
			require.NoError(t, err)
			require.Len(t, users, 1)

			for _, match := range []string{"PUT /teams/*/users/*", "GET /teams/*/members"} {
				if name == "busy" && match != what["match"] {
					continue
				}
				what["match"] = match
				steer(t, address, "faults", []any{what})
				require.NoError(t, c.PutMember(t.Context(), id, users[0].ID, ownership.Observer))
				got, err := c.Observe(t.Context(), id)
				require.NoError(t, err)
				require.Len(t, got.Members, 131)
				for _, m := range got.Members {
					if m.User.ID == users[0].ID {
						require.Equal(t, ownership.Observer, m.Role)
					}
				}
			}
		})
	}
}

func TestSimulator_Refusals_AreToldApart(t *testing.T) {
	c, address := simulated(t, 3)
	_, err := c.Observe(t.Context(), "PNOBODY")
	require.Equal(t, "TARGET_TEAM_NOT_FOUND", fault.ReasonOf(err), "%v", err)

	id := only(t, c)
	users, err := c.FindUsers(t.Context(), []string{"outsider@example.org"})
	require.NoError(t, err)
	err = c.RemoveMember(t.Context(), id, users[0].ID)
	require.Equal(t, fault.NotFound, fault.KindOf(err), "%v", err)

	created, err := c.CreateTeam(t.Context(), "acme/new", "Fresh")
	require.NoError(t, err)
	require.NoError(t, c.UpdateTeam(t.Context(), created, "", "Fresher"))
	got, err := c.Observe(t.Context(), created)
	require.NoError(t, err)
	require.Equal(t, "acme/new", got.Name)
	require.Equal(t, "Fresher", got.Description)

	web := pagerduty.HTTP(upstream.Config{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(web.CloseIdleConnections)
	stranger := pagerduty.New(pagerduty.Config{BaseURL: address, Token: config.NewSecret("wrong"), HTTP: web})
	require.Equal(t, "TARGET_CREDENTIAL_REFUSED", fault.ReasonOf(stranger.Probe(t.Context())))
}

func TestSimulator_Calls_SayWhatAWriteChanged(t *testing.T) {
	c, address := simulated(t, 3)
	id := only(t, c)
	users, err := c.FindUsers(t.Context(), []string{"outsider@example.org"})
	require.NoError(t, err)
	user := users[0].ID
	var want []string
	for _, role := range []ownership.Role{ownership.Responder, ownership.Responder, ownership.Manager} {
		require.NoError(t, c.PutMember(t.Context(), id, user, role))
	}
	want = append(want, "add_member "+id+" "+user+" responder", "", "change_role "+id+" "+user+" manager")
	require.NoError(t, c.RemoveMember(t.Context(), id, user))
	require.Error(t, c.RemoveMember(t.Context(), id, user))
	want = append(want, "remove_member "+id+" "+user, "")
	require.NoError(t, c.UpdateTeam(t.Context(), id, "", "New words"))
	require.NoError(t, c.UpdateTeam(t.Context(), id, "", "New words"))
	want = append(want, "update_team "+id, "")
	created, err := c.CreateTeam(t.Context(), "acme/new", "")
	require.NoError(t, err)
	want = append(want, "create_team "+created+" acme/new")

	response, err := http.Get(address + "/_control/calls")
	require.NoError(t, err)
	defer response.Body.Close()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	var calls struct {
		Calls []struct {
			Write  bool
			Effect string
		}
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&calls))
	var got []string
	for _, call := range calls.Calls {
		if call.Write {
			got = append(got, call.Effect)
		} else {
			require.Empty(t, call.Effect)
		}
	}
	require.Equal(t, want, got)
}
