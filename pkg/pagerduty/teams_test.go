package pagerduty_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

func TestObserve_LargeTeam_IsReadWholeInTheFewestCalls(t *testing.T) {
	for _, n := range []int{0, 1, 25, 100, 101, 320, 1500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a := newAccount()
			a.team("PT1", n)
			got, err := a.client(t).Observe(t.Context(), "PT1")
			require.NoError(t, err)
			require.Len(t, got.Members, n)
			require.Equal(t, 1+max(1, (n+99)/100), a.count())
			if n > 0 {
				require.Empty(t, cmp.Diff(ownership.ObservedMember{
					User: ownership.User{ID: "PU0000", Email: "P0@example.org", Name: "Person 0", Base: ownership.BaseLimitedUser},
					Role: ownership.Responder,
				}, got.Members[0]))
			}
		})
	}
}

func TestObserve_PlatformCutsPages_RowsAreNeitherSkippedNorRepeated(t *testing.T) {
	a := newAccount()
	a.team("PT1", 130)
	a.cut = 25
	got, err := a.client(t).Observe(t.Context(), "PT1")
	require.NoError(t, err)
	require.Len(t, got.Members, 130)
}

func TestObserve_TotalLeftOut_TheWalkStillEndsRight(t *testing.T) {
	a := newAccount()
	a.team("PT1", 230)
	a.total = func(string, int) any { return nil }
	got, err := a.client(t).Observe(t.Context(), "PT1")
	require.NoError(t, err)
	require.Len(t, got.Members, 230)
}

func TestObserve_HalfAList_IsIncomplete(t *testing.T) {
	a := newAccount()
	a.team("PT1", 150)
	a.total = func(string, int) any { return 320 }
	_, err := a.client(t).Observe(t.Context(), "PT1")
	require.Equal(t, fault.Incomplete, fault.KindOf(err), "%v", err)
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err))
}

// The control: the same answer without its total passes for a whole list, and 170 people for strangers.
func TestControl_WithoutTheTotal_HalfAListWouldBeTaken(t *testing.T) {
	a := newAccount()
	a.team("PT1", 150)
	a.total = func(string, int) any { return nil }
	got, err := a.client(t).Observe(t.Context(), "PT1")
	require.NoError(t, err)
	require.Len(t, got.Members, 150)
}

func TestObserve_MemberLeavesDuringTheWalk_ListIsWalkedAgain(t *testing.T) {
	a := newAccount()
	a.team("PT1", 150)
	path := "/teams/PT1/members"
	left := false
	a.before = func(_ string, offset int) {
		if offset == 100 && !left { // everybody moves up by one: row 100 is stepped over
			left = true
			a.lists[path] = a.lists[path][1:]
		}
	}
	got, err := a.client(t).Observe(t.Context(), "PT1")
	require.NoError(t, err)
	require.Len(t, got.Members, 149)

	a.before = func(_ string, offset int) { // it never rests
		if offset == 100 {
			a.lists[path] = a.lists[path][1:]
		}
	}
	_, err = a.client(t).Observe(t.Context(), "PT1")
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
}

func TestObserve_AnswersThatAreNotWhole(t *testing.T) {
	user := `{"id":"PU1","email":"a@example.org"}`
	for name, body := range map[string]string{
		"nothing":                ``,
		"null":                   `null`,
		"an empty object":        `{}`,
		"half":                   `{"members":[{"user":` + user + `,"role":"man`,
		"rows missing":           `{"limit":100,"offset":0,"more":false,"total":0}`,
		"rows null":              `{"members":null,"more":false,"total":0}`,
		"more missing":           `{"members":[],"total":0}`,
		"more without rows":      `{"members":[],"more":true,"total":0}`,
		"fewer than the total":   `{"members":[{"user":` + user + `,"role":"manager"}],"more":false,"total":2}`,
		"the same person twice":  `{"members":[{"user":` + user + `},{"user":` + user + `}],"more":false,"total":2}`,
		"member without id":      `{"members":[{"user":{"email":"a@example.org"}}],"more":false,"total":1}`,
		"reference without mail": `{"members":[{"user":{"id":"PU1","type":"user_reference"},"role":"manager"}],"more":false,"total":1}`,
		"HTML":                   `<html></html>`,
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.team("PT1", 0)
			a.overrides["GET /teams/PT1/members"] = says(200, body)
			_, err := a.client(t).Observe(t.Context(), "PT1")
			require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
		})
	}
}

