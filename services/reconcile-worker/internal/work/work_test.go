package work_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

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

// A team that is paused and resumed at once is planned anew, while the target does not show yet what was changed. That is
// waited for: a change is made, and stands in the trail, once.
func TestHandle_PausedAndResumedWhileReadsLag_EachChangeIsMadeOnce(t *testing.T) {
	r := start(t, nil)
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: 400})
	id := r.accept()
	r.onCall("PUT", "/users/", func() {
		_, err := r.store.PauseTeam(t.Context(), team, "bob", "lunch", time.Hour)
		require.NoError(t, err)
		r.noticed(id)
	})
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	require.Equal(t, 1, r.pagerduty.Control().Calls().Writes)
	require.NoError(t, r.store.ResumeTeam(t.Context(), team))
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, 3, r.pagerduty.Control().Calls().Writes)
	require.Len(t, applied(r.trail(id)), 3)
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
