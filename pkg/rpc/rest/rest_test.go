package rest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/proto/gen/openapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const job = "0190a8b4-0000-7000-8000-000000000000"

type api struct {
	v1.UnimplementedTeamServiceServer
	v1.UnimplementedRunServiceServer
	events chan *v1.RunEvent
}

func (a *api) ReconcileTeam(ctx context.Context, r *v1.ReconcileTeamRequest) (*v1.ReconcileTeamResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	switch key {
	case "wait":
		return nil, fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(1500 * time.Millisecond)
	case "taken":
		return nil, fault.New(fault.Conflict, "this idempotency key was used for another request", nil).WithReason("IDEMPOTENCY_KEY_REUSED")
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("location", "/v1/runs/"+job))
	return &v1.ReconcileTeamResponse{JobId: key + "/" + r.GetTeamId()}, nil
}

func (a *api) PlanTeam(_ context.Context, r *v1.PlanTeamRequest) (*v1.Plan, error) {
	return &v1.Plan{TeamId: r.GetTeamId()}, nil
}

func (a *api) GetTeam(_ context.Context, r *v1.GetTeamRequest) (*v1.Team, error) {
	return &v1.Team{TeamId: r.GetTeamId()}, nil
}

func (a *api) ListTeams(_ context.Context, r *v1.ListTeamsRequest) (*v1.ListTeamsResponse, error) {
	return &v1.ListTeamsResponse{NextPageToken: fmt.Sprint(r.GetPageSize(), r.GetQuery())}, nil
}

func (a *api) WatchRun(r *v1.WatchRunRequest, stream grpc.ServerStreamingServer[v1.RunEvent]) error {
	if r.GetAfterSeq() == 99 {
		return fault.New(fault.NotFound, "there is no such run", nil)
	}
	for {
		select {
		case event, ok := <-a.events:
			if !ok {
				return fault.New(fault.Unavailable, "connect again", nil)
			}
			if err := stream.Send(event); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

type running struct {
	t      *testing.T
	url    string
	client *http.Client
	api    *api
	log    *logBuffer
	ready  error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *logBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func verify(_ context.Context, token string) (auth.Principal, error) {
	if strings.HasPrefix(token, "bad") {
		return auth.Principal{}, fault.New(fault.Unauthenticated, "the token is refused", nil)
	}
	return auth.Principal{Subject: "alice", Scopes: []string{"nthlayer/" + token}}, nil
}

// newHandler is the REST side over a server in process.
func newHandler(t testing.TB, a *api, log *slog.Logger, ready rest.Check) http.Handler {
	chain, err := rpc.Public(log, rpc.Bearer(verify), rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain}, func(s grpc.ServiceRegistrar) {
		v1.RegisterTeamServiceServer(s, a)
		v1.RegisterRunServiceServer(s, a)
	})
	require.NoError(t, err)
	handler, err := rest.New(rest.Config{
		Conn: server.InProcess(),
		Services: []rest.Register{
			func(ctx context.Context, mux *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return v1.RegisterTeamServiceHandlerClient(ctx, mux, v1.NewTeamServiceClient(cc))
			},
			func(ctx context.Context, mux *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return v1.RegisterRunServiceHandlerClient(ctx, mux, v1.NewRunServiceClient(cc))
			},
		},
		Package:  "nthlayer.v1",
		Statuses: map[protoreflect.FullName]int{"nthlayer.v1.ReconcileTeamResponse": http.StatusAccepted},
		OpenAPI:  openapi.Spec(),
		Ready:    map[string]rest.Check{"store": ready},
		Log:      log,
	})
	require.NoError(t, err)
	return handler
}

func start(t *testing.T) *running {
	r := &running{t: t, api: &api{events: make(chan *v1.RunEvent)}, log: &logBuffer{}, client: &http.Client{Transport: &http.Transport{}}}
	log := telemetry.NewLogger(r.log, slog.LevelDebug)
	handler := newHandler(t, r.api, log, func(context.Context) error { return r.ready })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- rest.Serve(ctx, lis, handler, 5*time.Second, log) }()
	t.Cleanup(func() { r.client.CloseIdleConnections(); cancel(); require.NoError(t, <-served) })
	r.url = "http://" + lis.Addr().String()
	return r
}

// call makes a request as an operator; headers are given as name, value, …, and an empty value removes one.
func (r *running) call(method, path, body string, headers ...string) *http.Response {
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer operator")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header[headers[i]] = []string{headers[i+1]}
		}
	}
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

type problem struct {
	Code    int
	Message string
	Details []struct {
		Type            string `json:"@type"`
		Reason, Domain  string
		FieldViolations []struct{ Field, Description string }
	}
}

func decode[T any](t *testing.T, resp *http.Response) (v T) {
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &v), "%s", raw)
	return v
}

