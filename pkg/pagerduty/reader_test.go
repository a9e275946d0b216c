package pagerduty_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
)

func TestReader_HasReadsAlone(t *testing.T) {
	reader := reflect.TypeFor[*pagerduty.Reader]()
	var methods []string
	for method := range reader.Methods() {
		methods = append(methods, method.Name)
	}
	require.ElementsMatch(t, []string{"FindTeams", "FindUsers", "Members", "Observe", "Records", "Rotations", "Teams", "Users"}, methods)
	for field := range reader.Elem().Fields() {
		require.False(t, field.IsExported() || field.Anonymous, "%s leads past the reads", field.Name)
	}
}

func collectUsers(into *[]ownership.User) func([]ownership.User) error {
	return func(users []ownership.User) error {
		*into = append(*into, users...)
		return nil
	}
}

func TestReaderUsers_AreReadInPages(t *testing.T) {
	a := newAccount()
	a.people(230)
	a.lists["/users"][7].(map[string]any)["email"] = nil
	var got []ownership.User
	whole, err := a.client(t).Reader().Users(t.Context(), collectUsers(&got))
	require.NoError(t, err)
	require.True(t, whole)
	require.Equal(t, 3, a.count())
	require.Len(t, got, 230)
	require.Equal(t, ownership.User{ID: "PU0003", Email: "P3@example.org", Name: "Person 3", Base: ownership.BaseLimitedUser}, got[3])
	require.Empty(t, got[7].Email)
}

func TestReaderUsers_AsManyAsOffsetsReach_AreReadWhole(t *testing.T) {
	a := newAccount()
	a.people(10_000)
	var got []ownership.User
	whole, err := a.client(t).Reader().Users(t.Context(), collectUsers(&got))
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, got, 10_000)
}

func TestReaderUsers_MoreThanOffsetsReach_ShowsInOneCall(t *testing.T) {
	a := newAccount()
	a.people(10_001)
	whole, err := a.client(t).Reader().Users(t.Context(), func([]ownership.User) error {
		t.Error("part of a list was given")
		return nil
	})
	require.NoError(t, err)
	require.False(t, whole)
	require.Equal(t, 1, a.count())

	a.total = func(string, int) any { return nil } // it shows at the last row within reach
	whole, err = a.client(t).Reader().Users(t.Context(), func([]ownership.User) error { return nil })
	require.NoError(t, err)
	require.False(t, whole)
}

func TestReaderUsers_ListMoves_IsWalkedAgainOnce(t *testing.T) {
	a := newAccount()
	a.people(150)
	moves := 1
	a.before = func(_ string, offset int) {
		if offset == 100 && moves > 0 { // everybody moves up by one: row 100 is stepped over
			moves--
			a.lists["/users"] = a.lists["/users"][1:]
		}
	}
	c := a.client(t).Reader()
	var got []ownership.User
	whole, err := c.Users(t.Context(), collectUsers(&got))
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, slices.CompactFunc(slices.SortedFunc(slices.Values(got), func(x, y ownership.User) int {
		return strings.Compare(x.ID, y.ID)
	}), func(x, y ownership.User) bool { return x.ID == y.ID }), 150, "the one who left was given by the first walk")
	require.Greater(t, len(got), 150)

	moves = 100
	whole, err = c.Users(t.Context(), collectUsers(&got))
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
	require.False(t, whole)
	require.Equal(t, 98, moves)
}

func TestReaderUsers_ErrorOfEach_EndsTheWalkAsItIs(t *testing.T) {
	a := newAccount()
	a.people(300)
	full := errors.New("disk is full")
	whole, err := a.client(t).Reader().Users(t.Context(), func([]ownership.User) error { return full })
	require.Same(t, full, err)
	require.False(t, whole)
	require.Equal(t, 1, a.count())
}

func TestReaderUsers_FailedRead_IsAnErrorNeverNobody(t *testing.T) {
	a := newAccount()
	a.overrides["GET /users"] = says(500, ``)
	_, err := a.client(t).Reader().Users(t.Context(), func([]ownership.User) error { return nil })
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
}

