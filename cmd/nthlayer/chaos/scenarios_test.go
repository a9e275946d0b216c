package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

// scenario is one way to hurt the system. The owners work meanwhile; after it the system must become quiet, and the
// checker must find nothing.
type scenario struct {
	name string
	long bool // only where there is time
	hurt func(t *testing.T, r *rig)
}

var scenarios = []scenario{
	{"nothing is wrong", false, nothing},
	{"gateway dies between commit and answer", false, gatewayDiesBeforeItAnswers},
	{"worker freezes while it reads", false, frozenReading},
	{"worker freezes while it waits for an answer", false, frozenWriting},
	{"worker freezes while it writes an outcome", false, frozenSettling},
	{"worker freezes while it seals findings", false, frozenSealing},
	{"worker freezes while it audits", false, frozenAuditing},
	{"scheduler dies and freezes", false, schedulerGoes},
	{"outcomes cannot be written", false, outcomesFail},
	{"PostgreSQL is restarted", false, func(t *testing.T, r *rig) { databaseRestarts(t, r, false) }},
	{"PostgreSQL crashes", false, func(t *testing.T, r *rig) { databaseRestarts(t, r, true) }},
	{"worker is cut off from PostgreSQL", false, cableIsCut},
	{"Redis forgets, goes and comes back", false, redisGoes},
	{"SQS loses its memory", false, queueForgets},
	{"SQS breaks its promises", false, queueLies},
	{"answers of writes are lost", false, answersLost},
	{"platforms fail in every way", false, platformsFail},
	{"PagerDuty's reads are stale", false, staleReads},
	{"workers are told to stop", false, workersStop},
	{"workers that cannot finish are told to stop", true, workersStopUnfinished},
	{"Slack fails", false, slackFails},
	{"platforms do not answer in time", true, platformsHang},
	{"the quota is small", true, smallQuota},
}

func nothing(t *testing.T, r *rig) {
	r.load.work()
	pause(t.Context(), 5*time.Second)
}

// job reads a run.
func (r *rig) job(t *testing.T, id string) job {
	t.Helper()
	j := job{id: id}
	ctx := within(t, 30*time.Second)
	require.NoError(t, until(ctx, "the database answers", func(ctx context.Context) (bool, error) {
		return true, r.query(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT team_id, status, error_reason, attempt FROM runs WHERE job_id = $1", id).Scan(&j.team, &j.status, &j.reason, &j.attempt)
		})
	}))
	return j
}

// gatewayDiesBeforeItAnswers holds the database's answers to a gateway back, and kills it when the run is committed. The
// client asks the other one with the same key: there is one run, and the client knows it.
func gatewayDiesBeforeItAnswers(t *testing.T, r *rig) {
	r.load.work()
	for n := range 3 {
		ctx := within(t, time.Minute)
		team, key := tag(loadTeams+4), fmt.Sprintf("lost-answer-%d-%d", r.seed, n)
		r.awaitServing(t, 1)
		release := r.dam.hold(key)
		answered := make(chan error, 1)
		go func() { _, err := r.load.post(ctx, 1, team, key); answered <- err }()
		committed := until(ctx, "the run is committed", r.holds("SELECT EXISTS (SELECT FROM runs WHERE idempotency_key = $1)", key))
		r.kill(t, "gateway-2")
		release()
		require.NoError(t, committed)
		require.Error(t, <-answered, "the gateway was killed before it could answer")
		var job string
		require.NoError(t, until(ctx, "the other gateway answers", func(ctx context.Context) (done bool, err error) {
			job, err = r.load.post(ctx, 0, team, key)
			return err == nil, err
		}))
		var runs []string
		require.NoError(t, r.query(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, "SELECT job_id::text FROM runs WHERE idempotency_key = $1", key)
			if err != nil {
				return err
			}
			runs, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}))
		require.Equal(t, []string{job}, runs)
	}
}

// cableIsCut parts one worker from the database, for less and for more than a lease. What it was doing somebody else ends.
func cableIsCut(t *testing.T, r *rig) {
	r.load.work()
	for _, d := range []time.Duration{lease / 2, 2 * lease} {
		pause(t.Context(), time.Second)
		r.note("worker cut off")
		mend := r.cable.close()
		pause(t.Context(), d)
		mend()
	}
}