func (p problem) fields() (fields []string) {
	for _, d := range p.Details {
		for _, v := range d.FieldViolations {
			fields = append(fields, v.Field)
		}
	}
	return fields
}

func TestREST_Accept_Is202WithIdempotencyKeyLocationAndRequestID(t *testing.T) {
	r := start(t)
	resp := r.call("POST", "/v1/teams/reconcile", `{"team_id":"payments"}`, "Idempotency-Key", "k1", "X-Request-Id", "req-7")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Equal(t, "k1/payments", decode[map[string]string](t, resp)["job_id"])
	require.Equal(t, "/v1/runs/"+job, resp.Header.Get("Location"))
	require.Equal(t, []string{"req-7"}, resp.Header.Values("X-Request-Id"))
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Contains(t, r.log.String(), `"request_id":"req-7"`)
}

func TestREST_Answers_ShowEveryFieldByItsProtoName(t *testing.T) {
	r := start(t)
	team := decode[map[string]any](t, r.call("GET", "/v1/teams/payments", ""))
	require.Equal(t, "payments", team["team_id"])
	require.Equal(t, false, team["archived"])
	require.Equal(t, []any{}, team["members"])
	require.Equal(t, "7pay", decode[map[string]any](t, r.call("GET", "/v1/teams?page_size=7&query=pay", ""))["next_page_token"])
}

func TestREST_TeamIDWithSlash_IsOneEscapedSegment(t *testing.T) {
	r := start(t)
	require.Equal(t, "kubernetes/sig-node", decode[map[string]any](t, r.call("GET", "/v1/teams/kubernetes%2Fsig-node", ""))["team_id"])
	require.Equal(t, "kubernetes/sig-node", decode[map[string]any](t, r.call("POST", "/v1/teams/kubernetes%2fsig-node:plan", "{}"))["team_id"])
}

