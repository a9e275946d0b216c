package controls

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	credential = "controls-credential"
	lease      = 2 * time.Second
	soon       = 40 * time.Second // for what must happen; nothing takes a quarter of it on an idle machine
	askEvery   = 20 * time.Millisecond
)

func TestMain(m *testing.M) { testkit.Main(m) }

// programs builds the services and the command from which protections can be taken away, once for all tests. They stay
// beside the ordinary ones, so that the next time there is nothing to link.
var programs = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "seams")
	build := exec.Command("go", "build", "-tags", "seams", "-o", dir+"/",
		"./cmd/nthlayer", "./services/gateway", "./services/reconcile-worker", "./services/audit-scheduler", "./services/notifier")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with the tag seams: %w\n%s", err, out)
	}
	return dir, nil
})

// few is how many systems there are at a time, however many processors: all share one PostgreSQL server.
var few = make(chan struct{}, 4)

// setup is what a scenario wants of its system.
type setup struct {
	org     *org.Org
	workers int
	env     []string // of every service
	off     []string // the protections that are taken away
}

// rig is a running system with the platforms in the test's hands.
type rig struct {
	t         *testing.T
	bin       string
	seams     string // the environment in which the protections are off
	system    *system.System
	info      system.Info
	client    *client.Client
	cortex    *cortex.Server
	pagerduty *pagerduty.Server
	slack     *slack.Server
	gate      *gate // before PagerDuty
	database  string
}

// start brings up a system of its own, beside those of other tests.
func start(t *testing.T, s setup) *rig {
	t.Helper()
	t.Parallel()
	few <- struct{}{}
	t.Cleanup(func() { <-few })
	bin, err := programs()
	require.NoError(t, err)
	r := &rig{
		t: t, bin: bin, seams: "NTHLAYER_SEAMS=" + strings.Join(s.off, ","),
		cortex:    cortex.New(cortex.Options{Token: credential}),
		pagerduty: pagerduty.New(pagerduty.Options{Token: credential}),
		slack:     slack.New(slack.Options{Token: credential}),
		database:  testkit.Postgres(t),
	}
	for _, platform := range []interface {
		LoadOrg(*org.Org) error
		Control() *control.Control
	}{r.cortex, r.pagerduty, r.slack} {
		require.NoError(t, platform.LoadOrg(s.org))
		platform.Control().SetLimits(control.Limits{})
	}
	r.gate = &gate{platform: r.pagerduty}
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	env := append([]string{
		"NTHLAYER_CREATE_TEAMS=true", "NTHLAYER_LEASE=" + lease.String(), "NTHLAYER_RETRY_AFTER=1ms",
		"NTHLAYER_CORTEX_PER_MINUTE=1000000", "NTHLAYER_PAGERDUTY_PER_MINUTE=1000000", "NTHLAYER_RATE_PER_MINUTE=1000000", r.seams,
	}, s.env...)
	r.system, err = system.Start(t.Context(), system.Config{
		StateDir: filepath.Join(t.TempDir(), "state"), BinDir: bin, Workers: s.workers,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Outside: system.Outside{
			CortexURL: serve(r.cortex), PagerDutyURL: serve(r.pagerduty), SlackURL: serve(r.slack) + "/api/",
			CortexToken: config.NewSecret(credential), PagerDutyToken: config.NewSecret(credential), SlackToken: config.NewSecret(credential),
			DatabaseURL: config.NewSecret(r.database),
		},
		// Each process has a way of its own to PagerDuty, which tells who made a call.
		ServiceEnv: func(name string) []string {
			return slices.Concat(env, []string{"NTHLAYER_PAGERDUTY_URL=" + serve(control.Via(name, r.gate))})
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
	r.client, err = client.New(r.info.GRPC, client.WithPlaintext(), client.WithToken(client.StaticToken(r.info.Token)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	return r
}

func (r *rig) showLogs() {
	for _, name := range []string{"gateway", worker, secondWorker, "notifier"} {
		if child := r.system.Service(name); child != nil {
			content, _ := os.ReadFile(child.Log())
			r.t.Logf("%s:\n%s", name, content[max(len(content)-6000, 0):])
		}
	}
}

const (
	worker       = "reconcile-worker"
	secondWorker = "reconcile-worker-2"

	reconcileQueue = "reconcile.fifo"
)

// organisation is one in order, of so many teams of five.
func organisation(teams int) *org.Org {
	o := &org.Org{PagerDuty: org.Drift{Teams: map[string]org.TeamDrift{}}}
	for i := range teams + 4 {
		o.People = append(o.People, org.Person{Handle: person(i)})
	}
	for i := range teams {
		o.Teams = append(o.Teams, org.Team{
			Tag: tag(i), Name: tag(i), Org: "acme", Maintainers: []string{person(i)},
			Members: []string{person(i + 1), person(i + 2), person(i + 3), person(i + 4)},
		})
	}
	return o
}

func tag(i int) string      { return fmt.Sprintf("team-%02d", i) }
func fullName(i int) string { return "acme/" + tag(i) } // on both sides
func person(i int) string   { return fmt.Sprintf("person-%02d", i) }

// accept has a run of the team accepted.
func (r *rig) accept(team string) (job string) {
	r.t.Helper()
	job, err := r.client.Reconcile(r.t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: team})
	require.NoError(r.t, err)
	return job
}

// end waits for a run to end.
func (r *rig) end(job string) *nthlayerv1.Run {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), soon)
	defer cancel()
	run, err := r.client.Wait(ctx, job)
	require.NoError(r.t, err)
	return run
}

// reconcile is a run from its beginning to its end.
func (r *rig) reconcile(team string) *nthlayerv1.Run {
	r.t.Helper()
	return r.end(r.accept(team))
}

// status is where a run is now.
func (r *rig) status(job string) string {
	r.t.Helper()
	run, err := r.client.Runs.GetRun(r.t.Context(), &nthlayerv1.GetRunRequest{JobId: job})
	require.NoError(r.t, err)
	return run.GetStatus()
}

// teams are those of a name on PagerDuty.
func (r *rig) teams(name string) (teams []pagerduty.TeamState) {
	for _, team := range r.pagerduty.State().(pagerduty.State).Teams {
		if team.Name == name {
			teams = append(teams, team)
		}
	}
	return teams
}

// members are the addresses of those who are on a team on PagerDuty.
func (r *rig) members(name string) (addresses []string) {
	r.t.Helper()
	teams := r.teams(name)
	require.Len(r.t, teams, 1, name)
	for _, m := range teams[0].Members {
		addresses = append(addresses, m.Email)
	}
	return addresses
}

// kill ends the worker at once and waits for the next one.
func (r *rig) kill() {
	r.t.Helper()
	child := r.system.Service(worker)
	ctx, cancel := context.WithTimeout(r.t.Context(), soon)
	defer cancel()
	lives := child.Lives()
	require.NoError(r.t, child.Signal(syscall.SIGKILL))
	require.NoError(r.t, child.AwaitLife(ctx, lives+1))
}

// takeDown ends a process at once and keeps it down until it is released.
func (r *rig) takeDown(name string) {
	r.t.Helper()
	child := r.system.Service(name)
	ctx, cancel := context.WithTimeout(r.t.Context(), soon)
	defer cancel()
	child.Hold()
	require.NoError(r.t, child.Signal(syscall.SIGKILL))
	require.NoError(r.t, child.AwaitDown(ctx))
}

// await waits until the gate holds a request.
func (r *rig) await(reached <-chan struct{}) {
	r.t.Helper()
	select {
	case <-reached:
	case <-time.After(soon):
		require.FailNow(r.t, "nothing came to the gate")
	}
}

// queued counts the messages of runs in the queue.
func (r *rig) queued() int {
	r.t.Helper()
	var state sqs.State
	r.askSQS(http.MethodGet, "state", &state)
	require.Contains(r.t, state.Queues, reconcileQueue)
	q := state.Queues[reconcileQueue]
	return q.Visible + q.InFlight
}

// askSQS shows something of the SQS endpoint, or has it forgotten.
func (r *rig) askSQS(method, what string, into any) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.info.SQS+"/_control/"+what, http.NoBody)
	require.NoError(r.t, err)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(r.t, err)
	defer answer.Body.Close()
	require.Less(r.t, answer.StatusCode, 300)
	if into != nil {
		require.NoError(r.t, json.NewDecoder(answer.Body).Decode(into))
	}
}