// prepare drifts a team of the scenarios in three ways: two are missing, and one has another role.
func (r *rig) prepare(t *testing.T, team string) (path string) {
	t.Helper()
	state, _ := r.observed(team)
	require.Len(t, state.Members, 5, "team %s is as declared before the scenario", team)
	path = "/teams/" + state.ID
	require.NoError(t, r.act(t.Context(), http.MethodDelete, path+"/users/"+state.Members[1].UserID, ""))
	require.NoError(t, r.act(t.Context(), http.MethodDelete, path+"/users/"+state.Members[2].UserID, ""))
	require.NoError(t, r.act(t.Context(), http.MethodPut, path+"/users/"+state.Members[0].UserID, `{"role":"observer"}`))
	return path
}

// zombie freezes the worker that work on a team leads to, has another one finish, and lets the frozen one go on. What it
// must not do then, the checker knows: write.
func (r *rig) zombie(t *testing.T, team string, catch func(ctx context.Context) (worker string, letGo func())) (worker, job string) {
	t.Helper()
	ctx := within(t, time.Minute)
	o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.random64(), 0))}
	key := fmt.Sprintf("frozen-%016x", o.random.Uint64())
	id, err := o.accept(ctx, team, key)
	require.NoError(t, err)
	worker, letGo := catch(ctx)
	r.note("SIGSTOP worker")
	require.NoError(t, r.system.Service(worker).Signal(syscall.SIGSTOP))
	letGo()
	ended := o.end(ctx, id)
	require.NoError(t, r.system.Service(worker).Signal(syscall.SIGCONT))
	require.NoError(t, ended)
	require.Equal(t, "succeeded", r.job(t, id).status)
	look, err := r.sources.Look(ctx, id, team)
	require.NoError(t, err)
	require.Equal(t, look.Want, look.Have)
	return worker, id
}

const fencedOff = "lost to another worker"

// awaitLog waits until a process has said something about a run.
func (r *rig) awaitLog(t *testing.T, process, job, message string) {
	t.Helper()
	require.NoError(t, until(within(t, 30*time.Second), process+" says "+message, func(context.Context) (bool, error) {
		n, err := r.said(process, job, message)
		return n > 0, err
	}))
}

// said counts how often a process has said something about a run or an audit; empty: any.
func (r *rig) said(process, id, message string) (n int, err error) {
	content, err := os.ReadFile(filepath.Join(r.logs, process+".log"))
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := lines.Text(); strings.Contains(text, id) && strings.Contains(text, message) {
			n++
		}
	}
	return n, lines.Err()
}

func frozenReading(t *testing.T, r *rig) {
	r.load.work()
	team := tag(60)
	path := r.prepare(t, team)
	h := r.gates.hold(http.MethodGet, path, false) // which no audit asks for
	worker, job := r.zombie(t, team, func(ctx context.Context) (string, func()) {
		worker, err := h.await(ctx)
		require.NoError(t, err)
		return worker, h.letGo
	})
	r.awaitLog(t, worker, job, fencedOff)
}

func frozenWriting(t *testing.T, r *rig) {
	r.load.work()
	for i, after := range []bool{false, true} {
		team := tag(61 + i)
		path := r.prepare(t, team)
		h := r.gates.hold(http.MethodPut, path+"/users/*", after)
		worker, job := r.zombie(t, team, func(ctx context.Context) (string, func()) {
			worker, err := h.await(ctx)
			require.NoError(t, err)
			return worker, h.letGo
		})
		r.awaitLog(t, worker, job, fencedOff)
	}
}

// frozenSettling freezes a worker after the outcome of its first change is written and before it knows. When it wakes up,
// everything it has asked for says that it may go on; only its lease is another's.
func frozenSettling(t *testing.T, r *rig) {
	r.load.work()
	worker, job := r.frozenInDatabase(t, tag(60), 4711)
	r.awaitLog(t, worker, job, fencedOff)
}

// frozenSealing freezes a worker in the transaction that holds the head of the trail, for which all others wait. The
// database must put an end to that.
func frozenSealing(t *testing.T, r *rig) {
	r.load.work()
	r.frozenInDatabase(t, tag(67), 4712)
}

// frozenInDatabase freezes the worker whose statement waits for an advisory lock, and lets go of the lock.
func (r *rig) frozenInDatabase(t *testing.T, team string, lock int) (worker, job string) {
	t.Helper()
	r.prepare(t, team)
	holder, err := pgx.Connect(t.Context(), r.sources.Database)
	require.NoError(t, err)
	defer holder.Close(context.WithoutCancel(t.Context()))
	_, err = holder.Exec(t.Context(), "SELECT pg_advisory_lock($1)", lock)
	require.NoError(t, err)
	return r.zombie(t, team, func(ctx context.Context) (worker string, letGo func()) {
		require.NoError(t, until(ctx, "somebody waits for the lock", func(ctx context.Context) (bool, error) {
			err := r.query(ctx, func(conn *pgx.Conn) error {
				return conn.QueryRow(ctx, `SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
					WHERE l.locktype = 'advisory' AND NOT l.granted`).Scan(&worker)
			})
			return err == nil, err
		}))
		return worker, func() { require.NoError(t, holder.Close(ctx)) }
	})
}

