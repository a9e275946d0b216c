package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	cortexsim "github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/trail"
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

func start(t *testing.T, tune func(*work.Options)) *rig {
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
	flow, err := reconcile.New(reconcile.Parts{
		Source: cortex.New(cortex.Config{BaseURL: source, Token: config.NewSecret(token), HTTP: ways[0]}),
		Target: platform, Applier: reconcile.Live{Writer: platform}, Links: r.store, Guard: policy.Limits{RemovalFloor: 3},
		Settings: reconcile.Settings{Roles: ownership.DefaultRoleMap(), CreateTeams: true, Channel: "#ops", VerifyWithin: 5 * time.Second, VerifyEvery: 10 * time.Millisecond},
	})
	require.NoError(t, err)
	quiet := slog.New(slog.NewTextHandler(t.Output(), nil))
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

func TestHandle_Whole_MakesTheTeamTrue(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{"add_member ben applied", "add_member cem applied", "remove_member dan applied"}, r.trail(id))
	r.handle(id) // the queue delivers at least once
	require.Len(t, r.trail(id), 3)
}

func TestHandle_CanceledInTheMiddle_StopsBetweenTwoChangesAndSaysWhatWasDone(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("PUT", "/users/", func() {
		_, err := r.store.Cancel(t.Context(), id, "bob", "wrong team")
		require.NoError(t, err)
		r.noticed(id)
	})
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Canceled, run.Status)
	require.Equal(t, "canceled by bob: wrong team", run.ErrorMessage)
	require.Equal(t, []string{"add_member ben applied", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	require.Contains(t, r.members(), "dan")
}

func applied(lines []string) (found []string) {
	for _, l := range lines {
		if strings.HasSuffix(l, " applied") {
			found = append(found, l)
		}
	}
	return found
}

func TestHandle_CanceledBeforeItsClaim_DoesNothing(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	// It was begun once and deferred, so it is the worker that ends it.
	claim, err := r.store.Claim(t.Context(), id, store.Terms{Owner: "w", Lease: time.Minute})
	require.NoError(t, err)
	require.NoError(t, claim.Defer(t.Context(), store.Postponement{Delay: time.Hour}))
	_, err = r.store.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Canceled, r.run(id).Status)
	require.Empty(t, r.pagerduty.Control().Calls().Calls)
}

func TestHandle_PausedInTheMiddle_WaitsAndGoesOn(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("PUT", "/users/", func() {
		_, err := r.store.PauseTeam(t.Context(), team, "bob", "incident 7", time.Hour)
		require.NoError(t, err)
		r.noticed(id)
	})
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Queued, run.Status)
	require.Equal(t, "TEAM_PAUSED", run.ErrorReason)
	require.Zero(t, run.Attempt, "a pause is no attempt")
	require.Greater(t, time.Until(run.AvailableAt), 50*time.Minute)
	require.NotEqual(t, declared, r.members())
	r.handle(id) // a message that comes early
	require.Equal(t, store.Queued, r.run(id).Status)

	require.NoError(t, r.store.ResumeTeam(t.Context(), team))
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Len(t, applied(r.trail(id)), 3)
}

func TestHandle_Poison_IsKeptAndShown(t *testing.T) {
	r := start(t, nil)
	bodies := []string{"", "{", `{}`, `{"job_id":7}`, `{"job_id":"x"}`, `{"job_id":"` + uuid.NewString() + `"}`}
	for i, body := range bodies {
		require.NoError(t, r.worker.Handle(t.Context(), queue.Received{ID: fmt.Sprint(i), Body: []byte(body), ReceiveCount: 1}))
	}
	id := r.accept()
	live, err := json.Marshal(map[string]string{"job_id": id.String()})
	require.NoError(t, err)
	require.NoError(t, r.worker.HandleDead(t.Context(), queue.Received{ID: "live", Body: live}))
	require.NoError(t, r.worker.HandleDead(t.Context(), queue.Received{ID: "dead", Body: []byte("nonsense")}))
	letters, err := r.store.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, letters, len(bodies)+1, "a run that lives is announced again, not buried")
}

