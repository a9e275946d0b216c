package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/auth/issuer"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestReconcile_Accepted_IsDurableAndReachesTheQueue(t *testing.T) {
	s := start(t)
	status, body, header := s.call(t, "POST", "/v1/teams/reconcile", s.token("alice", "nthlayer/operator"),
		`{"team_id":"payments","desired":{"members":[{"email":"a@example.org","role":"manager"}]}}`, "Idempotency-Key", "k",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.Equal(t, http.StatusAccepted, status, body)
	var accepted struct {
		JobID uuid.UUID `json:"job_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &accepted))
	require.Equal(t, "/v1/runs/"+accepted.JobID.String(), header.Get("Location"))

	run, err := s.db.Run(t.Context(), accepted.JobID)
	require.NoError(t, err)
	require.Equal(t, "alice", run.RequestedBy)
	require.NotEmpty(t, run.Request.RequestID)
	require.Equal(t, store.Request{
		RequestID: run.Request.RequestID, Roles: []string{"operator", "viewer"},
		Source:  "cortex",
		Desired: &ownership.Desired{Members: []ownership.Member{{Email: "a@example.org", Roles: []string{"manager"}}}},
	}, run.Request)

	require.Eventually(t, func() bool { return len(s.queue.State().Queues["reconcile.fifo"].Messages) == 1 }, 10*time.Second, 5*time.Millisecond)
	message := s.queue.State().Queues["reconcile.fifo"].Messages[0]
	require.JSONEq(t, `{"job_id":"`+accepted.JobID.String()+`"}`, message.Body)

	shown, err := s.client("bob", "nthlayer/viewer").Runs.GetRun(t.Context(), &nthlayerv1.GetRunRequest{JobId: accepted.JobID.String()})
	require.NoError(t, err)
	require.Equal(t, "queued", shown.GetStatus())
	require.Equal(t, "k", shown.GetIdempotencyKey())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", shown.GetTraceId(), "the caller's trace goes on in the run")
}

func TestReconcile_HundredEqualRequestsAtOnce_AreOneRun(t *testing.T) {
	s := start(t)
	token := s.token("alice", "nthlayer/operator")
	var mu sync.Mutex
	answers := map[string]int{}
	var wg sync.WaitGroup
	for i := range 100 {
		body := `{"team_id":"payments"}`
		if i%2 == 1 {
			body = `{"source":"cortex", "dry_run":false, "team_id":"payments"}` // the same request, said otherwise
		}
		wg.Go(func() {
			status, answer, _ := s.call(t, "POST", "/v1/teams/reconcile", token, body, "Idempotency-Key", "once")
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(status, " ", answer)]++
		})
	}
	wg.Wait()
	require.Len(t, answers, 1, "%v", answers)
	for answer, n := range answers {
		require.Equal(t, 100, n)
		require.True(t, strings.HasPrefix(answer, "202 "), answer)
	}
	runs, err := s.db.Runs(t.Context(), store.RunFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, runs, 1)

	status, body, _ := s.call(t, "POST", "/v1/teams/reconcile", token, `{"team_id":"other"}`, "Idempotency-Key", "once")
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, body, "IDEMPOTENCY_KEY_REUSED")
	status, _, _ = s.call(t, "POST", "/v1/teams/reconcile", s.token("bob", "nthlayer/operator"), `{"team_id":"other"}`, "Idempotency-Key", "once")
	require.Equal(t, http.StatusAccepted, status, "another principal's key is another key")

	// Control: without a key every request is a run of its own.
	for range 3 {
		status, _, _ = s.call(t, "POST", "/v1/teams/reconcile", token, `{"team_id":"payments"}`)
		require.Equal(t, http.StatusAccepted, status)
	}
	runs, err = s.db.Runs(t.Context(), store.RunFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, runs, 5)
}

func TestWatch_RunIsDone_EventsArriveUpToTheEnd(t *testing.T) {
	s := start(t)
	c := s.client("alice", "nthlayer/operator")
	id, err := c.Reconcile(t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	jobID := uuid.MustParse(id)

	const watchers = 5
	kinds := make([][]string, watchers)
	first := make(chan struct{}, watchers)
	var wg sync.WaitGroup
	for i := range watchers {
		wg.Go(func() {
			for event, err := range c.Watch(t.Context(), id, 0) {
				require.NoError(t, err)
				if kinds[i] = append(kinds[i], event.GetKind()); len(kinds[i]) == 1 {
					first <- struct{}{}
				}
			}
		})
	}
	claim, err := s.db.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	events := s.db.NewEventLog(slog.New(slog.DiscardHandler))
	step := func(kind flow.EventKind, name string) {
		events.Add(store.Event{JobID: jobID, At: time.Now(), Kind: string(kind), Step: name})
		require.NoError(t, events.Flush(t.Context()))
	}
	step(flow.StepStarted, "fetch_source")
	for range watchers {
		<-first // everybody is told while the run goes on
	}
	step(flow.StepFailed, "fetch_source")
	step(flow.StepStarted, "fetch_source")
	step(flow.StepSucceeded, "fetch_source")
	step(flow.StepSkipped, "apply")
	require.NoError(t, claim.Finish(t.Context(), store.Ending{Status: store.Succeeded, Summary: "nothing to do", Sync: ownership.InSync}))
	wg.Wait()
	for _, seen := range kinds {
		require.Equal(t, []string{"run_queued", "step_started", "step_failed", "step_started", "step_succeeded", "step_skipped", "run_succeeded"}, seen)
	}

	run, err := c.Wait(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "succeeded", run.GetStatus())
	require.Equal(t, "nothing to do", run.GetSummary())
	require.Len(t, run.GetSteps(), 2)
	require.Equal(t, "fetch_source", run.GetSteps()[0].GetName())
	require.EqualValues(t, 2, run.GetSteps()[0].GetAttempts())
	require.Equal(t, "succeeded", run.GetSteps()[0].GetStatus())
	require.Equal(t, "skipped", run.GetSteps()[1].GetStatus())

	_, err = c.Wait(t.Context(), uuid.NewString())
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestLists_Pages_AreWholeAndInOrder(t *testing.T) {
	s := start(t)
	c := s.client("alice", "nthlayer/operator")
	var teams []ownership.Desired
	for i := range 25 {
		teams = append(teams, ownership.Desired{TeamID: fmt.Sprintf("team/%02d", i), Name: "Team", Members: []ownership.Member{{Email: "a@example.org", Roles: []string{"manager"}}}})
	}
	require.NoError(t, s.db.Declare(t.Context(), teams))
	var ids []string
	for team, err := range c.ListTeams(t.Context(), &nthlayerv1.ListTeamsRequest{PageSize: 10, Query: "TEAM"}) {
		require.NoError(t, err)
		ids = append(ids, team.GetTeamId())
	}
	require.Len(t, ids, 25)
	require.IsIncreasing(t, ids)
	team, err := c.Teams.GetTeam(t.Context(), &nthlayerv1.GetTeamRequest{TeamId: "team/07"})
	require.NoError(t, err)
	require.Equal(t, "manager", team.GetMembers()[0].GetRole())
	status, body, _ := s.call(t, "GET", "/v1/teams/team%2F07", s.token("a", "nthlayer/viewer"), "")
	require.Equal(t, http.StatusOK, status, body)

	for i := range 7 {
		_, err := c.Reconcile(t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: fmt.Sprintf("team/%02d", i)})
		require.NoError(t, err)
	}
	var runs []string
	for run, err := range c.ListRuns(t.Context(), &nthlayerv1.ListRunsRequest{PageSize: 3, RequestedBy: "alice", Status: "queued"}) {
		require.NoError(t, err)
		runs = append(runs, run.GetJobId())
	}
	require.Len(t, runs, 7)
	require.IsDecreasing(t, runs)

	for finding, err := range c.ListFindings(t.Context(), &nthlayerv1.ListFindingsRequest{}) {
		require.NoError(t, err)
		require.Nil(t, finding)
	}
}

func TestForwarded_Calls_ReachOnlyTheRoleTheyAreFor(t *testing.T) {
	s := start(t)
	token := s.token("alice", "nthlayer/admin")
	status, body, _ := s.call(t, "POST", "/v1/teams/payments:plan", token, `{}`, "X-Request-Id", "req-9")
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `cortex for req-9`, "the request id goes along")
	require.Contains(t, body, `alice as admin, approver, operator, viewer`, "who asks, and with which roles: rules go by it")
	status, body, _ = s.call(t, "POST", "/v1/teams/payments:plan", s.token("ben", "nthlayer/viewer"), `{}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `ben as viewer"`)

	status, body, _ = s.call(t, "GET", "/v1/deliveries", token, "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "the notifier could not be reached")
	require.NotContains(t, body, "127.0.0.1")

	status, body, _ = s.call(t, "GET", "/v1/schedules", token, "")
	require.Equal(t, http.StatusServiceUnavailable, status, "who answers is not the scheduler: %s", body)
}

func TestBadInput_IsClear4xxAndNothingSecretIsLogged(t *testing.T) {
	s := start(t)
	operator, viewer := s.token("alice", "nthlayer/operator"), s.token("bob", "nthlayer/viewer")
	expired, err := s.issuer.Token("alice", []string{"nthlayer/admin"}, -time.Hour)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	stranger, err := issuer.New(issuer.Config{URL: s.issuer.URL(), Audience: "nthlayer", Key: key})
	require.NoError(t, err)
	foreign, err := stranger.Token("alice", []string{"nthlayer/admin"}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "a"}, {TeamID: "b"}, {TeamID: "c"}}))
	status, body, _ := s.call(t, "GET", "/v1/teams?page_size=1", viewer, "")
	require.Equal(t, http.StatusOK, status)
	var page struct {
		NextPageToken string `json:"next_page_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.NotEmpty(t, page.NextPageToken)

	const private = "private@example.org"
	for name, tc := range map[string]struct {
		method, path, token, body string
		status                    int
		says                      string
	}{
		"no token":              {"GET", "/v1/teams", "", "", 401, "Bearer"},
		"expired token":         {"GET", "/v1/teams", expired, "", 401, "expired"},
		"foreign token":         {"GET", "/v1/teams", foreign, "", 401, "kid"},
		"no token at all":       {"GET", "/v1/teams", "nonsense", "", 401, "three parts"},
		"may not":               {"POST", "/v1/teams/reconcile", viewer, `{"team_id":"a"}`, 403, "nthlayer/operator"},
		"bad JSON":              {"POST", "/v1/teams/reconcile", operator, `{"team_id":"` + private, 400, "body"},
		"unknown field":         {"POST", "/v1/teams/reconcile", operator, `{"team":"` + private + `"}`, 400, `\"team\"`},
		"wrong type":            {"POST", "/v1/teams/reconcile", operator, `{"team_id":["` + private + `"]}`, 400, "team_id"},
		"long team id":          {"POST", "/v1/teams/reconcile", operator, `{"team_id":"` + strings.Repeat("x", 200) + `"}`, 400, "team_id"},
		"control characters":    {"POST", "/v1/teams/reconcile", operator, `{"team_id":"a\u0007"}`, 400, "team_id"},
		"oversized":             {"POST", "/v1/teams/reconcile", operator, strings.Repeat(" ", 2<<20), 413, "1 MiB"},
		"page token made up":    {"GET", "/v1/teams?page_token=AAAA", viewer, "", 400, "page_token"},
		"page token elsewhere":  {"GET", "/v1/runs?page_token=" + page.NextPageToken, viewer, "", 400, "page_token"},
		"page token, new query": {"GET", "/v1/teams?query=x&page_token=" + page.NextPageToken, viewer, "", 400, "page_token"},
		"no such run":           {"GET", "/v1/runs/" + uuid.NewString(), viewer, "", 404, "there is no run"},
		"no such team":          {"GET", "/v1/teams/zzz", viewer, "", 404, "there is no team"},
		"no such run to watch":  {"GET", "/v1/runs/" + uuid.NewString() + ":watch", viewer, "", 404, "there is no run"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, header := s.call(t, tc.method, tc.path, tc.token, tc.body)
			require.Equal(t, tc.status, status, body)
			require.Contains(t, body, tc.says)
			require.Equal(t, "application/json", header.Get("Content-Type"))
		})
	}
	text, _ := s.logs.text()
	for _, secret := range []string{operator, viewer, expired, foreign, "nonsense", private, "postgres://"} {
		require.NotContains(t, text, secret)
	}
}

func TestReady_WhileEverythingAnswers(t *testing.T) {
	s := start(t)
	status, body, _ := s.call(t, "GET", "/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"status":"ready","checks":{"database":"ok","issuer":"ok"}}`, body)
	status, _, _ = s.call(t, "GET", "/docs", "", "")
	require.Equal(t, http.StatusOK, status)
}
