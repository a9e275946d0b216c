package cortex_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client serves every request with handle.
func client(t *testing.T, handle http.HandlerFunc) *cortex.Client {
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	web := cortex.HTTP(upstream.Config{Attempts: 2, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(web.CloseIdleConnections)
	return cortex.New(cortex.Config{BaseURL: server.URL + "/", Token: config.NewSecret("key"), HTTP: web})
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func team(rest string) string {
	return `{"id":"en2da8159dbeefb974","teamTag":"payments","catalogEntityTag":"payments","isArchived":false,
		"metadata":{"name":"Payments","description":"Takes money"},"links":[],"slackChannels":[],` + rest + `}`
}

func TestTeam_EveryMemberShape_GivesTheSamePeople(t *testing.T) {
	want := []ownership.Member{
		{Email: "Ann@Example.org", Name: "Ann", Roles: []string{"manager", "lead"}},
		{Email: "bob@example.org", Name: "Bob"},
		{Name: "No Address", Roles: []string{"manager"}},
	}
	cases := map[string]string{
		"managed by cortex": `"type":"CORTEX","cortexTeam":{"members":[
			{"email":"Ann@Example.org","name":"Ann","roles":[{"tag":"manager","type":"TEAM_ROLE","name":"The Manager"},{"tag":"lead","type":"MISCONFIGURED"}]},
			{"email":"bob@example.org","name":"Bob","roles":[]},
			{"name":"No Address","role":"manager"}]}`,
		"type in lower case, old roles": `"type":"cortex","cortexTeam":{"members":[
			{"email":"Ann@Example.org","name":"Ann","role":"manager"},
			{"email":" ann@example.org ","name":"Ann again","role":{"tag":"lead"}},
			{"email":"bob@example.org","name":"Bob","roles":null},
			{"name":"No Address","role":"manager"}]}`,
		"identity provider": `"type":"IDP","idpGroup":{"group":"okta-payments","provider":"OKTA","members":[
			{"id":"1","email":"Ann@Example.org","name":"Ann","roles":[{"name":"manager"},{"name":"lead","source":"OKTA"}]},
			{"id":"2","email":"bob@example.org","name":"Bob","roles":[]},
			{"id":"3","email":null,"name":"No Address","roles":[{"name":"manager"}]}]}`,
		"both lists": `"type":"CORTEX","cortexTeam":{"members":[
			{"email":"Ann@Example.org","name":"Ann","roles":[{"tag":"manager"}]}]},
			"idpGroup":{"members":[
			{"id":"1","email":"ANN@example.org","roles":[{"name":"lead"},{"name":"manager"}]},
			{"id":"2","email":"bob@example.org","name":"Bob","roles":[]},
			{"id":"3","name":"No Address","roles":[{"name":"manager"}]}]}`,
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := client(t, says(200, team(body))).Team(t.Context(), "payments")
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(ownership.Desired{
				TeamID: "payments", SourceID: "en2da8159dbeefb974", Name: "Payments", Description: "Takes money", Members: want,
			}, got))
		})
	}
}

func TestTeam_Archived_IsSaid(t *testing.T) {
	body := strings.Replace(team(`"cortexTeam":{"members":[]}`), `"isArchived":false`, `"isArchived":true`, 1)
	got, err := client(t, says(200, body)).Team(t.Context(), "payments")
	require.NoError(t, err)
	require.True(t, got.Archived)
	require.NotNil(t, got.Members, "an empty list was given, so empty it is")
}

func TestTeam_AnswerThatIsNotWhole_IsIncompleteNeverEmpty(t *testing.T) {
	whole := team(`"cortexTeam":{"members":[{"email":"ann@example.org","roles":[]}]}`)
	cases := map[string]string{
		"nothing":                      "",
		"null":                         "null",
		"an empty object":              "{}",
		"an empty list":                "[]",
		"half":                         whole[:len(whole)/2],
		"all but the last byte":        whole[:len(whole)-1],
		"a list of teams":              `{"teams":[` + whole + `]}`,
		"HTML":                         "<html>maintenance</html>",
		"no member list":               team(`"type":"CORTEX"`),
		"a group without members":      team(`"cortexTeam":{}`),
		"members null":                 team(`"idpGroup":{"members":null}`),
		"one of two lists missing":     team(`"cortexTeam":{"members":[]},"idpGroup":{"group":"okta"}`),
		"another team":                 strings.ReplaceAll(whole, "payments", "ledger"),
		"members that are not objects": team(`"cortexTeam":{"members":["ann@example.org"]}`),
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, says(200, body)).Team(t.Context(), "payments")
			require.Equal(t, fault.Incomplete, fault.KindOf(err), "%v", err)
			require.Equal(t, "SOURCE_INCOMPLETE", fault.ReasonOf(err))
		})
	}
}