func TestReaderTeams_AllOrNone(t *testing.T) {
	a := newAccount()
	for i := range 10_000 {
		a.lists["/teams"] = append(a.lists["/teams"], map[string]any{"id": fmt.Sprintf("PT%d", i), "name": fmt.Sprintf("Team %d", i), "description": nil})
	}
	a.lists["/teams"][1].(map[string]any)["description"] = "Takes money"
	c := a.client(t).Reader()
	teams, whole, err := c.Teams(t.Context())
	require.NoError(t, err)
	require.True(t, whole)
	require.Len(t, teams, 10_000)
	require.Equal(t, 100, a.count())
	require.Equal(t, pagerduty.TeamInfo{ID: "PT1", Name: "Team 1", Description: "Takes money"}, teams[1])

	a.lists["/teams"] = append(a.lists["/teams"], map[string]any{"id": "PT", "name": "One too many"})
	teams, whole, err = c.Teams(t.Context())
	require.NoError(t, err)
	require.False(t, whole)
	require.Empty(t, teams)
	require.Equal(t, 101, a.count())

	a.overrides["GET /teams"] = says(200, `{"teams":[{"id":"PT1","name":"Payments"}],"more":false,"total":2}`)
	_, _, err = c.Teams(t.Context())
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
}

func TestReaderMembers_CostNothingButTheirPages(t *testing.T) {
	for n, calls := range map[int]int{0: 1, 100: 1, 101: 2, 320: 4} {
		a := newAccount()
		a.lists["/teams/PT1/members"] = members(0, n)
		got, err := a.client(t).Reader().Members(t.Context(), "PT1")
		require.NoError(t, err)
		require.Len(t, got, n)
		require.NotNil(t, got)
		require.Equal(t, calls, a.count())
	}
}

func TestReaderMembers_WhatCannotBeRead_IsNotNobody(t *testing.T) {
	cases := map[string]struct {
		handle http.HandlerFunc
		kind   fault.Kind
		reason string
	}{
		"gone":           {says(404, `{"error":{"message":"Not Found","code":2100}}`), fault.NotFound, "TARGET_TEAM_NOT_FOUND"},
		"404 of a proxy": {says(404, `<html>`), fault.Unavailable, "PAGERDUTY_UNAVAILABLE"},
		"without mail":   {says(200, `{"members":[{"user":{"id":"PU1"},"role":"manager"}],"more":false,"total":1}`), fault.Incomplete, "TARGET_INCOMPLETE"},
		"half":           {says(200, `{"members":[],"more":false,"total":1}`), fault.Incomplete, "TARGET_INCOMPLETE"},
		"server error":   {says(500, ``), fault.Unavailable, "PAGERDUTY_UNAVAILABLE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.overrides["GET /teams/PT1/members"] = tc.handle
			got, err := a.client(t).Reader().Members(t.Context(), "PT1")
			require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
			require.Equal(t, tc.reason, fault.ReasonOf(err))
			require.Nil(t, got)
		})
	}
	_, err := newAccount().client(t).Reader().Members(t.Context(), "PT1/users")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// policy is an escalation policy of a team with one rule for each target, which is given as "<id> <type>".
func policy(id, team string, targets ...string) map[string]any {
	teams, rules := []any{}, []any{}
	if team != "" {
		teams = append(teams, map[string]any{"id": team, "type": "team_reference"})
	}
	for _, target := range targets {
		id, kind, _ := strings.Cut(target, " ")
		rules = append(rules, map[string]any{"targets": []any{map[string]any{"id": id, "type": kind}}})
	}
	return map[string]any{"id": id, "name": "Policy " + id, "teams": teams, "escalation_rules": rules}
}

func shifts(id string, users ...string) map[string]any {
	on := []any{}
	for _, user := range users {
		on = append(on, map[string]any{"id": user, "type": "user_reference"})
	}
	return map[string]any{"id": id, "type": "schedule", "name": id, "users": on}
}

