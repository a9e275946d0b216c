package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	credential = "e2e-credential"
	signing    = "e2e-signing-secret"
)

// binaries builds the service binaries once for all tests, where the next time finds them.
var binaries = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "e2e")
	build := exec.Command("go", "build", "-o", dir+"/", "./services/gateway", "./services/reconcile-worker", "./services/audit-scheduler", "./services/notifier")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the services: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) { testkit.Main(m) }

// gate stands before a platform. It can hold a request, before or after it took effect, until the caller is gone or the
// hold is released; the caller gets no answer.
type gate struct {
	platform http.Handler
	mu       sync.Mutex
	holds    []*hold
}

type hold struct {
	method, contains string
	skip             int // so many matching requests pass first
	after            bool
	reached          chan struct{}
	released         chan struct{}
}

func (g *gate) hold(method, contains string, skip int, after bool) *hold {
	h := &hold{method: method, contains: contains, skip: skip, after: after, reached: make(chan struct{}), released: make(chan struct{})}
	g.mu.Lock()
	g.holds = append(g.holds, h)
	g.mu.Unlock()
	return h
}

func (g *gate) take(r *http.Request) *hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, h := range g.holds {
		if h.method != r.Method || !strings.Contains(r.URL.EscapedPath(), h.contains) {
			continue
		}
		if h.skip > 0 {
			h.skip--
			return nil
		}
		g.holds = append(g.holds[:i:i], g.holds[i+1:]...)
		return h
	}
	return nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := g.take(r)
	if h == nil {
		g.platform.ServeHTTP(w, r)
		return
	}
	if h.after {
		g.platform.ServeHTTP(httptest.NewRecorder(), r)
	}
	_, _ = io.Copy(io.Discard, r.Body) // the server only notices that a caller is gone when its body has been read
	close(h.reached)
	select {
	case <-r.Context().Done():
	case <-h.released:
	}
	panic(http.ErrAbortHandler)
}

// rig is a running system with the platforms in the test's hands.
type rig struct {
	t         testing.TB
	system    *system.System
	info      system.Info
	client    *client.Client
	cortex    *cortex.Server
	pagerduty *pagerduty.Server
	slack     *slack.Server
	pager     *gate  // before PagerDuty
	source    *gate  // before Cortex
	stateDir  string // the system's
	said      testkit.Outside
}

// start brings the system up with an organisation. env goes to the services.
func start(t testing.TB, o *org.Org, workers int, env ...string) *rig {
	t.Helper()
	return startOn(t, testkit.Postgres(t), o, workers, env...)
}