func TestTeam_Refusals_SayWhatToDo(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		kind   fault.Kind
		reason string
	}{
		"no such team":           {404, `{"type":"NOT_FOUND","message":"No team","requestId":"r"}`, fault.NotFound, "SOURCE_TEAM_NOT_FOUND"},
		"404 of a proxy":         {404, `<html>nginx</html>`, fault.Unavailable, "CORTEX_UNAVAILABLE"},
		"bad key":                {401, ``, fault.Precondition, "SOURCE_CREDENTIAL_REFUSED"},
		"key without rights":     {403, `{"type":"FORBIDDEN","message":"no"}`, fault.Precondition, "SOURCE_CREDENTIAL_REFUSED"},
		"quota":                  {429, `{"title":"Too Many Requests","status":429}`, fault.Throttled, "CORTEX_THROTTLED"},
		"identity provider down": {400, `{"type":"INTEGRATION_RATE_LIMITED","message":"okta"}`, fault.Unavailable, "SOURCE_INTEGRATION_FAILED"},
		"provider down, as 500":  {500, `{"type":"INTEGRATION_ERROR","message":"okta"}`, fault.Unavailable, "SOURCE_INTEGRATION_FAILED"},
		"server error":           {500, `{"type":"UNHANDLED_EXCEPTION"}`, fault.Unavailable, "CORTEX_UNAVAILABLE"},
		"redirect":               {302, ``, fault.Unavailable, "CORTEX_UNAVAILABLE"},
		"bad request":            {400, `{"type":"BAD_REQUEST","message":"no such filter"}`, fault.Precondition, "SOURCE_REFUSED"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, says(tc.status, tc.body)).Team(t.Context(), "payments")
			require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
			require.Equal(t, tc.reason, fault.ReasonOf(err))
			typed, _ := fault.As(err)
			require.NotEmpty(t, typed.Text)
		})
	}
}

func TestTeam_BodyBreaksOff_IsAnErrorNeverATeam(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		body := team(`"cortexTeam":{"members":[]}`)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)+100))
		_, _ = w.Write([]byte(body)) // JSON that is whole by chance, in a body that is not
	})
	_, err := c.Team(t.Context(), "payments")
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
}

func TestTeam_NobodyListens_IsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	web := cortex.HTTP(upstream.Config{Attempts: 2, Log: slog.New(slog.DiscardHandler)})
	_, err := cortex.New(cortex.Config{BaseURL: server.URL, HTTP: web}).Team(t.Context(), "payments")
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	require.Equal(t, "CORTEX_UNAVAILABLE", fault.ReasonOf(err))
}

func TestTeam_TagWithOddCharacters_StaysOnePathSegment(t *testing.T) {
	var path string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.EscapedPath()
		require.Equal(t, "Bearer key", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusInternalServerError)
	})
	_, _ = c.Team(t.Context(), "org/team?x=1#y")
	require.Equal(t, "/api/v1/teams/org%2Fteam%3Fx=1%23y", path)
	for _, id := range []string{"", ".", "..", strings.Repeat("x", 256)} {
		_, err := c.Team(t.Context(), id)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestDeclaredTarget_IsFoundOnAnyPageAndEndsWithAnEmptyOne(t *testing.T) {
	pages := []string{
		`[{"key":"tier","value":1},{"key":"team","value":{"a":[1]}}]`,
		`[{"key":"pagerduty-team-id","value":" P123ABC ","source":"YAML"}]`,
		`[]`,
	}
	calls := 0
	serve := func(w http.ResponseWriter, r *http.Request) {
		calls++
		require.Equal(t, "/api/v1/catalog/payments/custom-data", r.URL.Path)
		page := 0
		_, err := fmt.Sscan(r.URL.Query().Get("page"), &page)
		require.NoError(t, err)
		_, _ = w.Write([]byte(pages[page]))
	}
	got, err := client(t, serve).DeclaredTarget(t.Context(), "payments")
	require.NoError(t, err)
	require.Equal(t, "P123ABC", got)

	pages[1] = `[{"key":"x","value":"y"}]`
	calls = 0
	got, err = client(t, serve).DeclaredTarget(t.Context(), "payments")
	require.NoError(t, err)
	require.Empty(t, got)
	require.Equal(t, 3, calls)
}

func TestDeclaredTarget_OddAnswers(t *testing.T) {
	cases := map[string]struct {
		body   string
		reason string // empty: no target
	}{
		"the same page for ever": {`[{"key":"x","value":"y"}]`, ""},
		"null":                   {`null`, "SOURCE_INCOMPLETE"},
		"an object":              {`{}`, "SOURCE_INCOMPLETE"},
		"nothing":                {``, "SOURCE_INCOMPLETE"},
		"a number":               {`[{"key":"pagerduty-team-id","value":12}]`, "SOURCE_TARGET_INVALID"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := client(t, says(200, tc.body)).DeclaredTarget(t.Context(), "payments")
			if tc.reason == "" {
				require.NoError(t, err)
				require.Empty(t, got)
				return
			}
			require.Equal(t, tc.reason, fault.ReasonOf(err), "%v", err)
		})
	}
}