func TestRotations_WholeAccount_InTwoWalks(t *testing.T) {
	a := newAccount()
	a.lists["/escalation_policies"] = []any{
		policy("PE1", "PT1", "PU1 user_reference", "PS1 schedule_reference", "PU1 user_reference"),
		policy("PE2", "PT1", "PS1 schedule_reference", "PV1 schedule_v3_reference"),
		policy("PE3", "PT2", "PV1 schedule_v3_reference", "PV1 schedule_reference"), // both are the same schedule
		policy("PE4", "PT3", "PS9 schedule_reference"),                              // deleted since the list was read
		policy("PE5", "", "PS8 schedule_reference"),                                 // on no team: nobody asks for it
		policy("PE6", "PT4"),
		policy("PE7", "PT5", "PS2 schedule_reference"), // made since the list was read
	}
	a.lists["/schedules"] = []any{shifts("PS1", "PU2", "PU3"), shifts("PS3", "PU9"), map[string]any{"id": "PV1", "type": "schedule_v3"}}
	a.overrides["GET /v3/schedules/PV1"] = says(200, `{"schedule":{"id":"PV1","type":"schedule_v3","users":[{"id":"PU4"}]}}`)
	a.overrides["GET /schedules/PS2"] = says(200, `{"schedule":{"id":"PS2","users":[{"id":"PU5"}]}}`)
	got, err := a.client(t).Reader().Rotations(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(map[string]ownership.Rotation{
		"PT1": {"PU1": {"Policy PE1"}, "PU2": {"Policy PE1", "Policy PE2"}, "PU3": {"Policy PE1", "Policy PE2"}, "PU4": {"Policy PE2"}},
		"PT2": {"PU4": {"Policy PE3"}},
		"PT5": {"PU5": {"Policy PE7"}},
	}, got))
	require.Equal(t, []string{
		"GET /escalation_policies", "GET /schedules", "GET /v3/schedules/PV1", "GET /schedules/PS9", "GET /schedules/PS2",
	}, a.calls)
}

func TestRotations_SameAsRotationOfEachTeam(t *testing.T) {
	a := newAccount()
	var ids []string
	for i := range 250 {
		schedule, team := fmt.Sprintf("PS%d", i), fmt.Sprintf("PT%d", i%40)
		users := []string{fmt.Sprintf("PU%d", i%7), fmt.Sprintf("PU%d", i%11)}
		a.lists["/schedules"] = append(a.lists["/schedules"], shifts(schedule, users...))
		a.overrides["GET /schedules/"+schedule] = says(200, fmt.Sprintf(`{"schedule":{"id":%q,"users":[{"id":%q},{"id":%q}]}}`, schedule, users[0], users[1]))
		a.lists["/escalation_policies"] = append(a.lists["/escalation_policies"],
			policy(fmt.Sprintf("PE%d", i), team, schedule+" schedule_reference", fmt.Sprintf("PU%d user_reference", i%13)))
		ids = append(ids, team)
	}
	c := a.client(t)
	got, err := c.Reader().Rotations(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 6, a.count())
	require.Len(t, got, 40)
	for _, id := range ids[:40] {
		want, err := c.Rotation(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, got[id])
	}
}

func TestRotations_MoreThanOffsetsReach_AreReadByTeams(t *testing.T) {
	a := newAccount()
	var ids []string
	for i := range 120 {
		ids = append(ids, fmt.Sprintf("PT%d", i))
	}
	for i := range 12_000 { // 100 a team; all of 60 teams would still fit into one walk, all of 120 do not
		a.lists["/escalation_policies"] = append(a.lists["/escalation_policies"],
			policy(fmt.Sprintf("PE%d", i), ids[i%120], fmt.Sprintf("PU%d user_reference", i), "PS1 schedule_reference"))
	}
	a.lists["/schedules"] = []any{shifts("PS1", "PU1")}
	c := a.client(t).Reader()
	got, err := c.Rotations(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, got, 120)
	for i, id := range ids {
		require.Len(t, got[id], 100+map[bool]int{true: 0, false: 1}[i == 1], "team %s", id)
		require.Contains(t, got[id], fmt.Sprintf("PU%d", i))
	}
	require.Equal(t, 1+50+50+20+1, a.count())

	_, err = c.Rotations(t.Context(), nil)
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "all were asked for, and all cannot be read: %v", err)
}