func TestObserve_BodyBreaksOff_IsAnErrorNeverATeam(t *testing.T) {
	a := newAccount()
	a.team("PT1", 0)
	a.overrides["GET /teams/PT1/members"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "500")
		_, _ = w.Write([]byte(`{"members":[],"more":false,"total":0}`))
	}
	_, err := a.client(t).Observe(t.Context(), "PT1")
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
}

func TestObserve_AnotherTeamAnswers_IsIncomplete(t *testing.T) {
	a := newAccount()
	a.overrides["GET /teams/PT1"] = says(200, `{"team":{"id":"PT2","name":"Ledger"}}`)
	_, err := a.client(t).Observe(t.Context(), "PT1")
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err))
}

func TestObserve_IDThatIsNone_ReachesNobody(t *testing.T) {
	a := newAccount()
	c := a.client(t)
	for _, id := range []string{"", ".", "..", "P1/users/P2", "P1?x", "P1\n", strings.Repeat("P", 65)} {
		_, err := c.Observe(t.Context(), id)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q", id)
		require.Equal(t, fault.Invalid, fault.KindOf(c.RemoveMember(t.Context(), "PT1", id)), "%q", id)
	}
	require.Zero(t, a.count())
}

func TestRefusals_EveryShape_SaysWhatToDo(t *testing.T) {
	blocked := "User cannot be removed as they belong to an escalation policy on this team"
	cases := map[string]struct {
		method string // GET: Observe, PUT: PutMember, DELETE: RemoveMember
		status int
		body   string
		kind   fault.Kind
		reason string
	}{
		"blocked, errors as a list":    {"DELETE", 400, `{"error":{"message":"Invalid Input Provided","code":2001,"errors":["` + blocked + `"]}}`, fault.Conflict, "ON_ESCALATION_POLICY"},
		"blocked, errors as a string":  {"DELETE", 400, `{"error":{"message":"Invalid Input Provided","code":2001,"errors":"` + blocked + `"}}`, fault.Conflict, "ON_ESCALATION_POLICY"},
		"blocked, in the message":      {"DELETE", 400, `{"error":{"message":"` + blocked + `","code":2001,"errors":null}}`, fault.Conflict, "ON_ESCALATION_POLICY"},
		"other 2001":                   {"PUT", 400, `{"error":{"message":"Invalid Input Provided","code":2001}}`, fault.Precondition, "TARGET_REFUSED"},
		"error as a list":              {"PUT", 400, `{"error":["no"]}`, fault.Precondition, "TARGET_REFUSED"},
		"error as a string":            {"PUT", 400, `{"error":"no"}`, fault.Precondition, "TARGET_REFUSED"},
		"not JSON":                     {"PUT", 400, `no`, fault.Precondition, "TARGET_REFUSED"},
		"bad key":                      {"GET", 401, `{"error":{"message":"Unauthorized","code":2006}}`, fault.Precondition, "TARGET_CREDENTIAL_REFUSED"},
		"read-only key":                {"PUT", 403, `{"error":{"message":"Access Denied","code":2010}}`, fault.Precondition, "TARGET_CREDENTIAL_REFUSED"},
		"plan":                         {"GET", 402, `{"error":{"message":"Account does not have the abilities","code":2014}}`, fault.Precondition, "TARGET_PLAN_LACKS_TEAMS"},
		"no such team":                 {"GET", 404, `{"error":{"message":"Not Found","code":2100}}`, fault.NotFound, "TARGET_TEAM_NOT_FOUND"},
		"no such team, on a write":     {"PUT", 404, `{"error":{"message":"Team not found","code":6001}}`, fault.NotFound, "TARGET_TEAM_NOT_FOUND"},
		"no such user":                 {"PUT", 404, `{"error":{"message":"User not found","code":2013}}`, fault.NotFound, "TARGET_USER_NOT_FOUND"},
		"gone already":                 {"DELETE", 404, `{"error":{"message":"Not Found","code":2100}}`, fault.NotFound, "TARGET_NOT_FOUND"},
		"404 of a proxy":               {"GET", 404, `<html>nginx</html>`, fault.Unavailable, "PAGERDUTY_UNAVAILABLE"},
		"quota, documented body":       {"GET", 429, `{"error":{"message":"Rate Limit Exceeded","code":2020}}`, fault.Throttled, "PAGERDUTY_THROTTLED"},
		"quota, no body":               {"PUT", 429, ``, fault.Throttled, "PAGERDUTY_THROTTLED"},
		"server error on a read":       {"GET", 500, `{"error":{"message":"Internal","code":2000}}`, fault.Unavailable, "PAGERDUTY_UNAVAILABLE"},
		"server error on a write":      {"PUT", 503, ``, fault.Deadline, "PAGERDUTY_EFFECT_UNKNOWN"},
		"could not be locked, forever": {"PUT", 400, `{"error":{"message":"Invalid Input Provided","code":2001,"errors":["License error: Unable to perform request at this time. account could not be locked"]}}`, fault.Unavailable, "TARGET_BUSY"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			path := "/teams/PT1/users/PU1"
			if tc.method == "GET" {
				path = "/teams/PT1"
			}
			a.overrides[tc.method+" "+path] = says(tc.status, tc.body)
			var err error
			switch c := a.client(t); tc.method {
			case "GET":
				_, err = c.Observe(t.Context(), "PT1")
			case "PUT":
				err = c.PutMember(t.Context(), "PT1", "PU1", ownership.Manager)
			case "DELETE":
				err = c.RemoveMember(t.Context(), "PT1", "PU1")
			}
			require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
			require.Equal(t, tc.reason, fault.ReasonOf(err))
		})
	}
}