func TestHandle_FailsInEveryAttempt_IsDeadLetteredAndMayLiveAgain(t *testing.T) {
	r := start(t, nil)
	require.NoError(t, r.cortex.Control().Inject(control.Fault{Match: "GET /api/v1/teams/*", Status: 200, Body: json.RawMessage(`{}`)}))
	id := r.accept()
	for attempt := 1; attempt <= 3; attempt++ {
		require.Equal(t, store.Queued, r.run(id).Status)
		r.due()
		r.handle(id)
	}
	run := r.run(id)
	require.Equal(t, store.DeadLettered, run.Status)
	require.Equal(t, 3, run.Attempt)
	require.Equal(t, "SOURCE_INCOMPLETE", run.ErrorReason)
	letter, err := r.store.DeadLetter(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, run.ErrorMessage, letter.Error)
	require.Zero(t, r.pagerduty.Control().Calls().Writes)

	r.cortex.Control().ClearFaults()
	_, err = r.store.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
}

func TestHandle_RefusedForGood_FailsAtOnce(t *testing.T) {
	r := start(t, nil)
	require.NoError(t, r.cortex.Control().Inject(control.Fault{Match: "GET /api/v1/teams/*", Status: 401}))
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Failed, r.run(id).Status)
	require.Equal(t, 1, r.run(id).Attempt)
	require.Equal(t, "SOURCE_CREDENTIAL_REFUSED", r.run(id).ErrorReason)
}

// Whoever mistypes a team's id finds no such team in the list afterwards. One that is known, and gone, is not compared.
func TestHandle_NoSuchTeam_DoesNotBecomeOne(t *testing.T) {
	r := start(t, nil)
	require.NoError(t, r.store.Declare(t.Context(), []ownership.Desired{{TeamID: "gone"}}))
	for _, name := range []string{"mistyped", "gone"} {
		id, _, err := r.store.Accept(t.Context(), store.NewRun{Principal: "alice", RequestHash: []byte("x"), TeamID: name, Request: store.Request{Source: "cortex"}})
		require.NoError(t, err)
		r.handle(id)
		require.Equal(t, "SOURCE_TEAM_NOT_FOUND", r.run(id).ErrorReason)
	}
	teams, err := r.store.Teams(t.Context(), store.TeamFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, teams, 1)
	require.Equal(t, "gone", teams[0].TeamID)
	require.Equal(t, ownership.Unknown, teams[0].SyncStatus)
}

// PagerDuty takes a change and PostgreSQL does not take its outcome: the change is found done, and stands once.
func TestHandle_OutcomeCannotBeWritten_IsLookedForNotRepeated(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	_, err := r.db.Exec(t.Context(), `
		CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM changes WHERE outcome IS NOT NULL) = 1 AND NOT EXISTS (SELECT FROM tripped) THEN
				PERFORM dblink_free(); -- there is no such function: an error that nobody knows
			END IF;
			RETURN NEW;
		END $$;
		CREATE TABLE tripped (at timestamptz);
		CREATE TRIGGER trip BEFORE UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION trip()`)
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status, "what nobody understands is tried again")
	require.Equal(t, 1, r.run(id).Attempt)
	_, err = r.db.Exec(t.Context(), "INSERT INTO tripped VALUES (now())")
	require.NoError(t, err)
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{"add_member ben applied", "add_member cem applied", "remove_member dan applied"}, r.trail(id))
	require.Equal(t, 3, r.pagerduty.Control().Calls().Writes, "no change was made twice")
}