func TestGroups(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   []string
		reason string
	}{
		"several":      {200, `{"id":"en1","tag":"payments","groups":["tier-1","europe"]}`, []string{"tier-1", "europe"}, ""},
		"none":         {200, `{"id":"en1","tag":"payments","groups":[]}`, []string{}, ""},
		"left out":     {200, `{"id":"en1","tag":"payments"}`, nil, "SOURCE_INCOMPLETE"},
		"null":         {200, `{"id":"en1","tag":"payments","groups":null}`, nil, "SOURCE_INCOMPLETE"},
		"another team": {200, `{"id":"en2","tag":"billing","groups":[]}`, nil, "SOURCE_INCOMPLETE"},
		"broken off":   {200, `{"id":"en1","tag":"payments","groups":["tier`, nil, "SOURCE_INCOMPLETE"},
		"no such team": {404, `{"type":"NOT_FOUND","message":"no"}`, nil, "SOURCE_TEAM_NOT_FOUND"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := client(t, says(tc.status, tc.body)).Groups(t.Context(), "payments")
			if tc.reason == "" {
				require.NoError(t, err)
				require.Equal(t, tc.want, got)
				return
			}
			require.Equal(t, tc.reason, fault.ReasonOf(err), "%v", err)
		})
	}
}

// catalogue serves n teams in pages as asked, announcing total.
func catalogue(t *testing.T, n, total int) (http.HandlerFunc, *int) {
	calls := 0
	return func(w http.ResponseWriter, r *http.Request) {
		calls++
		query := r.URL.Query()
		require.Equal(t, "team", query.Get("types"))
		require.Equal(t, "true", query.Get("includeArchived"))
		var page, size int
		_, err := fmt.Sscan(query.Get("page"), &page)
		require.NoError(t, err)
		_, err = fmt.Sscan(query.Get("pageSize"), &size)
		require.NoError(t, err)
		var rows []string
		for i := page * size; i < min(n, (page+1)*size); i++ {
			rows = append(rows, fmt.Sprintf(`{"id":"en%d","tag":"team-%d","name":"Team %d","type":"team","isArchived":%t,
				"metadata":[{"key":"pagerduty-team-id","value":"P%d"}],
				"members":[{"email":"m%d@example.org","roles":[{"name":"manager"}],"sources":[{"type":"ENTITY_DEFINED"}]}]}`, i, i, i, i == 7, i, i))
		}
		_, _ = fmt.Fprintf(w, `{"entities":[%s],"page":%d,"total":%d,"totalPages":%d}`, strings.Join(rows, ","), page, total, (total+size-1)/size)
	}, &calls
}

func TestTeams_MoreThanAPage_AllAreRead(t *testing.T) {
	handle, calls := catalogue(t, 2300, 2300)
	teams, err := client(t, handle).Teams(t.Context())
	require.NoError(t, err)
	require.Len(t, teams, 2300)
	require.Equal(t, 3, *calls)
	require.Empty(t, cmp.Diff(ownership.Desired{
		TeamID: "team-7", SourceID: "en7", TargetID: "P7", Name: "Team 7", Archived: true,
		Members: []ownership.Member{{Email: "m7@example.org", Roles: []string{"manager"}}},
	}, teams[7]))
}

func TestTeams_FewerRowsThanAnnounced_IsIncomplete(t *testing.T) {
	handle, _ := catalogue(t, 1700, 1800)
	teams, err := client(t, handle).Teams(t.Context())
	require.Equal(t, "SOURCE_INCOMPLETE", fault.ReasonOf(err), "%v", err)
	require.Nil(t, teams)
}