// outcomesFail has PagerDuty take changes whose outcomes cannot be written then. Whether the run gets over it or fails, the
// trail must not say otherwise than what happened.
func outcomesFail(t *testing.T, r *rig) {
	r.load.work()
	for n, team := range []string{tag(63), tag(65), tag(66)} {
		r.prepare(t, team)
		require.NoError(t, r.failOutcomes(t.Context(), n+1, team))
		t.Logf("%+v", r.reconcileAll(t, team)[team])
	}
	require.NoError(t, r.failOutcomes(t.Context(), 5, ""))
	require.NoError(t, until(within(t, 30*time.Second), "five more have failed", r.holds("SELECT last_value >= until FROM chaos_outcomes, chaos_fail")))
}

// failOutcomes has the next so many writes of a change's outcome fail, of a team or of any, after PagerDuty took the change.
func (r *rig) failOutcomes(ctx context.Context, n int, team string) error {
	r.note("outcome not written")
	return r.exec(ctx, "UPDATE chaos_fail SET until = (SELECT last_value FROM chaos_outcomes) + $1, team = $2", n, team)
}

func databaseRestarts(t *testing.T, r *rig, crash bool) {
	r.load.work()
	for _, down := range []time.Duration{0, time.Second} {
		pause(t.Context(), time.Second)
		r.restartDatabase(t, crash, down)
	}
	pause(t.Context(), time.Second)
}

func (r *rig) restartDatabase(t *testing.T, crash bool, down time.Duration) {
	t.Helper()
	what := "PostgreSQL restarted"
	if crash {
		what = "PostgreSQL crashed"
	}
	r.note(what)
	require.NoError(t, r.database.restart(context.WithoutCancel(t.Context()), crash, down))
}

func redisGoes(t *testing.T, r *rig) {
	r.load.work()
	for range 3 {
		r.note("Redis flushed")
		r.redis.flush()
		pause(t.Context(), 300*time.Millisecond)
	}
	r.note("Redis down")
	require.NoError(t, r.redis.down(t.Context(), 3*time.Second))
	pause(t.Context(), time.Second)
}

func queueForgets(t *testing.T, r *rig) {
	r.load.work()
	for _, down := range []time.Duration{0, 2 * time.Second} {
		pause(t.Context(), time.Second)
		r.loseQueue(t, down)
	}
	pause(t.Context(), time.Second)
}

func (r *rig) loseQueue(t *testing.T, down time.Duration) {
	t.Helper()
	r.note("SQS lost its memory")
	require.NoError(t, r.sqs.lose(context.WithoutCancel(t.Context()), down))
	require.NoError(t, r.age(t.Context()))
}

var queueFaults = map[string]sqs.Fault{
	"SQS duplicates":                    {Action: "SendMessageBatch", Duplicate: true},
	"SQS reorders":                      {Action: "ReceiveMessage", Reorder: true},
	"SQS ends visibility early":         {Action: "ReceiveMessage", ExpireMS: 150},
	"SQS loses the answer of a send":    {Action: "SendMessageBatch", LoseAnswer: true},
	"SQS loses the answer of a receive": {Action: "ReceiveMessage", LoseAnswer: true},
	"SQS loses the answer of a delete":  {Action: "DeleteMessageBatch", LoseAnswer: true},
	"SQS fails":                         {Action: "*", Status: http.StatusInternalServerError},
	"SQS fails in part":                 {Action: "SendMessageBatch", FailEntries: []int{0}},
}

func queueLies(t *testing.T, r *rig) {
	for what := range queueFaults {
		r.hurtQueue(what, 12)
	}
	r.load.work()
	pause(t.Context(), 8*time.Second)
}

func (r *rig) hurtQueue(what string, times int) {
	r.note(what)
	f := queueFaults[what]
	f.Times = times
	r.sqs.inject(f)
}