// startOn is start on a database; empty: the system has a PostgreSQL of its own.
func startOn(t testing.TB, database string, o *org.Org, workers int, env ...string) *rig {
	t.Helper()
	bin, err := binaries()
	require.NoError(t, err)
	r := &rig{
		t:         t,
		cortex:    cortex.New(cortex.Options{Token: credential}),
		pagerduty: pagerduty.New(pagerduty.Options{Token: credential}),
		slack:     slack.New(slack.Options{Token: credential, SigningSecret: signing}),
	}
	r.pager, r.source = &gate{platform: r.pagerduty}, &gate{platform: r.cortex}
	r.load(o)
	for _, c := range []*control.Control{r.cortex.Control(), r.pagerduty.Control()} {
		c.SetLimits(control.Limits{})
	}
	urls := make([]string, 3)
	for i, platform := range []http.Handler{r.source, r.pager, r.slack} {
		server := httptest.NewServer(platform)
		t.Cleanup(server.Close)
		urls[i] = server.URL
	}
	r.stateDir = filepath.Join(t.TempDir(), "state")
	state := r.stateDir
	t.Cleanup(func() { require.NoError(t, pgserver.Remove(filepath.Join(state, "postgres"))) })
	r.system, err = system.Start(t.Context(), system.Config{
		StateDir: state, BinDir: bin, Workers: workers,
		Log:              slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &r.said), nil)),
		PostgresSettings: map[string]string{"fsync": "off"},
		Outside: system.Outside{
			CortexURL: urls[0], PagerDutyURL: urls[1], SlackURL: urls[2] + "/api/",
			CortexToken: config.NewSecret(credential), PagerDutyToken: config.NewSecret(credential), SlackToken: config.NewSecret(credential),
			DatabaseURL: config.NewSecret(database),
		},
		ServiceEnv: func(string) []string {
			return append([]string{
				"NTHLAYER_CREATE_TEAMS=true", "NTHLAYER_LEASE=2s", "NTHLAYER_RETRY_AFTER=200ms", "NTHLAYER_CORTEX_PER_MINUTE=1000000",
				"NTHLAYER_PAGERDUTY_PER_MINUTE=1000000", "NTHLAYER_RATE_PER_MINUTE=1000000",
				"NTHLAYER_SLACK_SIGNING_SECRET=" + signing, "NTHLAYER_SLACK_BUTTONS=true",
			}, env...)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.system.Stop(context.WithoutCancel(t.Context())))
		if t.Failed() {
			r.showLogs()
		}
	})
	r.info = r.system.Info()
	r.interactions(r.info.REST + "/slack/interactions")
	r.client, err = client.New(r.info.GRPC, client.WithPlaintext(), client.WithToken(client.StaticToken(r.info.Token)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	return r
}

// interactions tells the simulated Slack where the app takes what people press.
func (r *rig) interactions(url string) {
	r.t.Helper()
	answer := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"url":%q,"signing_secret":%q}`, url, signing))
	r.slack.ServeHTTP(answer, httptest.NewRequest(http.MethodPut, "/_control/interactions", body))
	require.Less(r.t, answer.Code, 300, answer.Body.String())
}

// asRole is a client of somebody with roles.
func (r *rig) asRole(subject string, roles ...string) *client.Client {
	r.t.Helper()
	scopes := make([]string, len(roles))
	for i, role := range roles {
		scopes[i] = "nthlayer/" + role
	}
	token, err := system.IssueToken(r.stateDir, subject, scopes...)
	require.NoError(r.t, err)
	c, err := client.New(r.info.GRPC, client.WithPlaintext(), client.WithToken(client.StaticToken(token)))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, c.Close()) })
	return c
}

func (r *rig) showLogs() {
	for _, name := range []string{"gateway", "reconcile-worker", "notifier"} {
		if child := r.system.Service(name); child != nil {
			content, _ := os.ReadFile(child.Log())
			if len(content) > 6000 {
				content = content[len(content)-6000:]
			}
			r.t.Logf("%s:\n%s", name, content)
		}
	}
}

func (r *rig) load(o *org.Org) {
	content, err := json.Marshal(o)
	require.NoError(r.t, err)
	for _, platform := range []http.Handler{r.cortex, r.pagerduty, r.slack} {
		answer := httptest.NewRecorder()
		platform.ServeHTTP(answer, httptest.NewRequest(http.MethodPut, "/_control/org", bytes.NewReader(content)))
		require.Equal(r.t, http.StatusOK, answer.Code, answer.Body.String())
	}
}

// reconcile accepts a run of each team and waits for all of them.
func (r *rig) reconcile(teams ...string) map[string]*nthlayerv1.Run {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	runs := map[string]*nthlayerv1.Run{}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, team := range teams {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			run, err := r.run(ctx, &nthlayerv1.ReconcileTeamRequest{TeamId: team})
			if err != nil {
				r.t.Errorf("%s: %v", team, err)
				return
			}
			mu.Lock()
			runs[team] = run
			mu.Unlock()
		})
	}
	all.Wait()
	return runs
}

func (r *rig) run(ctx context.Context, request *nthlayerv1.ReconcileTeamRequest) (*nthlayerv1.Run, error) {
	job, err := r.client.Reconcile(ctx, "", request)
	if err != nil {
		return nil, err
	}
	return r.settled(ctx, job)
}

// settled follows a run until it has ended, or waits for an approval, and shows it.
func (r *rig) settled(ctx context.Context, job string) (*nthlayerv1.Run, error) {
	for event, err := range r.client.Watch(ctx, job, 0) {
		if err != nil {
			return nil, err
		}
		if event.GetKind() == "approval_requested" {
			break
		}
	}
	return r.client.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: job})
}

// pagerState is PagerDuty as it is: team name → e-mail → role, and the descriptions.
func (r *rig) pagerState() (members map[string]map[string]string, descriptions map[string]string) {
	var state struct {
		Teams []struct {
			Name, Description string
			Members           []struct{ Email, Role string }
		}
	}
	r.state(r.pagerduty, &state)
	members, descriptions = map[string]map[string]string{}, map[string]string{}
	for _, t := range state.Teams {
		require.NotContains(r.t, members, t.Name, "two teams of one name")
		members[t.Name], descriptions[t.Name] = map[string]string{}, t.Description
		for _, m := range t.Members {
			members[t.Name][m.Email] = m.Role
		}
	}
	return members, descriptions
}

// declaredState is what Cortex says, in PagerDuty's words.
func (r *rig) declaredState() (members map[string]map[string]string, descriptions map[string]string) {
	var state struct {
		Teams []struct {
			Name, Description string
			Members           []struct {
				Email string
				Roles []string
			}
		}
	}
	r.state(r.cortex, &state)
	members, descriptions = map[string]map[string]string{}, map[string]string{}
	for _, t := range state.Teams {
		members[t.Name], descriptions[t.Name] = map[string]string{}, t.Description
		for _, m := range t.Members {
			role := "responder"
			for _, word := range m.Roles {
				if word == "manager" {
					role = "manager"
				}
			}
			members[t.Name][m.Email] = role
		}
	}
	return members, descriptions
}

func (r *rig) state(platform http.Handler, into any) { r.control(platform, "/_control/state", into) }

func (r *rig) control(platform http.Handler, path string, into any) {
	r.t.Helper()
	answer := httptest.NewRecorder()
	platform.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	require.Equal(r.t, http.StatusOK, answer.Code)
	require.NoError(r.t, json.Unmarshal(answer.Body.Bytes(), into))
}

// writes counts the requests that changed PagerDuty.
func (r *rig) writes() int {
	var calls struct{ Writes int }
	r.control(r.pagerduty, "/_control/calls", &calls)
	return calls.Writes
}

// pd speaks to PagerDuty as a person with the API key would.
func (r *rig) pd(method, path, body string) {
	r.t.Helper()
	r.as(credential, method, path, body)
}

// manual is the API key of a person who changes PagerDuty by hand: not the services' own.
const manual = "somebody-elses-key"

// byHand speaks to PagerDuty as a person with a key of their own would.
func (r *rig) byHand(method, path, body string) {
	r.t.Helper()
	var state struct{ Users []struct{ ID, Role string } }
	r.state(r.pagerduty, &state)
	for _, u := range state.Users {
		if u.Role == "user" || u.Role == "admin" {
			r.pagerduty.SetUserTokens(map[string]string{manual: u.ID})
			break
		}
	}
	r.as(manual, method, path, body)
}

func (r *rig) as(key, method, path, body string) {
	r.t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Token token="+key)
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	r.pagerduty.ServeHTTP(answer, request)
	require.Less(r.t, answer.Code, 300, "%s %s: %s", method, path, answer.Body.String())
}

// trail reads the whole trail through the API.
func (r *rig) trail() []*nthlayerv1.Finding {
	r.t.Helper()
	var findings []*nthlayerv1.Finding
	for f, err := range r.client.ListFindings(r.t.Context(), &nthlayerv1.ListFindingsRequest{PageSize: 1000}) {
		require.NoError(r.t, err)
		findings = append(findings, f)
	}
	return findings
}