func TestPutMember_ThrottledThenBusyThenFine_TheRoleSurvives(t *testing.T) {
	a := newAccount()
	answers := []http.HandlerFunc{
		says(429, ``),
		says(400, `{"error":{"message":"Invalid Input Provided","code":2001,"errors":["account could not be locked"]}}`),
		says(204, ``),
	}
	next := 0
	a.overrides["PUT /teams/PT1/users/PU1"] = func(w http.ResponseWriter, r *http.Request) {
		answers[next](w, r)
		next++
	}
	require.NoError(t, a.client(t).PutMember(t.Context(), "PT1", "PU1", ownership.Manager))
	require.Equal(t, 3, next)
	for _, body := range a.bodies {
		requireBody(t, `{"role":"manager"}`, body)
	}
}

func TestPutMember_WithoutRole_IsNotSent(t *testing.T) {
	a := newAccount()
	require.Equal(t, fault.Invalid, fault.KindOf(a.client(t).PutMember(t.Context(), "PT1", "PU1", "")))
	require.Zero(t, a.count())
}

func TestCreateTeam_BodyIsWrapped_AndTheIDComesBack(t *testing.T) {
	a := newAccount()
	a.overrides["POST /teams"] = says(201, `{"team":{"id":"PT9","name":"Payments"}}`)
	id, err := a.client(t).CreateTeam(t.Context(), " Payments  Core ", "Takes money")
	require.NoError(t, err)
	require.Equal(t, "PT9", id)
	requireBody(t, `{"team":{"type":"team","name":"Payments Core","description":"Takes money"}}`, a.bodies[0])
}

func TestCreateTeam_LostAnswer_IsUnknownAndNotRepeated(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"server error": says(500, ``),
		"answer lost":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"answer half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "90")
			_, _ = w.Write([]byte(`{"team":`))
		},
		"answer not JSON":  says(201, `made`),
		"answer sans id":   says(201, `{"team":{}}`),
		"answer with null": says(201, `null`),
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.overrides["POST /teams"] = handle
			_, err := a.client(t).CreateTeam(t.Context(), "Payments", "")
			require.Equal(t, fault.Deadline, fault.KindOf(err), "%v", err)
			require.Equal(t, "PAGERDUTY_EFFECT_UNKNOWN", fault.ReasonOf(err))
			require.Equal(t, 1, a.count())
		})
	}
}

func TestUpdateTeam_SendsWhatIsGiven(t *testing.T) {
	a := newAccount()
	a.overrides["PUT /teams/PT1"] = says(200, `{"team":{"id":"PT1"}}`)
	c := a.client(t)
	require.NoError(t, c.UpdateTeam(t.Context(), "PT1", "", "New words"))
	requireBody(t, `{"team":{"type":"team","description":"New words"}}`, a.bodies[0])
}