// platformFaults are what Cortex and PagerDuty do, each for some requests of the workers.
var platformFaults = map[string]control.Fault{
	"500":         {Status: http.StatusInternalServerError},
	"502":         {Status: http.StatusBadGateway, Body: json.RawMessage(`"<html>bad gateway</html>"`)},
	"429":         {Status: http.StatusTooManyRequests},
	"reset":       {Drop: true},
	"half a body": {Truncate: 20},
	"drip":        {Drip: 400},
	"late":        {DelayMS: 1500},
	"lost":        {Drop: true, After: true},
	"lying":       {Status: http.StatusServiceUnavailable, After: true},
}

// hurtPlatform has a fault meet the next so many requests of workers.
func (r *rig) hurtPlatform(t *testing.T, c *control.Control, match, kind string, times int) {
	t.Helper()
	f := platformFaults[kind]
	f.Match, f.Times, f.Via = match, times, "reconcile-worker*"
	if c == r.cortex.Control() {
		f.Via = "" // all who ask Cortex are workers
	}
	require.NoError(t, c.Inject(f))
}

func answersLost(t *testing.T, r *rig) {
	r.load.work()
	for _, match := range []string{"PUT /teams/*/users/*", "DELETE /teams/*/users/*", "PUT /teams/*", "POST /teams"} {
		r.hurtPlatform(t, r.pagerduty.Control(), match, "lost", 4)
		r.hurtPlatform(t, r.pagerduty.Control(), match, "lying", 4)
	}
	// Whatever else is asked of it, a team that is missing is created.
	var teams []string
	for i := 64; i < allTeams; i++ {
		teams = append(teams, tag(i))
		state, _ := r.observed(tag(i))
		require.NoError(t, r.act(t.Context(), http.MethodDelete, "/teams/"+state.ID, ""))
	}
	for team, j := range r.reconcileAll(t, teams...) {
		if j.status == "failed" { // creating is the one call that nobody may repeat blindly; the next run finds what there is
			t.Logf("%s: %+v", team, j)
		}
	}
	pause(t.Context(), 4*time.Second)
	r.heal()
	for team, j := range r.reconcileAll(t, teams...) {
		require.Equal(t, "succeeded", j.status, "%s: %+v", team, j)
	}
}

func platformsFail(t *testing.T, r *rig) {
	r.load.work()
	for kind := range platformFaults {
		for _, match := range []string{"GET *", "PUT *", "DELETE *"} {
			r.hurtPlatform(t, r.pagerduty.Control(), match, kind, 2)
		}
		r.hurtPlatform(t, r.cortex.Control(), "GET *", kind, 2)
	}
	pause(t.Context(), 10*time.Second)
}

func staleReads(t *testing.T, r *rig) {
	r.stale(1500 * time.Millisecond)
	r.load.work()
	pause(t.Context(), 5*time.Second)
	r.kill(t, workers[0])
	pause(t.Context(), 3*time.Second)
	r.load.rest(t) // before the reads are fresh again
}

// workersStop asks each worker to stop, as a deployment does. A run that is under way ends, or goes on elsewhere; none of
// its attempts is used up.
func workersStop(t *testing.T, r *rig) {
	r.load.rest(t)
	var before time.Time
	require.NoError(t, r.query(t.Context(), func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), "SELECT now()").Scan(&before) }))
	limits := r.pagerduty.Control().Limits()
	limits.LatencyMS = 60
	r.pagerduty.Control().SetLimits(limits)
	r.load.work()
	for _, name := range workers {
		pause(t.Context(), time.Second)
		r.terminate(t, name)
	}
	limits.LatencyMS = 0
	r.pagerduty.Control().SetLimits(limits)
	r.load.rest(t)
	r.expectOneAttempt(t, before)
}

func (r *rig) expectOneAttempt(t *testing.T, since time.Time) {
	t.Helper()
	var runs, more int
	require.NoError(t, r.query(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT count(*), count(*) FILTER (WHERE attempt > 1) FROM runs WHERE created_at > $1", since).Scan(&runs, &more)
	}))
	require.NotZero(t, runs)
	require.Zero(t, more, "of %d runs so many used up more than one attempt", runs)
}

// workersStopUnfinished stops a worker whose run hangs on PagerDuty for longer than the worker may take to stop.
func workersStopUnfinished(t *testing.T, r *rig) {
	r.load.rest(t)
	ctx := within(t, 90*time.Second)
	team := tag(62)
	path := r.prepare(t, team)
	h := r.gates.hold(http.MethodPut, path+"/users/*", false)
	o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.random64(), 0))}
	id, err := o.accept(ctx, team, fmt.Sprintf("hangs-%016x", o.random.Uint64()))
	require.NoError(t, err)
	worker, err := h.await(ctx)
	require.NoError(t, err)
	r.load.work()
	r.terminate(t, worker)
	require.NoError(t, o.end(ctx, id))
	h.letGo()
	j := r.job(t, id)
	require.Equal(t, "succeeded", j.status)
	require.Equal(t, 1, j.attempt, "being stopped is no attempt")
}