func TestREST_BadRequests_AreClear4xxWithTheFieldNamed(t *testing.T) {
	r := start(t)
	const secret = "eyJzZWNyZXQ"
	reconcile := "/v1/teams/reconcile"
	for name, tc := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		field              string
	}{
		"no token":                   {"GET", "/v1/teams/a", "", []string{"Authorization", ""}, 401, ""},
		"forged token":               {"GET", "/v1/teams/a", "", []string{"Authorization", "Bearer bad" + secret}, 401, ""},
		"no grant":                   {"POST", reconcile, `{"team_id":"a"}`, []string{"Authorization", "Bearer viewer"}, 403, ""},
		"JSON broken":                {"POST", reconcile, `{"team_id":`, nil, 400, "body"},
		"JSON not an object":         {"POST", reconcile, `[1]`, nil, 400, "body"},
		"JSON and more":              {"POST", reconcile, `{"team_id":"a"} {"x":1}`, nil, 400, "body"},
		"unknown field":              {"POST", reconcile, `{"teem_id":"a"}`, nil, 400, "teem_id"},
		"unknown nested field":       {"POST", reconcile, `{"team_id":"a","desired":{"nome":"x"}}`, nil, 400, "desired.nome"},
		"duplicate field":            {"POST", reconcile, `{"team_id":"a","team_id":"b"}`, nil, 400, "team_id"},
		"wrong type":                 {"POST", reconcile, `{"team_id":5}`, nil, 400, "team_id"},
		"wrong type, bool":           {"POST", reconcile, `{"team_id":"a","dry_run":"yes"}`, nil, 400, "dry_run"},
		"wrong type, nested":         {"POST", reconcile, `{"team_id":"a","desired":{"members":[{"email":"a@example.org"},{"role":5}]}}`, nil, 400, "desired.members[1].role"},
		"no object, nested":          {"POST", reconcile, `{"team_id":"a","desired":{"members":[5]}}`, nil, 400, "desired.members[0]"},
		"another team in the body":   {"POST", "/v1/teams/a:plan", `{"team_id":"b"}`, nil, 400, "team_id"},
		"not UTF-8":                  {"POST", reconcile, "{\"team_id\":\"a\xff\"}", nil, 400, "team_id"},
		"no body":                    {"POST", reconcile, "", nil, 400, "team_id"},
		"200 characters":             {"POST", reconcile, `{"team_id":"` + strings.Repeat("a", 200) + `"}`, nil, 400, "team_id"},
		"200 characters in path":     {"GET", "/v1/teams/" + strings.Repeat("a", 200), "", nil, 400, "team_id"},
		"control character":          {"POST", reconcile, `{"team_id":"a\u0000b"}`, nil, 400, "team_id"},
		"control character in path":  {"GET", "/v1/teams/a%00b", "", nil, 400, "team_id"},
		"control character in query": {"GET", "/v1/teams?query=a%07b", "", nil, 400, "query"},
		"bad source":                 {"POST", reconcile, `{"team_id":"a","source":"ldap"}`, nil, 400, "source"},
		"bad e-mail":                 {"POST", reconcile, `{"team_id":"a","desired":{"members":[{"email":"x"}]}}`, nil, 400, "desired.members[0].email"},
		"page size a word":           {"GET", "/v1/teams?page_size=many", "", nil, 400, "page_size"},
		"page size too large":        {"GET", "/v1/teams?page_size=1001", "", nil, 400, "page_size"},
		"page size twice":            {"GET", "/v1/teams?page_size=1&page_size=2", "", nil, 400, "page_size"},
		"unknown query":              {"GET", "/v1/teams?pagesize=1", "", nil, 400, "pagesize"},
		"query beside a body":        {"POST", reconcile + "?dry_run=true", `{"team_id":"a"}`, nil, 400, "dry_run"},
		"path parameter in query":    {"GET", "/v1/teams/a?team_id=b", "", nil, 400, "team_id"},
		"job id no uuid":             {"GET", "/v1/runs/17", "", nil, 400, "job_id"},
		"job id no uuid, alias":      {"GET", "/v1/jobs/17", "", nil, 400, "job_id"},
		"watch: no uuid":             {"GET", "/v1/runs/17:watch", "", nil, 400, "job_id"},
		"watch: no token":            {"GET", "/v1/runs/" + job + ":watch", "", []string{"Authorization", ""}, 401, ""},
		"watch: no grant":            {"GET", "/v1/runs/" + job + ":watch", "", []string{"Authorization", "Bearer nobody"}, 403, ""},
		"watch: not there":           {"GET", "/v1/runs/" + job + ":watch?after_seq=99", "", nil, 404, ""},
		"watch: bad query":           {"GET", "/v1/runs/" + job + ":watch?after_seq=x", "", nil, 400, "after_seq"},
		"malformed slash":            {"GET", "/v1/teams/%2Fa", "", nil, 400, "team_id"},
		"too large":                  {"POST", reconcile, `{"team_id":"` + strings.Repeat("a", 1<<20) + `"}`, nil, 413, "body"},
		"form":                       {"POST", reconcile, `team_id=a`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "Content-Type"},
		"text":                       {"POST", reconcile, `{"team_id":"a"}`, []string{"Content-Type", "text/plain"}, 415, "Content-Type"},
		"compressed":                 {"POST", reconcile, "\x1f\x8b", []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding"},
		"no such path":               {"GET", "/v2/teams", "", nil, 404, ""},
		"no such path at the root":   {"GET", "/", "", nil, 404, ""},
		"no such method":             {"DELETE", "/v1/teams/a", "", nil, 405, ""},
		"method override":            {"POST", "/v1/teams/a", "", []string{"X-Http-Method-Override", "GET"}, 405, ""},
		"idempotency key too long":   {"POST", reconcile, `{"team_id":"a"}`, []string{"Idempotency-Key", strings.Repeat("k", 129)}, 400, "Idempotency-Key"},
		"idempotency key with blank": {"POST", reconcile, `{"team_id":"a"}`, []string{"Idempotency-Key", "a b"}, 400, "Idempotency-Key"},
		"idempotency key not ASCII":  {"POST", reconcile, `{"team_id":"a"}`, []string{"Idempotency-Key", "schlüssel"}, 400, "Idempotency-Key"},
		"idempotency key reused":     {"POST", reconcile, `{"team_id":"a"}`, []string{"Idempotency-Key", "taken"}, 409, ""},
		"URI too long":               {"GET", "/v1/teams?query=" + strings.Repeat("a", 9<<10), "", nil, 414, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			resp := r.call(tc.method, tc.path, tc.body, tc.headers...)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			p := decode[problem](t, resp)
			require.Equal(t, tc.status, resp.StatusCode, "%+v", p)
			require.NotZero(t, p.Code)
			require.NotEmpty(t, p.Message)
			require.NotEmpty(t, p.Details)
			require.Equal(t, "nthlayer.dev", p.Details[0].Domain)
			require.NotEmpty(t, p.Details[0].Reason)
			if tc.field != "" {
				require.Contains(t, p.fields(), tc.field, "%+v", p)
			}
		})
	}
	require.NotContains(t, r.log.String(), secret, "tokens are never logged")
	require.NotContains(t, r.log.String(), "ldap", "bodies are never logged")
}

