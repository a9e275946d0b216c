package pagerduty_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	simulator "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

const longToken = "y_NbAkKc66ryYTWUXYEu"

// fleet is a client of a simulated account that holds o.
func fleet(t *testing.T, o *org.Org) (*pagerduty.Client, *simulator.Server) {
	server := simulator.New(simulator.Options{Token: longToken})
	server.Control().SetLimits(control.Limits{})
	require.NoError(t, server.LoadOrg(o))
	return connect(t, server, longToken), server
}

func connect(t *testing.T, server *simulator.Server, token string) *pagerduty.Client {
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	client := pagerduty.HTTP(upstream.Config{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(client.CloseIdleConnections)
	return pagerduty.New(pagerduty.Config{BaseURL: web.URL, Token: config.NewSecret(token), HTTP: client})
}

func TestReader_WholeFleet_IsReadInTheFewestCalls(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 250, People: 1_234, Seed: 3, Drifted: 25, Policies: 0.6, Orphans: 4})
	c, server := fleet(t, o)
	want := o.Observed()
	server.Control().ClearCalls()
	r := c.Reader()

	users := map[string]ownership.User{}
	whole, err := r.Users(t.Context(), func(page []ownership.User) error {
		for _, u := range page {
			users[u.ID] = u
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, users, len(want.Users))

	teams, whole, err := r.Teams(t.Context())
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, teams, len(want.Teams))
	var ids []string
	names := map[string]pagerduty.TeamInfo{}
	for _, team := range teams {
		ids = append(ids, team.ID)
		names[team.ID] = team
	}
	rotations, err := r.Rotations(t.Context(), ids)
	require.NoError(t, err)
	pages := func(rows int) int { return (rows + 99) / 100 }
	require.Equal(t, pages(len(want.Users))+pages(len(want.Teams))+pages(len(want.Policies))+pages(len(want.Schedules)), server.Control().Calls().Total)

	policies := map[string]bool{}
	for _, p := range want.Policies {
		policies[p.TeamID] = true
	}
	for _, team := range want.Teams {
		require.Equal(t, pagerduty.TeamInfo{ID: team.ID, Name: team.Name, Description: team.Description}, names[team.ID])
		members, err := r.Members(t.Context(), team.ID)
		require.NoError(t, err)
		got := map[string]ownership.Role{}
		for _, m := range members {
			require.Equal(t, users[m.User.ID], m.User)
			got[m.User.ID] = m.Role
		}
		require.Len(t, got, len(team.Members))
		for _, m := range team.Members {
			require.Equal(t, ownership.Role(m.Role), got[m.UserID])
		}
		rotation, err := c.Rotation(t.Context(), team.ID)
		require.NoError(t, err)
		require.Len(t, rotations[team.ID], len(rotation))
		for user, held := range rotation {
			require.Equal(t, held, rotations[team.ID][user])
		}
		require.Equal(t, policies[team.ID], len(rotation) > 0)
	}
	require.Zero(t, server.Control().Calls().Writes)

	_, err = r.Members(t.Context(), "PNOBODY")
	require.Equal(t, "TARGET_TEAM_NOT_FOUND", fault.ReasonOf(err), "%v", err)
}

func TestReader_MoreUsersThanOffsetsReach_AreSaidNotToBeWhole(t *testing.T) {
	c, server := fleet(t, org.Generate(org.GenerateOptions{Teams: 10, People: 10_001, Seed: 1}))
	whole, err := c.Reader().Users(t.Context(), func([]ownership.User) error {
		t.Error("part of a list was given")
		return nil
	})
	require.NoError(t, err)
	require.False(t, whole)
	require.Equal(t, 1, server.Control().Calls().Total)
	found, err := c.Reader().FindUsers(t.Context(), []string{"person-10001@example.org"})
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestReader_Records_TellOwnWritesFromOthers(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 3, People: 20, Seed: 5})
	c, server := fleet(t, o)
	users, teams := o.Observed().Users, o.Observed().Teams
	server.SetUserTokens(map[string]string{"somebodys-own-token": users[0].ID})
	other := connect(t, server, "somebodys-own-token")
	since := time.Now().Add(-time.Second)

	leaver := teams[0].Members[len(teams[0].Members)-1].UserID
	ctx, calls := upstream.Record(t.Context())
	require.NoError(t, c.RemoveMember(ctx, teams[0].ID, leaver))
	require.NoError(t, other.PutMember(t.Context(), teams[0].ID, leaver, ownership.Observer))
	require.NoError(t, other.PutMember(t.Context(), teams[0].ID, leaver, ownership.Observer)) // changes nothing
	require.NoError(t, other.PutMember(t.Context(), teams[0].ID, leaver, ownership.Manager))
	for range 120 {
		require.NoError(t, c.UpdateTeam(t.Context(), teams[1].ID, "", time.Now().String()))
	}
	made, err := c.CreateTeam(t.Context(), "acme/new", "")
	require.NoError(t, err)

	var got []pagerduty.Record
	server.Control().ClearCalls()
	require.NoError(t, c.Reader().Records(t.Context(), since, time.Now().Add(time.Second), func(page []pagerduty.Record) error {
		got = append(got, page...)
		return nil
	}))
	require.Len(t, got, 124)
	require.Equal(t, 2, server.Control().Calls().Total)
	require.Equal(t, made, got[0].RootID, "newest first")
	require.Equal(t, "create", got[0].Action)

	joined, role, left := got[122], got[121], got[123]
	for _, r := range []pagerduty.Record{joined, role, left} {
		require.Equal(t, "team", r.RootType)
		require.Equal(t, teams[0].ID, r.RootID)
		require.Equal(t, []string{leaver}, r.Users)
		require.Equal(t, "update", r.Action)
		require.Equal(t, "api_token", r.Method)
		require.WithinRange(t, r.At, since, time.Now())
	}
	require.Equal(t, pagerduty.Truncated(longToken), left.TruncatedToken)
	require.Equal(t, "api_key_reference", left.ActorType)
	require.Equal(t, calls.List()[0].RequestID, left.RequestID)
	require.Equal(t, pagerduty.Truncated("somebodys-own-token"), joined.TruncatedToken)
	require.Equal(t, users[0].Name, joined.Actor)
	require.Equal(t, "user_reference", joined.ActorType)

	err = connect(t, server, "wrong").Reader().Records(t.Context(), since, time.Now(), nil)
	require.Equal(t, "TARGET_CREDENTIAL_REFUSED", fault.ReasonOf(err), "%v", err)
	require.NoError(t, server.Control().Inject(control.Fault{Match: "GET /audit/records", Status: 402, Times: 1}))
	err = c.Reader().Records(t.Context(), since, time.Now(), nil)
	require.Equal(t, "RECORDS_NOT_ON_PLAN", fault.ReasonOf(err), "%v", err)
}

func TestReader_Records_ForSomebodyWhoMayNot(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 3, People: 20, Seed: 5})
	_, server := fleet(t, o)
	server.SetUserTokens(map[string]string{"somebodys-own-token": o.Observed().Users[0].ID})
	err := connect(t, server, "somebodys-own-token").Reader().Records(t.Context(), time.Now().Add(-time.Hour), time.Now(), nil)
	require.Equal(t, "RECORDS_REFUSED", fault.ReasonOf(err), "%v", err)
}
