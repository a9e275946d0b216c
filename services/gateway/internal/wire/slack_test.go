package wire_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	slacksim "github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
)

const signing = "8f742231b10e8888abcd99yyyzzz85a5"

// vouching stands for the notifier: it knows one person's address, and keeps what it whispers.
type vouching struct {
	internalv1.UnimplementedNotifierServiceServer
	mu   sync.Mutex
	told []string
}

func (v *vouching) register(r grpc.ServiceRegistrar) { internalv1.RegisterNotifierServiceServer(r, v) }

func (v *vouching) IdentifySlackUser(context.Context, *internalv1.IdentifySlackUserRequest) (*internalv1.IdentifySlackUserResponse, error) {
	return &internalv1.IdentifySlackUserResponse{Email: "Ann@example.org"}, nil
}

func (v *vouching) WhisperOnSlack(_ context.Context, q *internalv1.WhisperOnSlackRequest) (*internalv1.WhisperOnSlackResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(v.told, q.GetText())
	return &internalv1.WhisperOnSlackResponse{}, nil
}

// last is the newest of what was whispered since.
func (v *vouching) last() (n int, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n = len(v.told); n > 0 {
		text = v.told[n-1]
	}
	return n, text
}

// awaiting makes a run of somebody's that waits for an approver, with a message that asks for it.
func (s *system) awaiting(team, by string) (uuid.UUID, string) {
	s.t.Helper()
	jobID, _, err := s.db.Accept(s.t.Context(), store.NewRun{Principal: by, RequestHash: []byte("x"), TeamID: team})
	require.NoError(s.t, err)
	claim, err := s.db.Claim(s.t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(s.t, err)
	plan := ownership.Plan{TeamID: team}
	payload, err := json.Marshal(notice.ApprovalRequested{ApprovalOf: jobID.String(), PlanHash: plan.Hash(), TeamID: team})
	require.NoError(s.t, err)
	require.NoError(s.t, claim.Await(s.t.Context(), store.Asking{
		Result: store.Result{Plan: plan, Decision: policy.Decision{
			Verdict: policy.RequireApproval, Approvers: []policy.Approvers{{Role: auth.Approver, Count: 1}},
		}},
		Within: time.Hour,
		Tell:   []store.Delivery{{Key: notice.ApprovalKey(jobID.String(), plan.Hash(), "slack", "C1"), Medium: "slack", Channel: "C1", Payload: payload}},
	}))
	return jobID, plan.Hash()
}

// press posts a message with the button and presses it.
func (s *system) press(workspace *slacksim.Server, action, value string) int {
	s.t.Helper()
	blocks, err := json.Marshal([]any{map[string]any{"type": "actions", "elements": []any{map[string]any{
		"type": "button", "action_id": action, "value": value, "text": map[string]any{"type": "plain_text", "text": "x"},
	}}}})
	require.NoError(s.t, err)
	body, err := json.Marshal(map[string]any{"channel": "C0OWNERSHIP", "text": "t", "blocks": string(blocks)})
	require.NoError(s.t, err)
	request := httptest.NewRequest("POST", "/api/chat.postMessage", strings.NewReader(string(body)))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer xoxb-1")
	recorder := httptest.NewRecorder()
	workspace.ServeHTTP(recorder, request)
	var posted struct{ TS string }
	require.NoError(s.t, json.Unmarshal(recorder.Body.Bytes(), &posted))
	answers, err := workspace.Press(s.t.Context(), slacksim.Press{Channel: "C0OWNERSHIP", TS: posted.TS, Action: action, User: "ann@example.org"})
	require.NoError(s.t, err)
	require.Empty(s.t, answers[0].Error)
	return answers[0].Status
}

func (s *system) workspace() *slacksim.Server {
	workspace := slacksim.New(slacksim.Options{Token: "xoxb-1", SigningSecret: signing, Interactions: s.rest + "/slack/interactions", HTTP: s.http})
	recorder := httptest.NewRecorder()
	workspace.ServeHTTP(recorder, httptest.NewRequest("POST", "/_control/users", strings.NewReader(`{"email":"ann@example.org"}`)))
	require.Equal(s.t, http.StatusNoContent, recorder.Code)
	workspace.Control().SetLimits(control.Limits{})
	return workspace
}

func TestSlack_ButtonPressed_IsThatPersonsVote(t *testing.T) {
	told := &vouching{}
	s := startAmong(t, peers{notifier: told.register}, "NTHLAYER_SLACK_SIGNING_SECRET="+signing)
	workspace := s.workspace()
	jobID, hash := s.awaiting("payments", "ann")
	value := notice.ButtonValue(jobID.String(), hash)

	require.Equal(t, http.StatusOK, s.press(workspace, notice.ApproveAction, value))
	_, text := told.last()
	require.Contains(t, text, "nthlayer access identity link ann@example.org", "nobody has linked the address")

	_, err := s.db.LinkIdentity(t.Context(), "ann@example.org", "ann", "root")
	require.NoError(t, err)
	_, err = s.db.Bind(t.Context(), auth.Binding{Subject: "ann", Role: auth.Approver, GrantedBy: "root"})
	require.NoError(t, err)
	// The gateway learns of it in a moment. Ann asked for the run herself, whatever the way by which she answers.
	require.Eventually(t, func() bool {
		require.Equal(t, http.StatusOK, s.press(workspace, notice.ApproveAction, value))
		_, text = told.last()
		return strings.Contains(text, "whoever asked for a run does not approve it")
	}, 10*time.Second, 20*time.Millisecond, text)

	// Of somebody else's run her vote counts.
	n, _ := told.last()
	jobID, hash = s.awaiting("shop", "bob")
	value = notice.ButtonValue(jobID.String(), hash)
	require.Equal(t, http.StatusOK, s.press(workspace, notice.ApproveAction, value))
	require.Equal(t, http.StatusOK, s.press(workspace, notice.ApproveAction, value), "twice is once")
	after, _ := told.last()
	require.Equal(t, n, after, "there is nothing to be told")
	run, err := s.db.Run(t.Context(), jobID)
	require.NoError(t, err)
	require.True(t, run.Approved)
	approval, err := s.db.Approval(t.Context(), jobID)
	require.NoError(t, err)
	require.Len(t, approval.Votes, 1)
	require.Equal(t, []string{"ann", "slack"}, []string{approval.Votes[0].Principal, approval.Votes[0].Via})
	delivery, err := s.db.DeliveryState(t.Context(), notice.ApprovalKey(jobID.String(), hash, "slack", "C1"))
	require.NoError(t, err)
	require.Contains(t, string(delivery.Payload), `"outcome": "approved"`, "the message says so")
	entries, err := s.db.Findings(t.Context(), store.FindingFilter{JobID: jobID, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []string{"approve", "ann", "by slack"}, entry(entries))
	require.True(t, s.audited("runs.approve", "ann", false))

	jobID, hash = s.awaiting("growth", "bob")
	require.Equal(t, http.StatusOK, s.press(workspace, notice.RejectAction, notice.ButtonValue(jobID.String(), hash)))
	run, err = s.db.Run(t.Context(), jobID)
	require.NoError(t, err)
	require.Equal(t, "ann", run.CanceledBy)
	text, _ = s.logs.text()
	require.NotContains(t, text, signing)
}

func entry(entries []trail.Entry) []string {
	if len(entries) == 0 {
		return nil
	}
	return []string{entries[0].Action, entries[0].Actor, entries[0].Message}
}

func TestSlack_NoSigningSecret_NothingIsServed(t *testing.T) {
	s := start(t)
	status, _, _ := s.call(t, "POST", "/slack/interactions", "", "x", "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, http.StatusUnsupportedMediaType, status, "the API takes JSON, and has no such path")
	status, body, _ := s.call(t, "POST", "/slack/interactions", "", "{}")
	require.Equal(t, http.StatusNotFound, status, body)
}