func TestEachTeamPage_GivesEveryTeamOnce_PageByPage(t *testing.T) {
	handle, calls := catalogue(t, 2300, 2300)
	var pages []int
	ids := map[string]bool{}
	total, err := client(t, handle).EachTeamPage(t.Context(), func(teams []ownership.Desired) error {
		pages = append(pages, len(teams))
		require.Equal(t, len(pages), *calls, "a page is handed on before the next one is read")
		for _, team := range teams {
			require.False(t, ids[team.SourceID])
			ids[team.SourceID] = true
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2300, total)
	require.Equal(t, []int{1000, 1000, 300}, pages)
	require.Len(t, ids, 2300)
}

func TestEachTeamPage_RowsShift_NobodyComesTwiceAndTheTotalMustBeReached(t *testing.T) {
	rows := func(ids ...string) string {
		var list []string
		for _, id := range ids {
			list = append(list, fmt.Sprintf(`{"id":%q,"tag":%q,"members":[]}`, id, "tag-"+id))
		}
		return strings.Join(list, ",")
	}
	cases := map[string]struct {
		pages  []string
		want   []string
		reason string
	}{
		"a row comes again": {
			[]string{`{"entities":[` + rows("1", "2") + `],"total":3}`, `{"entities":[` + rows("2", "3") + `],"total":3}`}, []string{"1", "2", "3"}, "",
		},
		"a page of rows known already": {
			[]string{`{"entities":[` + rows("1") + `],"total":2}`, `{"entities":[` + rows("1") + `],"total":2}`, `{"entities":[` + rows("2") + `],"total":2}`},
			[]string{"1", "2"}, "",
		},
		"none":               {[]string{`{"entities":[],"total":0}`}, nil, ""},
		"one never came":     {[]string{`{"entities":[` + rows("1") + `],"total":2}`, `{"entities":[],"total":2}`}, []string{"1"}, "SOURCE_INCOMPLETE"},
		"the total grew":     {[]string{`{"entities":[` + rows("1") + `],"total":2}`, `{"entities":[` + rows("2") + `],"total":3}`}, []string{"1"}, "SOURCE_INCOMPLETE"},
		"the list began new": {[]string{`{"entities":[` + rows("1") + `],"total":2}`}, []string{"1"}, "SOURCE_INCOMPLETE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			calls := 0
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(tc.pages[min(calls, len(tc.pages)-1)]))
				calls++
			})
			var got []string
			total, err := c.EachTeamPage(t.Context(), func(teams []ownership.Desired) error {
				require.NotEmpty(t, teams)
				for _, team := range teams {
					got = append(got, team.SourceID)
				}
				return nil
			})
			require.Equal(t, tc.want, got)
			if tc.reason != "" {
				require.Equal(t, tc.reason, fault.ReasonOf(err), "%v", err)
				require.Zero(t, total)
				return
			}
			require.NoError(t, err)
			require.Equal(t, len(tc.want), total)
		})
	}
}

func TestEachTeamPage_ErrorOfEach_EndsTheWalkAsItIs(t *testing.T) {
	handle, calls := catalogue(t, 2300, 2300)
	full := errors.New("disk is full")
	_, err := client(t, handle).EachTeamPage(t.Context(), func([]ownership.Desired) error { return full })
	require.Same(t, full, err)
	require.Equal(t, 1, *calls)
}

func TestTeams_AnswersThatAreNotWhole(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": ``, "object": `{}`, "no total": `{"entities":[]}`, "no rows": `{"total":0}`, "rows null": `{"entities":null,"total":0}`,
		"a row without tag": `{"entities":[{"id":"x"}],"total":1}`, "empty but announced": `{"entities":[],"total":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, says(200, body)).Teams(t.Context())
			require.Equal(t, "SOURCE_INCOMPLETE", fault.ReasonOf(err), "%v", err)
		})
	}
}

func TestTeams_RowWithoutMembers_IsUnknownNotEmpty(t *testing.T) {
	teams, err := client(t, says(200, `{"entities":[{"id":"1","tag":"a"},{"id":"2","tag":"b","members":[]}],"total":2}`)).Teams(t.Context())
	require.NoError(t, err)
	require.Nil(t, teams[0].Members)
	require.NotNil(t, teams[1].Members)
}

func TestTeam_QuotaUsedUp_IsWaitedFor(t *testing.T) {
	calls := 0
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(team(`"cortexTeam":{"members":[]}`)))
	})
	began := time.Now()
	_, err := c.Team(t.Context(), "payments")
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), time.Second)
}

func TestClient_TokenReplacedInItsFile_NextCallGoesThrough(t *testing.T) {
	valid := "old"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+valid {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		says(200, team(`"cortexTeam":{"members":[]}`))(w, r)
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o600))
	credential, err := config.FromFile(t.Context(), path)
	require.NoError(t, err)
	way := upstream.New(cortex.Upstream(upstream.Config{Credentials: credential, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(func() { require.NoError(t, way.Close()) })
	c := cortex.New(cortex.Config{BaseURL: server.URL, HTTP: way.Client()})
	_, err = c.Team(t.Context(), "payments")
	require.NoError(t, err)

	valid = "new"
	_, err = c.Team(t.Context(), "payments")
	require.Equal(t, "SOURCE_CREDENTIAL_REFUSED", fault.ReasonOf(err), "the file still holds the old one")
	require.NoError(t, os.WriteFile(path, []byte("new\n"), 0o600))
	_, err = c.Team(t.Context(), "payments")
	require.NoError(t, err)
}