func TestFindTeams_OnlyTheExactNameCounts(t *testing.T) {
	a := newAccount()
	for i, name := range []string{"Payments", "Payments Core", " Payments ", "payments"} {
		a.lists["/teams"] = append(a.lists["/teams"], map[string]any{"id": fmt.Sprintf("PT%d", i), "name": name})
	}
	got, err := a.client(t).FindTeams(t.Context(), "Payments ")
	require.NoError(t, err)
	require.Equal(t, []ownership.TeamRef{{ID: "PT0", Name: "Payments"}, {ID: "PT2", Name: " Payments "}}, got)

	got, err = a.client(t).FindTeams(t.Context(), "Nobody")
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestRotation_DirectAndThroughSchedules(t *testing.T) {
	a := newAccount()
	rule := func(targets ...map[string]any) map[string]any {
		return map[string]any{"id": "R", "escalation_delay_in_minutes": 30, "targets": targets}
	}
	target := func(id, kind string) map[string]any { return map[string]any{"id": id, "type": kind} }
	a.lists["/escalation_policies"] = []any{
		map[string]any{"id": "PE1", "name": "Day", "escalation_rules": []any{
			rule(target("PU1", "user_reference"), target("PS1", "schedule_reference")), rule(target("PU1", "user_reference")),
		}},
		map[string]any{"id": "PE2", "name": "Night", "escalation_rules": []any{rule(target("PS1", "schedule_reference"), target("PS3", "schedule_v3_reference"), target("PS4", "schedule"))}},
	}
	a.overrides["GET /schedules/PS1"] = says(200, `{"schedule":{"id":"PS1","users":[{"id":"PU2"},{"id":"PU3"}]}}`)
	a.overrides["GET /v3/schedules/PS3"] = says(200, `{"schedule":{"id":"PS3","type":"schedule_v3","users":[{"id":"PU4"}]}}`)
	// PS4 was deleted meanwhile.
	got, err := a.client(t).Rotation(t.Context(), "PT1")
	require.NoError(t, err)
	require.Equal(t, ownership.Rotation{"PU1": {"Day"}, "PU2": {"Day", "Night"}, "PU3": {"Day", "Night"}, "PU4": {"Night"}}, got)
	require.Equal(t, 4, a.count(), "a schedule that two policies use is read once")
}

func TestRotation_WhatCannotBeRead_IsNotNobody(t *testing.T) {
	policy := func(target string) []any {
		return []any{map[string]any{"id": "PE1", "name": "Day", "escalation_rules": []any{map[string]any{"targets": []any{map[string]any{"id": "PS1", "type": target}}}}}}
	}
	a := newAccount()
	a.lists["/escalation_policies"] = policy("schedule_reference")
	a.overrides["GET /schedules/PS1"] = says(200, `{"schedule":{"id":"PS1"}}`)
	_, err := a.client(t).Rotation(t.Context(), "PT1")
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err))

	a.overrides["GET /schedules/PS1"] = says(500, ``)
	_, err = a.client(t).Rotation(t.Context(), "PT1")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))

	a.lists["/escalation_policies"] = policy("robot_reference")
	_, err = a.client(t).Rotation(t.Context(), "PT1")
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err))
}

func TestProbe_OnlyAListWithoutTeams_MeansNo(t *testing.T) {
	cases := map[string]struct {
		handle http.HandlerFunc
		reason string
	}{
		"has teams":    {says(200, `{"abilities":["sso","teams"]}`), ""},
		"has none":     {says(200, `{"abilities":["sso"]}`), "TARGET_PLAN_LACKS_TEAMS"},
		"empty object": {says(200, `{}`), "TARGET_INCOMPLETE"},
		"server error": {says(500, ``), "PAGERDUTY_UNAVAILABLE"},
		"quota":        {says(429, ``), "PAGERDUTY_THROTTLED"},
		"bad key":      {says(401, ``), "TARGET_CREDENTIAL_REFUSED"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.overrides["GET /abilities"] = tc.handle
			err := a.client(t).Probe(t.Context())
			if tc.reason == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, tc.reason, fault.ReasonOf(err), "%v", err)
		})
	}
}