func TestRotations_TeamsWithMoreThanOffsetsReach_AreHalved(t *testing.T) {
	a := newAccount()
	for i := range 12_000 { // one team has more policies than PagerDuty allows now
		a.lists["/escalation_policies"] = append(a.lists["/escalation_policies"],
			policy(fmt.Sprintf("PE%d", i), map[bool]string{true: "PT1", false: "PT2"}[i < 9_000], fmt.Sprintf("PU%d user_reference", i)))
	}
	a.lists["/schedules"] = []any{}
	got, err := a.client(t).Reader().Rotations(t.Context(), []string{"PT1", "PT2", "PT3"})
	require.NoError(t, err)
	require.Len(t, got["PT1"], 9_000)
	require.Len(t, got["PT2"], 3_000)
}

func TestRotations_ManySchedules_AreReadByTeamsAndTheRestAlone(t *testing.T) {
	a := newAccount()
	a.lists["/escalation_policies"] = []any{policy("PE1", "PT1", "PS0 schedule_reference", "PS5 schedule_reference")}
	for i := range 10_001 {
		schedule := shifts(fmt.Sprintf("PS%d", i), "PU1")
		schedule["teams"] = []any{}
		a.lists["/schedules"] = append(a.lists["/schedules"], schedule)
	}
	a.lists["/schedules"][0].(map[string]any)["teams"] = []any{map[string]any{"id": "PT1"}}
	a.overrides["GET /schedules/PS5"] = says(200, `{"schedule":{"id":"PS5","users":[{"id":"PU5"}]}}`)
	got, err := a.client(t).Reader().Rotations(t.Context(), []string{"PT1"})
	require.NoError(t, err)
	require.Equal(t, map[string]ownership.Rotation{"PT1": {"PU1": {"Policy PE1"}, "PU5": {"Policy PE1"}}}, got)
	require.Equal(t, []string{"GET /escalation_policies", "GET /schedules", "GET /schedules", "GET /schedules/PS5"}, a.calls)
}

func TestRotations_WhatCannotBeRead_IsNotNobody(t *testing.T) {
	cases := map[string]func(a *account){
		"schedule without users": func(a *account) { delete(a.lists["/schedules"][0].(map[string]any), "users") },
		"policy without teams":   func(a *account) { delete(a.lists["/escalation_policies"][0].(map[string]any), "teams") },
		"team without id": func(a *account) {
			a.lists["/escalation_policies"][0].(map[string]any)["teams"] = []any{map[string]any{"type": "team_reference"}}
		},
		"unknown target": func(a *account) {
			a.lists["/escalation_policies"] = []any{policy("PE1", "PT1", "PS1 robot_reference")}
		},
		"shift-based schedule without users": func(a *account) {
			a.lists["/schedules"][0].(map[string]any)["type"] = "schedule_v3"
			a.overrides["GET /v3/schedules/PS1"] = says(200, `{"schedule":{"id":"PS1"}}`)
		},
		"half a list": func(a *account) { a.total = func(string, int) any { return 2 } },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.lists["/escalation_policies"] = []any{policy("PE1", "PT1", "PS1 schedule_reference")}
			a.lists["/schedules"] = []any{shifts("PS1", "PU1")}
			got, err := a.client(t).Reader().Rotations(t.Context(), []string{"PT1"})
			require.NoError(t, err, "the control: unspoilt it is read")
			require.Len(t, got, 1)
			spoil(a)
			got, err = a.client(t).Reader().Rotations(t.Context(), []string{"PT1"})
			require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
			require.Nil(t, got)
		})
	}
	_, err := newAccount().client(t).Reader().Rotations(t.Context(), []string{"PT1", "PT1?x"})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