// connect gives a connection to the database, with every right.
func (r *rig) connect() *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.database)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, conn.Close(context.WithoutCancel(r.t.Context()))) })
	return conn
}

// ask reads one row.
func ask(t *testing.T, conn *pgx.Conn, sql string, into ...any) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(into...))
}

// holds asks the database a question that has a yes or no.
func holds(t *testing.T, conn *pgx.Conn, sql string) func() bool {
	return func() (yes bool) { ask(t, conn, sql, &yes); return yes }
}

// do executes statements in one transaction.
func do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// within asks until something is so, for as long as d, and says whether it came to be.
func within(t *testing.T, d time.Duration, so func() bool) bool {
	t.Helper()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		if so() {
			return true
		}
		select {
		case <-tick.C:
		case <-late.C:
			return false
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

// until waits for what must come to be.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	require.True(t, within(t, soon, so), "not within %s: %s", soon, what)
}

// gate stands before PagerDuty. It can hold a request after it took effect, until the caller is gone.
type gate struct {
	platform http.Handler
	mu       sync.Mutex
	match    string // method and path of the request to hold; empty: none
	reached  chan struct{}
}

// hold catches the next such request; the channel is closed when it has taken effect.
func (g *gate) hold(match string) (reached <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.match, g.reached = match, make(chan struct{})
	return g.reached
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	held := g.match == r.Method+" "+r.URL.Path
	if held {
		g.match = ""
	}
	g.mu.Unlock()
	if !held {
		g.platform.ServeHTTP(w, r)
		return
	}
	g.platform.ServeHTTP(httptest.NewRecorder(), r) // reads the body: before that, nobody notices that the caller is gone
	close(g.reached)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}
