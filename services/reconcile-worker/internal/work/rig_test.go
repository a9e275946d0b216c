package work_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	cortexsim "github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	token = "test-token"
	team  = "payments"
)

// The team declares ann as manager, ben and cem; PagerDuty has ann and dan. To do: add ben, add cem, remove dan.
const company = `{"people":["ann","ben","cem","dan","eve"],"teams":[
	{"tag":"payments","name":"payments","org":"acme","description":"","parent":null,"previously":[],"maintainers":["ann"],"members":["ben","cem"]}]}`

// rig is a worker with a real database and simulated platforms in the test's hands.
type rig struct {
	t         *testing.T
	store     *store.Store
	db        *pgx.Conn
	cortex    *cortexsim.Server
	pagerduty *pagerdutysim.Server
	worker    *work.Worker

	mu     sync.Mutex
	before func(*http.Request) // called with each request to PagerDuty
}

func start(t *testing.T, tune func(*work.Options)) *rig { return startBy(t, "", tune) }

// startBy starts a rig that goes by the policy in a directory; "": the shipped one.
func startBy(t *testing.T, dir string, tune func(*work.Options)) *rig {
	url := testkit.Postgres(t)
	r := &rig{t: t, cortex: cortexsim.New(cortexsim.Options{Token: token}), pagerduty: pagerdutysim.New(pagerdutysim.Options{Token: token})}
	var err error
	r.store, err = store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(r.store.Close)
	r.db, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })

	o, err := org.Decode(strings.NewReader(company))
	require.NoError(t, err)
	require.NoError(t, r.cortex.LoadOrg(o))
	require.NoError(t, r.pagerduty.LoadOrg(o))
	for _, c := range []*control.Control{r.cortex.Control(), r.pagerduty.Control()} {
		c.SetLimits(control.Limits{})
	}
	r.pd("DELETE", "ben", "")
	r.pd("DELETE", "cem", "")
	r.pd("PUT", "dan", `{"role":"responder"}`)
	r.pagerduty.Control().ClearCalls()

	source := serve(t, r.cortex)
	target := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		before := r.before
		r.mu.Unlock()
		if before != nil {
			before(req)
		}
		r.pagerduty.ServeHTTP(w, req)
	}))
	quick := upstream.Config{Attempts: 2, AttemptTimeout: 2 * time.Second, Breaker: upstream.Breaker{Requests: 1000}}
	ways := []*http.Client{cortex.HTTP(quick), pagerduty.HTTP(quick)}
	t.Cleanup(func() {
		for _, w := range ways {
			w.CloseIdleConnections()
		}
	})
	platform := pagerduty.New(pagerduty.Config{BaseURL: target, Token: config.NewSecret(token), HTTP: ways[1]})
	quiet := slog.New(slog.NewTextHandler(t.Output(), nil))
	var bundle objects.Store
	if dir != "" {
		bundle, err = objects.Open(t.Context(), objects.Config{URL: dir})
		require.NoError(t, err)
	}
	guard, err := rules.Open(t.Context(), bundle, quiet)
	require.NoError(t, err)
	flow, err := reconcile.New(reconcile.Parts{
		Source: cortex.New(cortex.Config{BaseURL: source, Token: config.NewSecret(token), HTTP: ways[0]}),
		Target: platform, Applier: reconcile.Live{Writer: platform}, Links: r.store, Ignores: r.store, Guard: guard, Trail: r.store,
		Settings: reconcile.Settings{Roles: ownership.DefaultRoleMap(), CreateTeams: true, Channel: "#ops", VerifyWithin: 5 * time.Second, VerifyEvery: 10 * time.Millisecond},
	})
	require.NoError(t, err)
	events, hub := r.store.NewEventLog(quiet), r.store.NewControlHub(quiet)
	for _, loop := range []func(context.Context) error{events.Run, hub.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = loop(ctx) })
		t.Cleanup(func() { cancel(); running.Wait() })
	}
	opts := work.Options{
		Terms:       store.Terms{Owner: "worker", Lease: 30 * time.Second, PlanGoodFor: time.Minute},
		MaxAttempts: 3, Backoff: time.Millisecond, Patience: time.Hour, Attempt: time.Minute,
	}
	if tune != nil {
		tune(&opts)
	}
	r.worker = work.New(r.store, flow, events, hub, func() {}, quiet, opts)
	return r
}

func serve(t *testing.T, h http.Handler) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// onCall has the test called once, at the first request of that method whose path holds a text.
func (r *rig) onCall(method, contains string, do func()) {
	var once sync.Once
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = func(req *http.Request) {
		if req.Method == method && strings.Contains(req.URL.Path, contains) {
			once.Do(do)
		}
	}
}