func TestREST_TeamInTheBody_MayRepeatThePath(t *testing.T) {
	r := start(t)
	for path, body := range map[string]string{
		"/v1/teams/acme%2Fweb:plan": `{"team_id":"acme/web"}`,
		"/v1/teams/web:plan":        `{"team_id":""}`,
		"/v1/teams/db:plan":         "",
	} {
		resp := r.call("POST", path, body)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
	}
}

func TestREST_MethodNotAllowed_SaysWhichAre(t *testing.T) {
	r := start(t)
	for _, tc := range []struct{ method, path, allow string }{
		{"DELETE", "/v1/teams/acme%2Fweb", "GET, HEAD"},
		{"GET", "/v1/teams/reconcile/", ""},
		{"PUT", "/v1/teams/reconcile", "GET, HEAD, POST"}, // a team may be called so
		{"PATCH", "/v1/teams", "GET, HEAD"},
		{"HEAD", "/v1/runs/" + job + "/:cancel", ""},
	} {
		resp := r.call(tc.method, tc.path, "")
		require.Equal(t, tc.allow, resp.Header.Get("Allow"), tc.path)
		require.Equal(t, tc.allow != "", resp.StatusCode == http.StatusMethodNotAllowed, tc.path)
	}
}

func TestREST_Head_IsGetWithoutABody(t *testing.T) {
	r := start(t)
	r.api.events = make(chan *v1.RunEvent, 1)
	r.api.events <- &v1.RunEvent{Seq: 1, Kind: "run_queued"}
	for path, status := range map[string]int{
		"/v1/teams/payments":         http.StatusOK,
		"/v1/teams":                  http.StatusOK,
		"/v1/teams?pagesize=1":       http.StatusBadRequest,
		"/v1/runs/17":                http.StatusBadRequest,
		"/v1/nothing":                http.StatusNotFound,
		"/healthz":                   http.StatusOK,
		"/openapi.json":              http.StatusOK,
		"/v1/runs/" + job + ":watch": http.StatusOK, // and does not wait for the run's end
	} {
		resp := r.call("HEAD", path, "")
		require.Equal(t, status, resp.StatusCode, path)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"), path)
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Empty(t, content, path)
	}
}

// net/http answers what it cannot read itself, as text and before any handler.
func TestREST_NotHTTP_IsRefusedInJSON(t *testing.T) {
	r := start(t)
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"%zz in the path": {"GET /v1/teams/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"no host":         {"GET /v1/teams HTTP/1.1\r\n\r\n", 400},
		"blank in a name": {"GET /v1/teams HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", 400},
		"not HTTP":        {"hello\r\n\r\n", 400},
		"long headers":    {"GET /v1/teams HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"odd encoding":    {"POST /v1/teams/reconcile HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: pigeon\r\n\r\n", 501},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, tc.request)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, tc.status, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			p := decode[problem](t, resp)
			require.Equal(t, "MALFORMED", p.Details[0].Reason, "%+v", p)
		})
	}
}