func slackFails(t *testing.T, r *rig) {
	r.load.work()
	for _, f := range []control.Fault{
		{Status: 500, Times: 3}, {Status: 429, Times: 3}, {Drop: true, Times: 2}, {Drop: true, After: true, Times: 3}, {Truncate: 10, Times: 1},
	} {
		f.Match = "POST /api/chat.postMessage"
		require.NoError(t, r.slack.Control().Inject(f))
	}
	pause(t.Context(), 3*time.Second)
	r.kill(t, notifiers[0])
	pause(t.Context(), time.Second)
	r.kill(t, notifiers[1])
	pause(t.Context(), 2*time.Second)
}

// platformsHang has PagerDuty answer later than anybody waits, whole answers and drops of them.
func platformsHang(t *testing.T, r *rig) {
	for _, f := range []control.Fault{
		{Match: "PUT /teams/*/users/*", DelayMS: 25_000, Times: 2}, {Match: "GET /teams/*/members", Drip: 10, Times: 2}, {Match: "GET /teams/*", DelayMS: 25_000, Times: 1},
	} {
		f.Via = "reconcile-worker*"
		require.NoError(t, r.pagerduty.Control().Inject(f))
	}
	r.load.work()
	pause(t.Context(), 25*time.Second)
}

// smallQuota gives all workers together 1,200 requests a minute, and work for more: nobody is refused.
func smallQuota(t *testing.T, r *rig) {
	r.load.rest(t)
	const perMinute = 1200
	limits := r.pagerduty.Control().Limits()
	var teams []string
	for i := range loadTeams {
		teams = append(teams, tag(i))
	}
	limits.PerMinute = perMinute
	r.pagerduty.Control().SetLimits(limits)
	begun := time.Now()
	calls := len(r.pagerduty.Control().Calls().Calls)
	for time.Since(begun) < 50*time.Second {
		for team, j := range r.reconcileAll(t, teams...) {
			require.Equal(t, "succeeded", j.status, "%s: %+v", team, j)
		}
	}
	calls = len(r.pagerduty.Control().Calls().Calls) - calls
	t.Logf("%d calls in %s, of %d a minute", calls, time.Since(begun).Round(time.Second), perMinute)
	limits.PerMinute = plenty
	r.pagerduty.Control().SetLimits(limits)
	// The workers learn the new quota from the next answers.
	r.reconcileAll(t, teams[:10]...)
}

// awaitServing waits until a gateway answers.
func (r *rig) awaitServing(t *testing.T, gateway int) {
	t.Helper()
	require.NoError(t, until(within(t, 30*time.Second), "the gateway serves", func(ctx context.Context) (bool, error) {
		var page struct{}
		status, err := r.load.call(ctx, gateway, http.MethodGet, "/v1/runs?page_size=1", "", nil, &page)
		return status == http.StatusOK, err
	}))
}

// holds asks the database a question that has a yes or no.
func (r *rig) holds(sql string, args ...any) func(context.Context) (bool, error) {
	return func(ctx context.Context) (yes bool, err error) {
		err = r.query(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&yes) })
		return yes, err
	}
}

// kill ends a process at once, and waits until the next one runs.
func (r *rig) kill(t *testing.T, name string) {
	t.Helper()
	r.end(t, name, syscall.SIGKILL)
}

// terminate asks a process to stop, and waits until the next one runs.
func (r *rig) terminate(t *testing.T, name string) {
	t.Helper()
	r.end(t, name, syscall.SIGTERM)
}

// serviceOf is what a process is, whichever of several.
func serviceOf(name string) string {
	for _, service := range []string{"worker", "notifier", "gateway", "scheduler"} {
		if strings.Contains(name, service) {
			return service
		}
	}
	return name
}

func (r *rig) end(t *testing.T, name string, sig syscall.Signal) {
	t.Helper()
	r.note(map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL ", syscall.SIGTERM: "SIGTERM "}[sig] + serviceOf(name))
	child := r.system.Service(name)
	ctx := within(t, time.Minute)
	lives := child.Lives()
	require.NoError(t, child.AwaitLife(ctx, lives))
	require.NoError(t, child.Signal(sig))
	require.NoError(t, child.AwaitLife(ctx, lives+1))
}
