package cortex_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// workspace is a simulated Cortex whose clock is the test's.
type workspace struct {
	t      *testing.T
	server *cortex.Server
	now    time.Time
}

const declared = `{"people":["ann","ben",{"handle":"cem","no_cortex_email":true}],
	"teams":[
		{"tag":"pay","name":"pay","org":"acme","description":"Money","maintainers":["ann"],"members":["ben"],
			"slack_channel":"pay","custom_data":{"a":1,"b":{"deep":[true]},"pagerduty-team-id":"PPAY001"}},
		{"tag":"pay/core","name":"core","org":"acme","parent":"pay","maintainers":["ann"],"members":["cem"],
			"idp":{"group":"okta-core","provider":"OKTA"}},
		{"tag":"empty","name":"empty","org":"acme","maintainers":[],"members":[]},
		{"tag":"old","name":"old","org":"acme","maintainers":["ben"],"members":[],"archived":true}]}`

func start(t *testing.T) *workspace {
	c := &workspace{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	c.server = cortex.New(cortex.Options{Token: "key", Clock: func() time.Time { return c.now }})
	o, err := org.Decode(strings.NewReader(declared))
	require.NoError(t, err)
	require.NoError(t, c.server.LoadOrg(o))
	return c
}

func (c *workspace) ask(method, path, body string) *httptest.ResponseRecorder {
	return c.askWith("Bearer key", method, path, strings.NewReader(body))
}

func (c *workspace) askWith(authorization, method, path string, body io.Reader) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, body)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	answer := httptest.NewRecorder()
	c.server.ServeHTTP(answer, request)
	return answer
}

// get reads what has to be there.
func get[T any](c *workspace, path string) (body T) {
	c.t.Helper()
	answer := c.ask("GET", path, "")
	require.Equal(c.t, http.StatusOK, answer.Code, "%s: %s", path, answer.Body)
	require.Equal(c.t, "application/json", answer.Header().Get("Content-Type"))
	require.NoError(c.t, json.Unmarshal(answer.Body.Bytes(), &body))
	return body
}

type team struct {
	ID, TeamTag, CatalogEntityTag, Type string
	IsArchived                          bool
	Metadata                            struct{ Name, Description string }
	SlackChannels                       []struct{ Name string }
	CortexTeam, IDPGroup                json.RawMessage
}

func tags(teams []team) (list []string) {
	for _, one := range teams {
		list = append(list, one.TeamTag)
	}
	return list
}

func TestAuthentication_AnythingButTheKey_401(t *testing.T) {
	c := start(t)
	for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer keyy", "Token token=key", "key"} {
		answer := c.askWith(authorization, "GET", "/api/v1/teams", nil)
		require.Equal(t, http.StatusUnauthorized, answer.Code, authorization)
		refused(t, answer, "UNAUTHORIZED")
	}
	none := cortex.New(cortex.Options{})
	answer := httptest.NewRecorder()
	request := httptest.NewRequest("GET", "/api/v1/teams", nil)
	request.Header.Set("Authorization", "Bearer ")
	none.ServeHTTP(answer, request)
	require.Equal(t, http.StatusUnauthorized, answer.Code, "without a key of its own it takes none")
}

// refused checks Cortex's error body.
func refused(t *testing.T, answer *httptest.ResponseRecorder, kind string) {
	t.Helper()
	var body map[string]any
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
	require.Equal(t, kind, body["type"], answer.Body.String())
	require.NotEmpty(t, body["message"])
	require.InDelta(t, answer.Code, body["httpStatus"], 0)
	require.Contains(t, body, "details")
	require.NotEmpty(t, body["requestId"])
	require.Equal(t, answer.Header().Get("X-Request-Id"), body["requestId"])
}

