package interactions_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	slacksim "github.com/nthlayer/nthlayer/pkg/simulator/slack"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/gateway/internal/interactions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	signing = "8f742231b10e8888abcd99yyyzzz85a5"
	job     = "01890a5d-ac96-774b-bcce-b302099a8057"
	token   = "xoxb-1"
)

var hash = strings.Repeat("ab", 32)

// runs remembers what reached the API.
type runs struct {
	nthlayerv1.UnimplementedRunServiceServer
	mu   sync.Mutex
	done []string
	fail error
}

func (r *runs) note(ctx context.Context, what, job, plan string) (*nthlayerv1.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	p, _ := auth.PrincipalFrom(ctx)
	r.done = append(r.done, strings.Join([]string{what, job, plan, "by", p.Subject, "via", rpc.Via(ctx)}, " "))
	return &nthlayerv1.Run{}, nil
}

func (r *runs) ApproveRun(ctx context.Context, q *nthlayerv1.ApproveRunRequest) (*nthlayerv1.Run, error) {
	return r.note(ctx, "approve", q.GetJobId(), q.GetPlanHash())
}

func (r *runs) RejectRun(ctx context.Context, q *nthlayerv1.RejectRunRequest) (*nthlayerv1.Run, error) {
	return r.note(ctx, "reject", q.GetJobId(), q.GetPlanHash())
}

func (r *runs) reached() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.done...)
}

// notifier stands for the notifier, another service: it knows some people's addresses, and keeps what it whispers.
type notifier struct {
	internalv1.NotifierServiceClient
	mu     sync.Mutex
	emails map[string]string // by Slack's id; missing: refused
	away   bool
	told   []string
}

func (n *notifier) IdentifySlackUser(_ context.Context, q *internalv1.IdentifySlackUserRequest, _ ...grpc.CallOption) (*internalv1.IdentifySlackUserResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return nil, fault.New(fault.Unavailable, "the notifier could not be reached", nil)
	}
	if email, ok := n.emails[q.GetUserId()]; ok && q.GetTeamId() == "T0EXAMPLE" {
		return &internalv1.IdentifySlackUserResponse{Email: email}, nil
	}
	return nil, fault.New(fault.PermissionDenied, "guests cannot act from Slack", nil).WithReason("SLACK_USER_REFUSED")
}

func (n *notifier) WhisperOnSlack(_ context.Context, q *internalv1.WhisperOnSlackRequest, _ ...grpc.CallOption) (*internalv1.WhisperOnSlackResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return nil, fault.New(fault.Unavailable, "the notifier could not be reached", nil)
	}
	n.told = append(n.told, q.GetUserId()+": "+q.GetText())
	return &internalv1.WhisperOnSlackResponse{}, nil
}

func (n *notifier) whispers() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.told...)
}

// rig is two gateways on one Redis, and a workspace whose people press the buttons of one message.
type rig struct {
	t        *testing.T
	redis    *miniredis.Miniredis
	runs     *runs
	notifier *notifier
	slack    *slacksim.Server
	urls     [2]string
	ts       string
	log      *bytes.Buffer
}

const channel = "C0OWNERSHIP"