func TestREST_BodyOfUnknownLengthTooLarge_Is413(t *testing.T) {
	r := start(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/teams/reconcile", io.MultiReader(strings.NewReader(`{"team_id":"`), strings.NewReader(strings.Repeat("a", 2<<20))))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
}

func TestREST_Throttled_SaysWhenToComeBack(t *testing.T) {
	r := start(t)
	resp := r.call("POST", "/v1/teams/reconcile", `{"team_id":"a"}`, "Idempotency-Key", "wait")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "2", resp.Header.Get("Retry-After"))
}

func TestREST_Unauthenticated_NamesTheScheme(t *testing.T) {
	r := start(t)
	require.Equal(t, "Bearer", r.call("GET", "/v1/teams/a", "", "Authorization", "").Header.Get("WWW-Authenticate"))
}

func TestREST_Watch_EachEventArrivesWhenItIsSent(t *testing.T) {
	for _, tc := range []struct{ accept, contentType, prefix string }{
		{"application/json", "application/json", ""},
		{"text/event-stream", "text/event-stream", "data: "},
	} {
		t.Run(tc.accept, func(t *testing.T) {
			r := start(t)
			go func() { r.api.events <- &v1.RunEvent{Seq: 1, Kind: "run_queued"} }()
			resp := r.call("GET", "/v1/runs/"+job+":watch", "", "Accept", tc.accept)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, tc.contentType, resp.Header.Get("Content-Type"))
			lines := bufio.NewScanner(resp.Body)
			next := func() map[string]map[string]any {
				for lines.Scan() {
					if text, ok := strings.CutPrefix(lines.Text(), tc.prefix); ok && text != "" {
						var v map[string]map[string]any
						require.NoError(t, json.Unmarshal([]byte(text), &v))
						return v
					}
				}
				require.NoError(t, lines.Err())
				return nil
			}
			require.Equal(t, "1", next()["result"]["seq"])
			for seq := range 3 { // the next is sent only when the one before was read: nothing is held back
				r.api.events <- &v1.RunEvent{Seq: int64(seq) + 2, Kind: "step_started"}
				require.Equal(t, fmt.Sprint(seq+2), next()["result"]["seq"])
			}
			close(r.api.events)
			require.Equal(t, "connect again", next()["error"]["message"])
		})
	}
}

func TestREST_HealthAndReadiness(t *testing.T) {
	r := start(t)
	require.Equal(t, http.StatusOK, r.call("GET", "/healthz", "", "Authorization", "").StatusCode)
	require.Equal(t, http.StatusOK, r.call("GET", "/readyz", "", "Authorization", "").StatusCode)
	r.ready = errors.New("dial tcp 10.0.0.7")
	resp := r.call("GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, map[string]any{"status": "not ready", "checks": map[string]any{"store": "failed"}}, decode[map[string]any](t, resp))
}

func TestREST_DocsAndOpenAPI_NeedNoScriptAndNothingFromOutside(t *testing.T) {
	r := start(t)
	spec := decode[map[string]any](t, r.call("GET", "/openapi.json", "", "Authorization", ""))
	require.Equal(t, "NthLayer API", spec["info"].(map[string]any)["title"])
	require.Contains(t, spec["securityDefinitions"], "bearer")
	accept := spec["paths"].(map[string]any)["/v1/teams/reconcile"].(map[string]any)["post"].(map[string]any)["responses"]
	require.Contains(t, accept, "202")
	require.NotContains(t, accept, "200")
	resp := r.call("GET", "/docs", "", "Authorization", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for path := range spec["paths"].(map[string]any) {
		require.Contains(t, string(raw), `<span class="path">`+path+`</span>`)
	}
	require.Contains(t, string(raw), "a stream of")
	require.NotContains(t, string(raw), "<script")
	require.NotContains(t, string(raw), "src=")
	policy := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'; style-src 'sha256-")
	require.NotContains(t, policy, "unsafe")
}