// PagerDuty takes a change, its answer is lost, and PagerDuty stays away until the run is given up: nobody can know. The
// trail says so, and when the run lives again it says what had become of it.
func TestHandle_NobodyCanKnow_TrailSaysSo_AndSettlesItLater(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(
		control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true},
	))
	r.onCall("PUT", "/users/", func() {
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 500}))
	})
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, []string{"add_member ben unknown", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	require.Contains(t, r.members(), "ben")

	r.pagerduty.Control().ClearFaults()
	_, err := r.store.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{
		"add_member ben unknown", "add_member cem skipped", "remove_member dan skipped",
		"add_member ben applied", // what had become of it
		"add_member cem applied", "remove_member dan applied",
	}, r.trail(id))
	entries, err := r.store.Findings(t.Context(), store.FindingFilter{Limit: 100})
	require.NoError(t, err)
	var verifier trail.Verifier
	for _, e := range entries {
		require.NoError(t, verifier.Next(e))
	}
}

// A run is interrupted after its plan was made, and goes on much later. What was declared has changed: dan belongs to the
// team now.
func interruptedThenDanIsDeclared(t *testing.T, age string) (r *rig, id uuid.UUID) {
	r = start(t, nil)
	id = r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "DELETE *", Status: 500}))
	r.handle(id)
	r.pagerduty.Control().ClearFaults()
	require.Equal(t, store.Queued, r.run(id).Status)
	require.NotEqual(t, declared, r.members(), "it was interrupted")
	r.declare(`"members":["ben","cem"]`, `"members":["ben","cem","dan"]`)
	r.exec("UPDATE checkpoints SET updated_at = updated_at - $1::interval", age)
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	return r, id
}

func TestHandle_InterruptedForLong_PlansAnew(t *testing.T) {
	r, id := interruptedThenDanIsDeclared(t, "2 minutes")
	require.Contains(t, r.members(), "dan", "the old plan would have removed him")
	for _, line := range r.trail(id) {
		require.NotContains(t, line, "remove_member dan applied")
	}
	require.Contains(t, r.trail(id), "add_member ben applied")
	require.Contains(t, r.trail(id), "add_member cem applied")
}

// The control: a plan that is taken for young is applied as it was.
func TestControl_WithoutTheAgeOfThePlan_AnOldOneIsApplied(t *testing.T) {
	r, _ := interruptedThenDanIsDeclared(t, "0 minutes")
	require.NotContains(t, r.members(), "dan")
}

func TestHandle_AttemptTakesTooLong_IsAnAttempt(t *testing.T) {
	r := start(t, func(o *work.Options) { o.Attempt = 300 * time.Millisecond })
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /teams", DelayMS: 60_000}))
	id := r.accept()
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Queued, run.Status)
	require.Equal(t, 1, run.Attempt)
	require.Contains(t, []string{"ATTEMPT_TIMEOUT", "TOO_LITTLE_TIME"}, run.ErrorReason)
}

// Somebody removes the person at the same moment, and PagerDuty's reads lag: it does not find the membership any more,
// and still shows it.
func TestHandle_RemovedByAnotherWhileReadsLag_IsDone(t *testing.T) {
	r := start(t, nil)
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: 600})
	id := r.accept()
	r.onCall("DELETE", "/users/", func() { r.pd("DELETE", "dan", "") })
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, declared, r.members())
}

// A pause is when people change things: what was planned before it is planned anew after it, however short it was.
func TestHandle_PausedInTheMiddle_DecidesOverAgain(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("PUT", "/users/", func() {
		_, err := r.store.PauseTeam(t.Context(), team, "bob", "lunch", time.Hour)
		require.NoError(t, err)
		r.noticed(id)
	})
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	r.declare(`"members":["ben","cem"]`, `"members":["ben","cem","dan"]`)
	require.NoError(t, r.store.ResumeTeam(t.Context(), team))
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Contains(t, r.members(), "dan")
}

// What is applied is verified, recorded and told, although somebody pauses the team at the last change.
func TestHandle_PausedAtTheLastChange_EndsWhatItBegan(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("DELETE", "/users/", func() {
		_, err := r.store.PauseTeam(t.Context(), team, "bob", "lunch", time.Hour)
		require.NoError(t, err)
		r.noticed(id)
	})
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Len(t, applied(r.trail(id)), 3)
	require.Equal(t, 1, r.told())
}