func start(t *testing.T) *rig {
	r := &rig{t: t, redis: miniredis.RunT(t), runs: &runs{}, notifier: &notifier{emails: map[string]string{}}, log: &bytes.Buffer{}}
	var mu sync.Mutex
	log := slog.New(slog.NewJSONHandler(locked{&mu, r.log}, nil))
	people := auth.NewAuthorizer(nil)
	people.Learn(auth.Grants{
		Identities: map[string]string{"ann@example.org": "ann-subject", "vic@example.org": "vic"},
		Bindings:   []auth.Binding{{Subject: "ann-subject", Role: auth.Approver}, {Subject: "vic", Role: auth.Viewer}},
	})
	for i := range r.urls {
		chain, err := rpc.Public(log, rpc.Vouched(rpc.Bearer(func(context.Context, string) (auth.Principal, error) {
			return auth.Principal{}, fault.New(fault.Unauthenticated, "no token is good here", nil)
		})), rpc.Admission{}, people)
		require.NoError(t, err)
		server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain}, func(s grpc.ServiceRegistrar) { nthlayerv1.RegisterRunServiceServer(s, r.runs) })
		require.NoError(t, err)
		client := redis.NewClient(&redis.Options{Addr: r.redis.Addr(), MaxRetries: -1})
		t.Cleanup(func() { _ = client.Close() })
		handler, err := rest.New(rest.Config{Conn: server.InProcess(), OpenAPI: `{"swagger":"2.0","info":{},"paths":{}}`, Log: log, Beside: map[string]http.Handler{
			interactions.Pattern: interactions.New(interactions.Config{
				Secrets: []config.Secret{config.NewSecret(signing), {}}, Redis: client, Notifier: r.notifier, Principals: people,
				API: server.InProcess(), Log: log,
			}),
		}})
		require.NoError(t, err)
		web := httptest.NewServer(handler)
		t.Cleanup(web.Close)
		r.urls[i] = web.URL + "/slack/interactions"
	}
	web := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(web.CloseIdleConnections)
	r.slack = slacksim.New(slacksim.Options{Token: token, SigningSecret: signing, Interactions: r.urls[0], HTTP: web})
	o, err := org.Decode(strings.NewReader(`{"people":["ann","vic","eve","guest"],"teams":[]}`))
	require.NoError(t, err)
	require.NoError(t, r.slack.LoadOrg(o))
	for _, who := range []string{"ann", "vic", "eve"} {
		r.notifier.emails[r.slack.UserID(who+"@example.org")] = who + "@example.org"
	}
	r.ts = r.post()
	return r
}

type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.to.Write(p) }

// post posts a message with both buttons.
func (r *rig) post() string {
	r.t.Helper()
	button := func(action string) map[string]any {
		return map[string]any{"type": "button", "action_id": action, "value": notice.ButtonValue(job, hash), "text": map[string]any{"type": "plain_text", "text": action}}
	}
	body, err := json.Marshal(map[string]any{"channel": channel, "text": "t", "blocks": []any{
		map[string]any{"type": "actions", "block_id": "approval", "elements": []any{button("approve_run"), button("reject_run"), button("other")}},
	}})
	require.NoError(r.t, err)
	request := httptest.NewRequest("POST", "/api/chat.postMessage", bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	recorder := httptest.NewRecorder()
	r.slack.ServeHTTP(recorder, request)
	var posted struct{ TS string }
	require.NoError(r.t, json.Unmarshal(recorder.Body.Bytes(), &posted))
	require.NotEmpty(r.t, posted.TS, recorder.Body.String())
	return posted.TS
}

func (r *rig) press(p slacksim.Press) []int {
	r.t.Helper()
	p.Channel, p.TS = channel, r.ts
	if p.Action == "" {
		p.Action = "approve_run"
	}
	if p.User == "" {
		p.User = "ann@example.org"
	}
	answers, err := r.slack.Press(r.t.Context(), p)
	require.NoError(r.t, err)
	var statuses []int
	for _, a := range answers {
		require.Empty(r.t, a.Error)
		statuses = append(statuses, a.Status)
	}
	return statuses
}

var approved = "approve " + job + " " + hash + " by ann-subject via slack"

func TestPress_SomebodyWhoMay_IsDoneUnderTheirNameThroughTheChain(t *testing.T) {
	r := start(t)
	require.Equal(t, []int{200}, r.press(slacksim.Press{}))
	require.Equal(t, []int{200}, r.press(slacksim.Press{Action: "reject_run"}))
	require.Equal(t, []string{approved, "reject " + job + " " + hash + " by ann-subject via slack"}, r.runs.reached())
	require.Empty(t, r.notifier.whispers())
	for _, want := range []string{`"msg":"audit"`, `"action":"runs.approve"`, `"principal":"ann-subject"`, `"resource":"` + job} {
		require.Contains(t, r.log.String(), want)
	}
	require.NotContains(t, r.log.String(), "ann@example.org")
	require.Contains(t, r.log.String(), `"client_id":"slack"`)
}

func TestPress_NotSigned_NothingIsDoneNorSaid(t *testing.T) {
	r := start(t)
	for name, p := range map[string]slacksim.Press{
		"no signature":    {Bare: true},
		"another secret":  {Secret: "ffffffffffffffffffffffffffffffff"},
		"an empty secret": {Secret: " "},
		"old":             {Age: 301},
		"ahead":           {Age: -302},
		"another body":    {Change: true},
	} {
		require.Equal(t, []int{401}, r.press(p), name)
	}
	require.Empty(t, r.runs.reached())
	require.Empty(t, r.notifier.whispers(), "who forges learns nothing, and reaches nobody")
	require.Empty(t, r.redis.Keys(), "nothing is remembered for strangers")
}

func TestPress_TheSameRequestAgain_IsRefusedByWhicheverGateway(t *testing.T) {
	r := start(t)
	require.Equal(t, []int{200, 409, 409}, r.press(slacksim.Press{Times: 2, Also: r.urls[1]}))
	require.Equal(t, []string{approved}, r.runs.reached())
	require.Empty(t, r.notifier.whispers())
	require.Equal(t, []int{200}, r.press(slacksim.Press{}), "another click is another request")

	// It is remembered for as long as the signature could be good, also where it came from ahead of its time.
	for _, key := range r.redis.Keys() {
		require.GreaterOrEqual(t, r.redis.TTL(key), 10*time.Minute)
	}

	// The control: had nobody remembered it, it would have passed.
	answers := func() []int {
		var mu sync.Mutex
		first := true
		forgetting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if !first {
				r.redis.FlushAll()
			}
			first = false
			target, _ := url.Parse(r.urls[0])
			again := q.Clone(q.Context())
			again.RequestURI, again.URL, again.Host = "", target, target.Host
			answer, err := http.DefaultTransport.RoundTrip(again)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_ = answer.Body.Close()
			w.WriteHeader(answer.StatusCode)
		}))
		defer http.DefaultClient.CloseIdleConnections()
		defer forgetting.Close()
		return r.press(slacksim.Press{URL: forgetting.URL, Times: 2})
	}()
	require.Equal(t, []int{200, 200}, answers)
}