// noticed waits until the worker knows what was asked of its run. It renews its lease for each piece of news, one after the
// other: when it has renewed for the second, it has taken in what came with the first.
func (r *rig) noticed(id uuid.UUID) {
	for range 2 {
		var before, now time.Time
		query := "SELECT until FROM leases WHERE job_id = $1"
		if err := r.db.QueryRow(context.Background(), query, id).Scan(&before); err != nil {
			r.t.Errorf("read the lease: %v", err)
			return
		}
		for now = before; !now.After(before); {
			// A token may be lost between two looks at the channel: it is told until it is heard.
			if _, err := r.db.Exec(context.Background(), "SELECT pg_notify('run_control', $1), pg_sleep(0.005)", id.String()); err != nil {
				r.t.Errorf("notify: %v", err)
				return
			}
			if err := r.db.QueryRow(context.Background(), query, id).Scan(&now); err != nil {
				r.t.Errorf("read the lease: %v", err)
				return
			}
		}
	}
}

// account finds somebody's account on PagerDuty, and the team's id.
func (r *rig) account(name string) (teamID, userID string) {
	r.t.Helper()
	state := r.pagerduty.State().(pagerdutysim.State)
	for _, u := range state.Users {
		if u.Email == name+"@example.org" {
			return state.Teams[0].ID, u.ID
		}
	}
	r.t.Fatalf("PagerDuty has no %s", name)
	return "", ""
}

// pd changes somebody's membership on PagerDuty as a person would.
func (r *rig) pd(method, name, body string) {
	r.t.Helper()
	teamID, userID := r.account(name)
	request := httptest.NewRequest(method, "/teams/"+teamID+"/users/"+userID, strings.NewReader(body))
	request.Header.Set("Authorization", "Token token="+token)
	answer := httptest.NewRecorder()
	r.pagerduty.ServeHTTP(answer, request)
	require.Less(r.t, answer.Code, 300, answer.Body.String())
}

// members are who is in the team on PagerDuty, with their roles.
func (r *rig) members() map[string]string {
	found := map[string]string{}
	for _, m := range r.pagerduty.State().(pagerdutysim.State).Teams[0].Members {
		name, _, _ := strings.Cut(m.Email, "@")
		found[name] = m.Role
	}
	return found
}

var declared = map[string]string{"ann": "manager", "ben": "responder", "cem": "responder"}

func (r *rig) accept() uuid.UUID {
	r.t.Helper()
	id, _, err := r.store.Accept(r.t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte("x"), TeamID: team, Request: store.Request{Source: "cortex"},
	})
	require.NoError(r.t, err)
	return id
}

// handle gives the worker a message that names the run.
func (r *rig) handle(id uuid.UUID) {
	r.t.Helper()
	require.NoError(r.t, r.worker.Handle(r.t.Context(), message(id)))
}

func message(id uuid.UUID) queue.Received {
	return queue.Received{ID: "m", Queue: "reconcile.fifo", Body: fmt.Appendf(nil, `{"job_id":%q}`, id), ReceiveCount: 1}
}

// due makes a run that was put back due at once.
func (r *rig) due() {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), "UPDATE runs SET available_at = now()")
	require.NoError(r.t, err)
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

// declare changes what the source declares, by replacing a text of the company.
func (r *rig) declare(old, now string) {
	r.t.Helper()
	changed := strings.Replace(company, old, now, 1)
	require.NotEqual(r.t, company, changed)
	o, err := org.Decode(strings.NewReader(changed))
	require.NoError(r.t, err)
	require.NoError(r.t, r.cortex.LoadOrg(o))
}

func (r *rig) run(id uuid.UUID) store.Run {
	r.t.Helper()
	run, err := r.store.Run(r.t.Context(), id)
	require.NoError(r.t, err)
	return run
}

// trail gives the run's findings in order, "action person outcome".
func (r *rig) trail(id uuid.UUID) (lines []string) {
	r.t.Helper()
	entries, err := r.store.Findings(r.t.Context(), store.FindingFilter{JobID: id, Limit: 100})
	require.NoError(r.t, err)
	for _, e := range entries {
		_, who, _ := strings.Cut(e.EntityRef, ":")
		who, _, _ = strings.Cut(who, "@")
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Action, who, e.Outcome))
	}
	return lines
}

func applied(lines []string) (found []string) {
	for _, l := range lines {
		if strings.HasSuffix(l, " applied") {
			found = append(found, l)
		}
	}
	return found
}

// told counts the messages that are to be sent.
func (r *rig) told() (n int) {
	r.t.Helper()
	require.NoError(r.t, r.db.QueryRow(r.t.Context(), "SELECT count(*) FROM deliveries").Scan(&n))
	return n
}