// Everything was applied before the run was interrupted and planned anew; there is nothing left to do, and yet it is told
// what was changed.
func TestHandle_AppliedInAnEarlierRound_IsTold(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("DELETE", "/users/", func() { r.exec("ALTER TABLE findings RENAME TO findings_away") })
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	require.Equal(t, declared, r.members())
	r.exec("ALTER TABLE findings_away RENAME TO findings")
	r.exec("UPDATE checkpoints SET updated_at = now() - interval '1 hour'")
	r.due()
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Succeeded, run.Status)
	require.Equal(t, "2 members added, 1 member removed", run.Summary)
	require.Len(t, applied(r.trail(id)), 3)
	require.Equal(t, 1, r.told())
}

// A run was begun by a program that knew no rounds, and is planned anew by this one: what it applies is what was decided
// on, not what the old program had intended.
func TestHandle_BegunBeforeThereWereRounds_AppliesWhatItPlanned(t *testing.T) {
	r := start(t, nil)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: 500}))
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE runs SET round = 0, available_at = now()") // as the old program left it
	r.exec("UPDATE changes SET round = 0")
	r.exec("UPDATE checkpoints SET round = 0, updated_at = now() - interval '20 minutes'")
	r.pd("DELETE", "dan", "")
	r.declare(`"maintainers":["ann"],"members":["ben","cem"]`, `"maintainers":["ben"],"members":["cem"]`)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, map[string]string{"ben": "manager", "cem": "responder"}, r.members())
}

// Nobody knew what had become of a change. It is found out, and at that moment the trail cannot be written: what was found
// is not lost.
func TestHandle_FoundOutButNotSealed_IsSealedLater(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.onCall("PUT", "/users/", func() {
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 500}))
	})
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, "add_member ben unknown", r.trail(id)[0])
	r.pagerduty.Control().ClearFaults()
	_, err := r.store.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	r.exec("ALTER TABLE findings RENAME TO findings_away")
	require.Error(t, r.worker.Handle(t.Context(), message(id)))
	r.exec("ALTER TABLE findings_away RENAME TO findings")
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.exec("UPDATE runs SET available_at = now(), attempt = 0")
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Contains(t, r.trail(id), "add_member ben applied")
}

// A change took effect and nobody wrote that down; the run is canceled when its plan has become too old.
func TestHandle_CanceledInALaterRound_TrailKnowsTheEarlier(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	require.Contains(t, r.members(), "ben")
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE checkpoints SET updated_at = now() - interval '1 hour'")
	_, err := r.store.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Canceled, r.run(id).Status)
	require.Equal(t, []string{"add_member ben applied", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	require.Equal(t, 1, r.told(), "somebody was added")
}

// A change took effect, its answer is lost, and reads lag: the last look waits for it to show.
func TestHandle_GivenUpWhileReadsLag_WaitsForTheChangeToShow(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: 800})
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, []string{"add_member ben applied", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
}

// Two declared teams find the same team of the target at the same moment: one gets it, the other changes nothing.
func TestHandle_TwoTeamsOneTarget_OneChangesIt(t *testing.T) {
	r := start(t, nil)
	targetID, _ := r.account("ann")
	other, _, err := r.store.Accept(t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte("y"), TeamID: "other", Request: store.Request{Source: "cortex", Desired: &ownership.Desired{
			Name: "payments", TargetID: targetID, Members: []ownership.Member{{Email: "eve@example.org"}, {Email: "dan@example.org"}, {Email: "ann@example.org"}},
		}},
	})
	require.NoError(t, err)
	id := r.accept()
	var begun atomic.Bool
	r.mu.Lock()
	r.before = func(req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/members") && begun.CompareAndSwap(false, true) {
			r.handle(other)
		}
	}
	r.mu.Unlock()
	r.handle(id)
	runs := []store.Run{r.run(id), r.run(other)}
	t.Log(runs[0].Status, runs[0].ErrorReason, r.trail(id), runs[1].Status, runs[1].ErrorReason, r.trail(other))
	require.Equal(t, store.Succeeded, runs[1].Status)
	require.Equal(t, store.Failed, runs[0].Status)
	require.Equal(t, "LINKED_ELSEWHERE", runs[0].ErrorReason)
	require.Empty(t, applied(r.trail(id)), "two writers on one team")
}