func TestErrors_HaveCortexsShape(t *testing.T) {
	c := start(t)
	for _, e := range []struct {
		method, path, body string
		status             int
		kind               string
	}{
		{"GET", "/api/v1/teams/nobody", "", 404, "NOT_FOUND"},
		{"GET", "/api/v1/teams?teamTag=nobody", "", 404, "NOT_FOUND"},
		{"GET", "/api/v1/catalog/nobody", "", 404, "NOT_FOUND"},
		{"GET", "/api/v1/catalog/nobody/custom-data", "", 404, "NOT_FOUND"},
		{"GET", "/api/v1/catalog/pay/custom-data/nothing", "", 404, "NOT_FOUND"},
		{"GET", "/api/v2/teams", "", 404, "NOT_FOUND"},
		{"GET", "/", "", 404, "NOT_FOUND"},
		{"GET", "/api/v1/catalog?pageSize=0", "", 400, "BAD_REQUEST"},
		{"GET", "/api/v1/catalog?pageSize=1001", "", 400, "BAD_REQUEST"},
		{"GET", "/api/v1/catalog?page=-1", "", 400, "BAD_REQUEST"},
		{"GET", "/api/v1/catalog/pay/custom-data?page=one", "", 400, "BAD_REQUEST"},
		{"POST", "/api/v1/teams", `{"teamTag":"pay","metadata":{"name":"Pay"}}`, 409, "CONFLICT"},
		{"POST", "/api/v1/teams", `{"metadata":{"name":"Pay"}}`, 400, "BAD_REQUEST"},
		{"POST", "/api/v1/teams", `nonsense`, 400, "BAD_REQUEST"},
		{"PUT", "/api/v1/teams/pay/members", `{"members":[{"name":"Ann"}]}`, 400, "BAD_REQUEST"},
		{"PUT", "/api/v1/teams/pay%2Fcore/members", `{"members":[]}`, 400, "BAD_REQUEST"},
		{"POST", "/api/v1/catalog/pay/custom-data", `{"value":1}`, 400, "BAD_REQUEST"},
		{"POST", "/api/v1/teams", strings.Repeat(" ", 3<<20), 413, "BAD_REQUEST"},
	} {
		answer := c.ask(e.method, e.path, e.body)
		require.Equal(t, e.status, answer.Code, "%s %s: %s", e.method, e.path, answer.Body)
		refused(t, answer, e.kind)
	}
}

func TestTeams_WithoutMembers_AreLeftOutUnlessAskedFor(t *testing.T) {
	c := start(t)
	type list struct{ Teams []team }
	require.Equal(t, []string{"pay", "pay/core", "old"}, tags(get[list](c, "/api/v1/teams").Teams))
	require.Equal(t, []string{"pay", "pay/core", "old"}, tags(get[list](c, "/api/v1/teams?includeTeamsWithoutMembers=false").Teams))
	require.Equal(t, []string{"pay", "pay/core", "empty", "old"}, tags(get[list](c, "/api/v1/teams?includeTeamsWithoutMembers=true").Teams))

	require.Equal(t, http.StatusOK, c.ask("PUT", "/api/v1/teams/pay/members", `{"members":[]}`).Code)
	require.NotContains(t, tags(get[list](c, "/api/v1/teams").Teams), "pay", "a team that was emptied vanishes")
	require.JSONEq(t, `{"members":[]}`, string(get[team](c, "/api/v1/teams/pay").CortexTeam), "asked for by its tag it is there, and empty")
}

func TestTeam_ByTagOrIDOrQuery_IsTheSame(t *testing.T) {
	c := start(t)
	byTag := get[team](c, "/api/v1/teams/pay%2Fcore")
	require.Equal(t, "pay/core", byTag.TeamTag)
	require.Equal(t, "pay/core", byTag.CatalogEntityTag)
	require.Len(t, byTag.ID, 18)
	require.Equal(t, "acme/core", byTag.Metadata.Name)
	require.Equal(t, byTag, get[team](c, "/api/v1/teams/"+byTag.ID))
	require.Equal(t, byTag, get[team](c, "/api/v1/teams?teamTag=pay/core"), "not a list")
}

