package wire_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// giveUp makes a run that was dead-lettered.
func (s *system) giveUp(team string) uuid.UUID {
	s.t.Helper()
	id, err := s.client("alice", "nthlayer/operator").Reconcile(s.t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: team})
	require.NoError(s.t, err)
	claim, err := s.db.Claim(s.t.Context(), uuid.MustParse(id), store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(s.t, err)
	require.NoError(s.t, claim.Finish(s.t.Context(), store.Ending{
		Status: store.DeadLettered, ErrorReason: "PAGERDUTY_UNAVAILABLE", ErrorMessage: "no answer", Sync: ownership.Unknown,
	}))
	return uuid.MustParse(id)
}

func TestCancel_QueuedRun_EndsAtOnceAndWatchersAreTold(t *testing.T) {
	s := start(t)
	c := s.client("alice", "nthlayer/operator")
	id, err := c.Reconcile(t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	status, body, _ := s.call(t, "POST", "/v1/runs/"+id+":cancel", s.token("bob", "nthlayer/operator"), `{"reason":"wrong team"}`)
	require.Equal(t, http.StatusOK, status, body)
	run, err := c.Wait(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "canceled", run.GetStatus())
	require.Equal(t, "bob", run.GetCanceledBy())
	require.Equal(t, "canceled by bob: wrong team", run.GetError().GetMessage())

	status, body, _ = s.call(t, "POST", "/v1/runs/"+id+":cancel", s.token("eve", "nthlayer/viewer"), `{}`)
	require.Equal(t, http.StatusForbidden, status, body)
	status, body, _ = s.call(t, "POST", "/v1/runs/"+uuid.NewString()+":cancel", s.token("bob", "nthlayer/operator"), `{}`)
	require.Equal(t, http.StatusNotFound, status, body)
}

func TestPause_IsShownHoldsRunsAndEnds(t *testing.T) {
	s := start(t)
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments", Name: "Payments"}}))
	c := s.client("alice", "nthlayer/operator")
	pause, err := c.Teams.PauseTeam(t.Context(), &nthlayerv1.PauseTeamRequest{TeamId: "payments", Reason: "incident 7", Duration: durationpb.New(time.Hour)})
	require.NoError(t, err)
	require.Equal(t, "alice", pause.GetPausedBy())
	require.False(t, pause.GetTeamUnknown())
	mistyped, err := c.Teams.PauseTeam(t.Context(), &nthlayerv1.PauseTeamRequest{TeamId: "paymetns", Reason: "incident 7", Duration: durationpb.New(time.Hour)})
	require.NoError(t, err)
	require.True(t, mistyped.GetTeamUnknown())
	team, err := c.Teams.GetTeam(t.Context(), &nthlayerv1.GetTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, "incident 7", team.GetPause().GetReason())
	id, err := c.Reconcile(t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	run, err := c.Runs.GetRun(t.Context(), &nthlayerv1.GetRunRequest{JobId: id})
	require.NoError(t, err)
	require.Equal(t, "TEAM_PAUSED", run.GetError().GetReason())
	require.WithinDuration(t, pause.GetUntil().AsTime(), run.GetAvailableAt().AsTime(), time.Second)

	_, err = c.Teams.ResumeTeam(t.Context(), &nthlayerv1.ResumeTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	team, err = c.Teams.GetTeam(t.Context(), &nthlayerv1.GetTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Nil(t, team.GetPause())

	for field, body := range map[string]string{
		"reason":   `{"duration":"3600s"}`,
		"duration": `{"reason":"x"}`,
	} {
		status, answer, _ := s.call(t, "POST", "/v1/teams/payments:pause", s.token("a", "nthlayer/operator"), body)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, field)
	}
	for _, duration := range []string{"59s", "2592001s", "-60s", "soon"} {
		status, answer, _ := s.call(t, "POST", "/v1/teams/payments:pause", s.token("a", "nthlayer/operator"), `{"reason":"x","duration":"`+duration+`"}`)
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", duration, answer)
	}
}

func TestDeadLetters_ListShowRequeueDiscard(t *testing.T) {
	s := start(t)
	c := s.client("alice", "nthlayer/operator")
	id := s.giveUp("payments")
	require.NoError(t, s.db.Bury(t.Context(), store.ReconcileQueue, queue.Received{ID: "m1", Body: []byte("nonsense")},
		fault.New(fault.Invalid, "the message names no job", nil).WithReason("MESSAGE_UNREADABLE")))

	var letters []*nthlayerv1.DeadLetter
	for letter, err := range c.ListDeadLetters(t.Context(), &nthlayerv1.ListDeadLettersRequest{PageSize: 1, Status: "dead"}) {
		require.NoError(t, err)
		letters = append(letters, letter)
	}
	require.Len(t, letters, 2)
	require.Equal(t, "message", letters[0].GetKind())
	require.Equal(t, id.String(), letters[1].GetLetterId())
	shown, err := c.DeadLetters.GetDeadLetter(t.Context(), &nthlayerv1.GetDeadLetterRequest{LetterId: letters[0].GetLetterId()})
	require.NoError(t, err)
	require.Equal(t, "nonsense", shown.GetBody())

	operator := s.token("alice", "nthlayer/operator")
	status, body, _ := s.call(t, "POST", "/v1/dead-letters/"+letters[0].GetLetterId()+":requeue", operator, `{}`)
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "discard it")
	status, body, _ = s.call(t, "POST", "/v1/dead-letters:requeue", operator, `{}`)
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "say which")

	for n := range 2 { // the second finds it done
		status, body, _ = s.call(t, "POST", "/v1/dead-letters/"+id.String()+":requeue", operator, `{}`)
		require.Equal(t, http.StatusOK, status, body)
		var answer struct {
			DeadLetters []struct{ Status string } `json:"dead_letters"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		require.Len(t, answer.DeadLetters, 1-n)
	}
	run, err := c.Runs.GetRun(t.Context(), &nthlayerv1.GetRunRequest{JobId: id.String()})
	require.NoError(t, err)
	require.Equal(t, "queued", run.GetStatus())

	status, body, _ = s.call(t, "POST", "/v1/dead-letters:discard", operator, `{"all":true}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "discarded")
	status, body, _ = s.call(t, "POST", "/v1/dead-letters/"+uuid.NewString()+":discard", operator, `{}`)
	require.Equal(t, http.StatusNotFound, status, body)
	status, body, _ = s.call(t, "POST", "/v1/dead-letters:requeue", s.token("eve", "nthlayer/viewer"), `{"all":true}`)
	require.Equal(t, http.StatusForbidden, status, body)
}

func TestUpstreams_ShowWhatProcessesReport(t *testing.T) {
	s := start(t)
	require.NoError(t, s.db.ReportUpstreams(t.Context(), "host/1", map[string][]byte{
		"pagerduty": []byte(`{"Platform":"pagerduty","Breaker":"open","BreakerUntil":"2026-01-01T00:00:00Z","Limit":960,"Remaining":3,"Limiter":"shared","LastError":"HTTP 500"}`),
	}))
	status, body, _ := s.call(t, "GET", "/v1/upstreams", s.token("eve", "nthlayer/viewer"), "")
	require.Equal(t, http.StatusOK, status, body)
	var answer struct {
		Upstreams []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer.Upstreams, 1)
	require.Equal(t, "open", answer.Upstreams[0]["breaker"])
	require.EqualValues(t, 960, answer.Upstreams[0]["limit_per_minute"])
	require.Equal(t, "2026-01-01T00:00:00Z", answer.Upstreams[0]["breaker_until"])
}