// The signature in other letters is the same signature.
func TestPress_ReplayedInCapitals_IsRefused(t *testing.T) {
	r := start(t)
	body := []byte(url.Values{"payload": {`{"type":"block_actions","team":{"id":"T0EXAMPLE"},"user":{"id":"` + r.slack.UserID("ann@example.org") +
		`"},"actions":[{"type":"button","action_id":"approve_run","value":"` + notice.ButtonValue(job, hash) + `"}]}`}}.Encode())
	now := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(signing))
	mac.Write(append([]byte("v0:"+now+":"), body...))
	signature := hex.EncodeToString(mac.Sum(nil))
	require.Equal(t, 200, r.send(body, now, "v0="+signature))
	require.Equal(t, 409, r.send(body, now, "v0="+strings.ToUpper(signature)))
	require.Len(t, r.runs.reached(), 1)
}

func (r *rig) send(body []byte, timestamp, signature string, more ...string) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.urls[0], bytes.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Slack-Request-Timestamp", timestamp)
	request.Header.Set("X-Slack-Signature", signature)
	for i := 0; i < len(more); i += 2 {
		request.Header.Set(more[i], more[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer http.DefaultClient.CloseIdleConnections()
	require.NoError(r.t, response.Body.Close())
	return response.StatusCode
}

func TestPress_RedisAway_NothingIsLetThrough(t *testing.T) {
	r := start(t)
	r.redis.Close()
	require.Equal(t, []int{503}, r.press(slacksim.Press{}))
	require.Empty(t, r.runs.reached())
	require.NoError(t, r.redis.Restart())
	require.Equal(t, []int{200}, r.press(slacksim.Press{}))
	require.Equal(t, []string{approved}, r.runs.reached())
}

func TestPress_WhoMayNot_IsToldAndNothingIsDone(t *testing.T) {
	r := start(t)
	for name, c := range map[string]struct {
		press slacksim.Press
		says  string
	}{
		"an address nobody knows": {slacksim.Press{User: "eve@example.org"}, "nthlayer access identity link eve@example.org"},
		"a guest":                 {slacksim.Press{User: "guest@example.org"}, "guests cannot act from Slack"},
		"another workspace":       {slacksim.Press{Team: "T0ELSEWHERE"}, "cannot act from Slack"},
		"a role that may not":     {slacksim.Press{User: "vic@example.org"}, "vic may not runs.approve"},
		"a button of no kind":     {slacksim.Press{Action: "other"}, "no known kind"},
		"a button without a plan": {slacksim.Press{Value: "nonsense"}, "names no plan"},
		"no id of a run":          {slacksim.Press{Value: "x:" + hash}, "job_id"},
		"no hash of a plan":       {slacksim.Press{Value: job + ":x"}, "plan_hash"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.notifier.whispers())
			require.Equal(t, []int{200}, r.press(c.press), "Slack has delivered it")
			told := r.notifier.whispers()[before:]
			require.Len(t, told, 1)
			require.Contains(t, told[0], c.says)
		})
	}
	require.Empty(t, r.runs.reached())
	require.NotContains(t, r.log.String(), "eve@example.org")
	require.Contains(t, r.log.String(), `"refused":true`, "what a role may not do stands in the audit log")
}