func TestTeam_MembersOfBothKinds_HaveTheirOwnShapes(t *testing.T) {
	c := start(t)
	own := get[team](c, "/api/v1/teams/pay")
	require.Equal(t, "CORTEX", own.Type)
	require.Empty(t, own.IDPGroup)
	require.Equal(t, "pay", own.SlackChannels[0].Name)
	require.JSONEq(t, `{"members":[
		{"email":"ann@example.org","name":"ann","notificationsEnabled":true,"roles":[{"tag":"manager","type":"TEAM_ROLE","name":"Manager"}]},
		{"email":"ben@example.org","name":"ben","notificationsEnabled":true,"roles":[]}]}`, string(own.CortexTeam))

	behind := get[team](c, "/api/v1/teams/pay%2Fcore")
	require.Equal(t, "IDP", behind.Type)
	require.Empty(t, behind.CortexTeam)
	require.JSONEq(t, `{"group":"okta-core","provider":"OKTA","members":[
		{"id":"ann","email":"ann@example.org","name":"ann","roles":[{"name":"manager","source":"OKTA"}]},
		{"id":"cem","name":"cem","roles":[]}]}`, string(behind.IDPGroup), "roles by name, and an address may be missing")
}

func TestTeam_Archived_IsListedByTeamsAndNotByTheCatalogue(t *testing.T) {
	c := start(t)
	require.True(t, get[team](c, "/api/v1/teams/old").IsArchived)
	type catalogue struct{ Entities []entity }
	shown := func(query string) (tags []string) {
		for _, e := range get[catalogue](c, "/api/v1/catalog?types=team"+query).Entities {
			tags = append(tags, e.Tag)
		}
		return tags
	}
	require.NotContains(t, shown(""), "old")
	require.Contains(t, shown("&includeArchived=true"), "old")

	require.Equal(t, http.StatusOK, c.ask("PUT", "/api/v1/teams/pay/archive", "").Code)
	require.True(t, get[team](c, "/api/v1/teams/pay").IsArchived)
	require.NotContains(t, shown(""), "pay")
	require.Equal(t, http.StatusOK, c.ask("PUT", "/api/v1/teams/pay/unarchive", "").Code)
	require.Contains(t, shown(""), "pay")
}

type entity struct {
	ID, Tag, Name, Type string
	IsArchived          bool
	Members             json.RawMessage
	Metadata            []struct {
		Key   string
		Value any
	}
}

func TestCatalogue_Pages_TellTotalsAndNoRowTwice(t *testing.T) {
	c := start(t)
	for i := range 23 {
		body := fmt.Sprintf(`{"teamTag":"team-%02d","metadata":{"name":"Team %d"}}`, i, i)
		require.Equal(t, http.StatusOK, c.ask("POST", "/api/v1/teams", body).Code)
	}
	type catalogue struct {
		Entities                []entity
		Page, Total, TotalPages int
	}
	var seen []string
	for page := range 4 {
		got := get[catalogue](c, fmt.Sprintf("/api/v1/catalog?types=team&pageSize=10&page=%d", page))
		require.Equal(t, page, got.Page)
		require.Equal(t, 26, got.Total)
		require.Equal(t, 3, got.TotalPages)
		require.Len(t, got.Entities, []int{10, 10, 6, 0}[page])
		for _, e := range got.Entities {
			require.NotContains(t, seen, e.Tag)
			seen = append(seen, e.Tag)
		}
	}
	require.Len(t, seen, 26)
	require.Len(t, get[catalogue](c, "/api/v1/catalog?types=team").Entities, 26, "250 fit on a page")
	require.Empty(t, get[catalogue](c, "/api/v1/catalog?types=team&page=9223372036854775807").Entities)
	require.Empty(t, get[catalogue](c, "/api/v1/catalog").Entities, "without types teams are left out")
	require.Empty(t, get[catalogue](c, "/api/v1/catalog?types=service,domain").Entities)
	require.Len(t, get[catalogue](c, "/api/v1/catalog?types=service,team").Entities, 26)
	require.Len(t, get[catalogue](c, "/api/v1/catalog?types=team&query=TEAM%201").Entities, 11)
}