// A run is given up for good, and its end cannot be written. Who takes it up afterwards does not take what was given up for
// done.
func TestHandle_EndCannotBeWritten_IsNoSuccess(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: 403}))
	r.exec("ALTER TABLE deliveries RENAME TO deliveries_away")
	require.Error(t, r.worker.Handle(t.Context(), message(id)))
	r.exec("ALTER TABLE deliveries_away RENAME TO deliveries")
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Len(t, applied(r.trail(id)), 3)
}

// What PagerDuty refused was not made: there is nothing to doubt.
func TestHandle_Refused_IsNotInDoubt(t *testing.T) {
	for _, refusal := range []int{429, 403} {
		r := start(t, func(o *work.Options) { o.Patience = 0 })
		id := r.accept()
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: refusal}))
		r.handle(id)
		require.Equal(t, []string{"add_member ben skipped", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	}
}

// fresh accepts a run for a team that PagerDuty does not have.
func (r *rig) fresh(team string, dry bool) uuid.UUID {
	r.t.Helper()
	id, _, err := r.store.Accept(r.t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte(team), TeamID: team, Request: store.Request{Source: "cortex", DryRun: dry, Desired: &ownership.Desired{
			Name: "fresh", Members: []ownership.Member{{Email: "eve@example.org"}},
		}},
	})
	require.NoError(r.t, err)
	return id
}

// PagerDuty has created a team, which is written down, and it is not written which team is linked to it.
func TestHandle_CreatedAndNotLinked_IsFoundAgain(t *testing.T) {
	r := start(t, nil)
	id := r.fresh("fresh", false)
	r.onCall("POST", "/teams", func() { r.exec("ALTER TABLE links RENAME TO links_away") })
	_ = r.worker.Handle(t.Context(), message(id)) // the end of the attempt can be written or not
	r.exec("ALTER TABLE links_away RENAME TO links")
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, []string{"create_team fresh applied", "add_member eve applied"}, r.trail(id))
	require.Len(t, r.pagerduty.State().(pagerdutysim.State).Teams, 2)
}

// Before a team is created, another run creates one of its name: that is not ours, in PagerDuty and in the trail.
func TestHandle_CreatedByAnother_IsNotOurs(t *testing.T) {
	r := start(t, nil)
	id, other := r.fresh("fresh", false), r.fresh("fresh2", false)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "POST /teams", Status: 500}))
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	r.pagerduty.Control().ClearFaults()
	r.handle(other)
	require.Equal(t, store.Succeeded, r.run(other).Status)
	r.due()
	r.handle(id)
	require.Equal(t, "LINKED_ELSEWHERE", r.run(id).ErrorReason)
	require.Empty(t, applied(r.trail(id)))
}

func TestHandle_DryRun_LinksNothing(t *testing.T) {
	r := start(t, nil)
	id, _, err := r.store.Accept(t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte("x"), TeamID: team, Request: store.Request{Source: "cortex", DryRun: true},
	})
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	link, err := r.store.Link(t.Context(), team)
	require.NoError(t, err)
	require.Nil(t, link)
}

// told counts the messages that are to be sent.
func (r *rig) told() (n int) {
	r.t.Helper()
	require.NoError(r.t, r.db.QueryRow(r.t.Context(), "SELECT count(*) FROM deliveries").Scan(&n))
	return n
}