func TestPress_RefusedByTheRun_IsToldWhy(t *testing.T) {
	r := start(t)
	r.runs.fail = fault.New(fault.Precondition, "the run waits with another plan now", nil).WithReason("PLAN_CHANGED")
	require.Equal(t, []int{200}, r.press(slacksim.Press{}))
	require.Contains(t, r.notifier.whispers()[0], "another plan now")
	r.runs.fail = errors.New("password=hunter2")
	require.Equal(t, []int{200}, r.press(slacksim.Press{}))
	require.NotContains(t, r.notifier.whispers()[1], "hunter2")
}

func TestPress_NotifierAway_SlackShowsAnError(t *testing.T) {
	r := start(t)
	r.notifier.away = true
	require.Equal(t, []int{503}, r.press(slacksim.Press{}))
	require.Empty(t, r.runs.reached())
}

func TestServe_OtherRequests_AreRefused(t *testing.T) {
	r := start(t)
	now := strconv.FormatInt(time.Now().Unix(), 10)
	require.Equal(t, 415, r.send([]byte("{}"), now, "v0=00", "Content-Type", "application/json"))
	require.Equal(t, 413, r.send(bytes.Repeat([]byte("x"), 257<<10), now, "v0=00"), "more than is ever hashed")
	response, err := http.Get(r.urls[0])
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

// FuzzServe sends anything: nothing that is not signed reaches the API.
func FuzzServe(f *testing.F) {
	server := miniredis.RunT(f)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	f.Cleanup(func() { _ = client.Close() })
	api := refusing{f}
	handler := interactions.New(interactions.Config{
		Secrets: []config.Secret{config.NewSecret(signing)}, Redis: client, API: api, Log: slog.New(slog.DiscardHandler),
	})
	f.Add("application/x-www-form-urlencoded", "1", "v0=00", []byte("payload=%7B%7D"))
	f.Add("", "", "", []byte{})
	f.Fuzz(func(t *testing.T, media, timestamp, signature string, body []byte) {
		request := httptest.NewRequest("POST", "/slack/interactions", bytes.NewReader(body))
		request.Header = http.Header{"Content-Type": {media}, "X-Slack-Request-Timestamp": {timestamp}, "X-Slack-Signature": {signature}}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code < 400 {
			t.Fatalf("%d for a request that Slack did not sign", recorder.Code)
		}
	})
}

// refusing is an API that must not be reached.
type refusing struct{ f *testing.F }

func (r refusing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	r.f.Fatal("the API was called")
	return nil
}

func (r refusing) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	r.f.Fatal("the API was called")
	return nil, nil
}