func TestCatalogue_Rows_HoldWhatIsAskedFor(t *testing.T) {
	c := start(t)
	type catalogue struct{ Entities []entity }
	plain := get[catalogue](c, "/api/v1/catalog?types=team").Entities[1]
	require.Equal(t, get[team](c, "/api/v1/teams/pay%2Fcore").ID, plain.ID)
	require.Equal(t, "team", plain.Type)
	require.Empty(t, plain.Members)
	require.Empty(t, plain.Metadata)

	whole := get[catalogue](c, "/api/v1/catalog?types=team&includeMetadata=true&includeNestedFields=team:members").Entities
	require.JSONEq(t, `[{"email":"ann@example.org","name":"ann","roles":[{"name":"manager"}],"sources":[{"type":"ENTITY_DEFINED"}]},
		{"email":"ben@example.org","name":"ben","roles":[],"sources":[{"type":"ENTITY_DEFINED"}]}]`, string(whole[0].Members))
	require.Equal(t, "pagerduty-team-id", whole[0].Metadata[2].Key)
	require.Equal(t, "PPAY001", whole[0].Metadata[2].Value)
	require.JSONEq(t, `[
		{"email":"ann@example.org","name":"ann","roles":[{"name":"manager"}],"sources":[{"type":"IDP_GROUP","provider":"OKTA","externalGroupId":"okta-core"}]},
		{"name":"cem","roles":[],"sources":[{"type":"IDP_GROUP","provider":"OKTA","externalGroupId":"okta-core"}]}]`, string(whole[1].Members))
}

type datum struct {
	Key, Source string
	Value       any
}

func TestCustomData_IsABareListThatEndsWithAnEmptyPage(t *testing.T) {
	c := start(t)
	var keys []string
	for page := 0; ; page++ {
		got := get[[]datum](c, fmt.Sprintf("/api/v1/catalog/pay/custom-data?pageSize=2&page=%d", page))
		if len(got) == 0 {
			require.Equal(t, 2, page)
			break
		}
		for _, d := range got {
			keys = append(keys, d.Key)
			require.Equal(t, "API", d.Source)
		}
	}
	require.Equal(t, []string{"a", "b", "pagerduty-team-id"}, keys)
	require.Equal(t, map[string]any{"deep": []any{true}}, get[datum](c, "/api/v1/catalog/pay/custom-data/b").Value)
	require.Empty(t, get[[]datum](c, "/api/v1/catalog/empty/custom-data"))

	require.Equal(t, http.StatusOK, c.ask("POST", "/api/v1/catalog/pay%2Fcore/custom-data", `{"key":"pagerduty-team-id","value":"PNEW001"}`).Code)
	require.Equal(t, "PNEW001", get[datum](c, "/api/v1/catalog/pay%2Fcore/custom-data/pagerduty-team-id").Value)
}

func TestTeams_Relationships_AreAllEdges(t *testing.T) {
	c := start(t)
	require.JSONEq(t, `{"edges":[{"parentTeamTag":"pay","childTeamTag":"pay/core"}]}`, c.ask("GET", "/api/v1/teams/relationships", "").Body.String())
}

func TestTeams_Written_AreReadBack(t *testing.T) {
	c := start(t)
	created := c.ask("POST", "/api/v1/teams", `{"teamTag":"new","metadata":{"name":"New"},"cortexTeam":{"members":[{"email":"x@example.org","roleTags":["lead"]}]}}`)
	require.Equal(t, http.StatusOK, created.Code)
	require.Contains(t, string(get[team](c, "/api/v1/teams/new").CortexTeam), `"tag":"lead"`)
	require.Equal(t, http.StatusOK, c.ask("PUT", "/api/v1/teams/new/members", `{"members":[{"email":"y@example.org"}]}`).Code)
	require.NotContains(t, string(get[team](c, "/api/v1/teams/new").CortexTeam), "x@example.org", "all members are replaced")
	require.Equal(t, http.StatusNoContent, c.ask("DELETE", "/api/v1/teams/new", "").Code)
	require.Equal(t, http.StatusNotFound, c.ask("GET", "/api/v1/teams/new", "").Code)
}

func TestQuota_UsedUp_429SaysWhenToComeBack(t *testing.T) {
	c := start(t)
	require.Equal(t, control.Limits{PerMinute: 1000}, c.server.Control().Limits())
	c.server.Control().SetLimits(control.Limits{PerMinute: 2})
	for range 2 {
		require.Equal(t, http.StatusOK, c.ask("GET", "/api/v1/teams", "").Code)
	}
	c.now = c.now.Add(47500 * time.Millisecond)
	answer := c.ask("GET", "/api/v1/teams", "")
	require.Equal(t, http.StatusTooManyRequests, answer.Code)
	require.Equal(t, "13", answer.Header().Get("Retry-After"), "seconds, rounded up")
	require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
	require.JSONEq(t, `{"type":"about:blank","title":"Too Many Requests","status":429,"retryAfter":13}`, answer.Body.String())

	c.now = c.now.Add(13 * time.Second)
	require.Equal(t, http.StatusOK, c.ask("GET", "/api/v1/teams", "").Code)
}

func TestInjectedErrors_LookLikeCortexsOwn(t *testing.T) {
	c := start(t)
	for status, kind := range map[int]string{400: "BAD_REQUEST", 403: "FORBIDDEN", 404: "NOT_FOUND", 500: "UNHANDLED_EXCEPTION", 503: "UNHANDLED_EXCEPTION"} {
		require.NoError(t, c.server.Control().Inject(control.Fault{Match: "GET *", Status: status, Times: 1}))
		answer := c.ask("GET", "/api/v1/teams", "")
		require.Equal(t, status, answer.Code)
		refused(t, answer, kind)
	}
	require.NoError(t, c.server.Control().Inject(control.Fault{Match: "GET *", Status: 429, Times: 1}))
	require.Equal(t, "1", c.ask("GET", "/api/v1/teams", "").Header().Get("Retry-After"))
}

// A client that sends its body slowly holds up nobody else.
func TestRequest_BodyComesSlowly_OthersAreAnswered(t *testing.T) {
	c := start(t)
	asked := make(chan struct{})
	body, send := io.Pipe()
	done := make(chan *httptest.ResponseRecorder)
	go func() {
		done <- c.askWith("Bearer key", "PUT", "/api/v1/teams/pay/members", io.MultiReader(signal(asked), body))
	}()
	<-asked
	require.Equal(t, http.StatusOK, c.ask("GET", "/api/v1/teams/pay", "").Code)
	_, err := io.Copy(send, strings.NewReader(`{"members":[]}`))
	require.NoError(t, err)
	require.NoError(t, send.Close())
	require.Equal(t, http.StatusOK, (<-done).Code)
}

// signal is a body of which nothing comes; that it is read is told.
type signal chan struct{}

func (s signal) Read([]byte) (int, error) {
	close(s)
	return 0, io.EOF
}

func TestState_ShowsEveryTeamAsItIs(t *testing.T) {
	c := start(t)
	type member struct {
		Email string
		Roles []string
	}
	type shown struct {
		Tag      string
		Archived bool
		Members  []member
	}
	var state struct{ Teams []shown }
	require.NoError(t, json.Unmarshal(c.askWith("", "GET", "/_control/state", nil).Body.Bytes(), &state))
	require.Equal(t, []shown{
		{Tag: "pay", Members: []member{{"ann@example.org", []string{"manager"}}, {"ben@example.org", []string{}}}},
		{Tag: "pay/core", Members: []member{{"ann@example.org", []string{"manager"}}, {"", []string{}}}},
		{Tag: "empty", Members: []member{}},
		{Tag: "old", Archived: true, Members: []member{{"ben@example.org", []string{"manager"}}}},
	}, state.Teams)
}
