package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// scheduler answers for the audit-scheduler, and notes who asked for what.
type scheduler struct {
	internalv1.UnimplementedSchedulerServiceServer
	mu    sync.Mutex
	calls []asked
	fails error
}

type asked struct {
	who     string
	request proto.Message
}

func (s *scheduler) register(r grpc.ServiceRegistrar) {
	internalv1.RegisterSchedulerServiceServer(r, s)
}

func (s *scheduler) asked() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *scheduler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func note[T any](ctx context.Context, s *scheduler, request proto.Message, answer T) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who, err := rpc.BehalfOf(ctx)
	if err == nil {
		err = s.fails
	}
	s.calls = append(s.calls, asked{who, proto.Clone(request)})
	return answer, err
}

func nightly() *nthlayerv1.Schedule {
	return &nthlayerv1.Schedule{ScheduleId: "nightly", Revision: 3, Settings: &nthlayerv1.ScheduleSettings{Cron: "@daily"}}
}

func (s *scheduler) ListSchedules(ctx context.Context, r *nthlayerv1.ListSchedulesRequest) (*nthlayerv1.ListSchedulesResponse, error) {
	return note(ctx, s, r, &nthlayerv1.ListSchedulesResponse{Schedules: []*nthlayerv1.Schedule{nightly()}, NextPageToken: "more"})
}
func (s *scheduler) GetSchedule(ctx context.Context, r *nthlayerv1.GetScheduleRequest) (*nthlayerv1.Schedule, error) {
	return note(ctx, s, r, nightly())
}
func (s *scheduler) CreateSchedule(ctx context.Context, r *nthlayerv1.CreateScheduleRequest) (*nthlayerv1.Schedule, error) {
	return note(ctx, s, r, nightly())
}
func (s *scheduler) UpdateSchedule(ctx context.Context, r *nthlayerv1.UpdateScheduleRequest) (*nthlayerv1.Schedule, error) {
	return note(ctx, s, r, nightly())
}
func (s *scheduler) DeleteSchedule(ctx context.Context, r *nthlayerv1.DeleteScheduleRequest) (*nthlayerv1.DeleteScheduleResponse, error) {
	return note(ctx, s, r, &nthlayerv1.DeleteScheduleResponse{})
}
func (s *scheduler) TriggerSchedule(ctx context.Context, r *nthlayerv1.TriggerScheduleRequest) (*nthlayerv1.TriggerScheduleResponse, error) {
	return note(ctx, s, r, &nthlayerv1.TriggerScheduleResponse{AuditId: "an-audit"})
}
func (s *scheduler) PauseSchedule(ctx context.Context, r *nthlayerv1.PauseScheduleRequest) (*nthlayerv1.Schedule, error) {
	return note(ctx, s, r, nightly())
}
func (s *scheduler) ResumeSchedule(ctx context.Context, r *nthlayerv1.ResumeScheduleRequest) (*nthlayerv1.Schedule, error) {
	return note(ctx, s, r, nightly())
}
func (s *scheduler) ListNextRuns(ctx context.Context, r *nthlayerv1.ListNextRunsRequest) (*nthlayerv1.ListNextRunsResponse, error) {
	return note(ctx, s, r, &nthlayerv1.ListNextRunsResponse{})
}

func TestSchedules_EachRoute_ReachesTheSchedulerInTheCallersName(t *testing.T) {
	stub := &scheduler{}
	s := startAmong(t, peers{scheduler: stub.register})
	_, err := s.db.CreateSchedule(t.Context(), "nightly", store.ScheduleSettings{Cron: "0 3 * * *"}, time.Now().Add(time.Hour), "ann")
	require.NoError(t, err)
	token := s.token("ann äöü", "nthlayer/admin")
	settings := &nthlayerv1.ScheduleSettings{Cron: "0 3 * * *", TimeZone: "Europe/Berlin"}
	const body = `{"cron":"0 3 * * *","time_zone":"Europe/Berlin"}`
	for i, r := range []struct {
		method, path, body, says string
		want                     proto.Message
	}{
		{"GET", "/v1/schedules?page_size=5", "", `"next_page_token":"more"`, &nthlayerv1.ListSchedulesRequest{PageSize: 5}},
		{"GET", "/v1/schedules/nightly", "", `"schedule_id":"nightly"`, &nthlayerv1.GetScheduleRequest{ScheduleId: "nightly"}},
		{"POST", "/v1/schedules", `{"schedule_id":"nightly","settings":` + body + `}`, `"cron"`, &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: settings}},
		{"PUT", "/v1/schedules/nightly", `{"revision":2,"settings":` + body + `}`, `"revision":"3"`, &nthlayerv1.UpdateScheduleRequest{ScheduleId: "nightly", Revision: 2, Settings: settings}},
		{"DELETE", "/v1/schedules/nightly", "", "{}", &nthlayerv1.DeleteScheduleRequest{ScheduleId: "nightly"}},
		{"POST", "/v1/schedules/nightly:trigger", `{"mode":"full","accept_shrunken_source":true}`, `"an-audit"`, &nthlayerv1.TriggerScheduleRequest{ScheduleId: "nightly", Mode: "full", AcceptShrunkenSource: true}},
		{"POST", "/v1/schedules/nightly:pause", `{"reason":"x"}`, `"nightly"`, &nthlayerv1.PauseScheduleRequest{ScheduleId: "nightly", Reason: "x"}},
		{"POST", "/v1/schedules/nightly:resume", `{}`, `"nightly"`, &nthlayerv1.ResumeScheduleRequest{ScheduleId: "nightly"}},
		{"GET", "/v1/schedules/nightly/next-runs?count=3", "", "times", &nthlayerv1.ListNextRunsRequest{ScheduleId: "nightly", Count: 3}},
	} {
		status, answer, _ := s.call(t, r.method, r.path, token, r.body)
		require.Equal(t, http.StatusOK, status, "%s: %s", r.path, answer)
		require.Contains(t, strings.ReplaceAll(answer, " ", ""), r.says)
		all := stub.asked()
		require.Len(t, all, i+1)
		require.Equal(t, "ann äöü", all[i].who)
		require.True(t, proto.Equal(r.want, all[i].request), "%v", all[i].request)
	}
}

// A caller cannot ask in somebody else's name: what they say of themselves in headers is not passed on.
func TestSchedules_CallerNamesSomebodyElse_IsNotBelieved(t *testing.T) {
	stub := &scheduler{}
	s := startAmong(t, peers{scheduler: stub.register})
	status, body, _ := s.call(t, "GET", "/v1/schedules", s.token("eve", "nthlayer/viewer"), "",
		"nthlayer-principal-bin", "YWxpY2U=", "Grpc-Metadata-nthlayer-principal-bin", "YWxpY2U=")
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, "eve", stub.asked()[0].who)
}

func TestSchedules_WhatTheSchedulerSays_IsPassedOn(t *testing.T) {
	stub := &scheduler{}
	s := startAmong(t, peers{scheduler: stub.register})
	token := s.token("alice", "nthlayer/admin")
	for _, tc := range []struct {
		err    error
		status int
		says   string
	}{
		{fault.Field("settings.cron", "must be five fields"), 400, "settings.cron"},
		{fault.New(fault.Conflict, "somebody was faster", nil).WithReason("SCHEDULE_CHANGED"), 409, "SCHEDULE_CHANGED"},
		{fault.New(fault.NotFound, "there is no schedule nightly", nil).WithReason("SCHEDULE_NOT_FOUND"), 404, "SCHEDULE_NOT_FOUND"},
		{fault.New(fault.Unavailable, "the database is away", nil).WithReason("DATABASE_UNAVAILABLE"), 503, "the database is away"},
	} {
		stub.fail(tc.err)
		status, body, _ := s.call(t, "PUT", "/v1/schedules/nightly", token, `{"settings":{"cron":"@daily"}}`)
		require.Equal(t, tc.status, status, body)
		require.Contains(t, body, tc.says)
	}
}

// notifier shows notices in its own words.
type notifier struct {
	internalv1.UnimplementedNotifierServiceServer
	mu    sync.Mutex
	asked []*internalv1.PreviewNoticeRequest
}

func (n *notifier) register(r grpc.ServiceRegistrar) { internalv1.RegisterNotifierServiceServer(r, n) }

func (n *notifier) PreviewNotice(_ context.Context, r *internalv1.PreviewNoticeRequest) (*nthlayerv1.NoticePreview, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, r)
	return &nthlayerv1.NoticePreview{Medium: r.GetMedium(), To: r.GetTo(), Subject: "subject", Text: "text for " + r.GetTo()}, nil
}

func TestPreview_ShowsWhatWouldBeToldToWhom(t *testing.T) {
	teller := &notifier{}
	s := startAmong(t, peers{notifier: teller.register})
	viewer := s.token("eve", "nthlayer/viewer")
	settings := store.ScheduleSettings{
		Cron: "@daily", Mode: audit.Full, AutoReconcile: audit.Observe, Notify: audit.OnNewFindings, SlackChannel: "C0FFEE", Emails: []string{"a@example.org"},
	}
	_, err := s.db.CreateSchedule(t.Context(), "nightly", settings, time.Now().Add(time.Hour), "alice")
	require.NoError(t, err)
	status, body, _ := s.call(t, "GET", "/v1/schedules/nightly/preview", viewer, "")
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "NO_AUDIT_YET")

	trigger := func() string {
		id, _, err := s.db.Trigger(t.Context(), "nightly", store.NewAudit{RequestedBy: "alice", Request: settings.Request()})
		require.NoError(t, err)
		return id.String()
	}
	preview := func() *nthlayerv1.PreviewScheduleResponse {
		status, body, _ := s.call(t, "GET", "/v1/schedules/nightly/preview", viewer, "")
		require.Equal(t, http.StatusOK, status, body)
		var answer struct {
			AuditID string `json:"audit_id"`
			Would   bool   `json:"would_tell"`
			Why     string
			Notices []struct{ Medium, To, Subject, Text string }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		shown := &nthlayerv1.PreviewScheduleResponse{AuditId: answer.AuditID, WouldTell: answer.Would, Why: answer.Why}
		for _, n := range answer.Notices {
			shown.Notices = append(shown.Notices, &nthlayerv1.NoticePreview{Medium: n.Medium, To: n.To, Subject: n.Subject, Text: n.Text})
		}
		return shown
	}
	first := trigger()
	s.snapshot(first, 2)
	s.part(first, 1)
	s.end(first)
	shown := preview()
	require.Equal(t, first, shown.GetAuditId())
	require.True(t, shown.GetWouldTell())
	require.Contains(t, shown.GetWhy(), "2 findings are new")
	require.Equal(t, "slack C0FFEE: text for C0FFEE, email a@example.org: text for a@example.org", fmt.Sprintf("%s %s: %s, %s %s: %s",
		shown.Notices[0].Medium, shown.Notices[0].To, shown.Notices[0].Text, shown.Notices[1].Medium, shown.Notices[1].To, shown.Notices[1].Text))
	decoded, err := notice.Decode(teller.asked[0].GetPayload())
	require.NoError(t, err)
	require.Equal(t, first, decoded.Audit.AuditID)
	require.Equal(t, 2, decoded.Audit.Counts.New)

	second := trigger()
	s.snapshot(second, 2)
	s.part(second, 1)
	s.end(second)
	shown = preview()
	require.Equal(t, second, shown.GetAuditId())
	require.False(t, shown.GetWouldTell())
	require.Equal(t, "nothing new was found", shown.GetWhy())
	require.Len(t, shown.GetNotices(), 2, "it is shown all the same")

	canceled, underWay := trigger(), ""
	status, _, _ = s.call(t, "POST", "/v1/audits/"+canceled+":cancel", s.token("bob", "nthlayer/operator"), `{}`)
	require.Equal(t, http.StatusOK, status)
	s.end(canceled)
	underWay = trigger()
	require.NotEqual(t, canceled, underWay)
	require.Equal(t, second, preview().GetAuditId(), "neither a canceled one is told of, nor one under way")
}

func TestPreview_NotifierAway_IsSaid(t *testing.T) {
	s := start(t)
	settings := store.ScheduleSettings{Cron: "@daily", Mode: audit.Full, Notify: audit.Always, Emails: []string{"a@example.org"}}
	_, err := s.db.CreateSchedule(t.Context(), "nightly", settings, time.Now().Add(time.Hour), "alice")
	require.NoError(t, err)
	id, _, err := s.db.Trigger(t.Context(), "nightly", store.NewAudit{RequestedBy: "alice", Request: settings.Request()})
	require.NoError(t, err)
	s.snapshot(id.String(), 0)
	s.end(id.String())
	status, body, _ := s.call(t, "GET", "/v1/schedules/nightly/preview", s.token("eve", "nthlayer/viewer"), "")
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	require.Contains(t, body, "the notifier could not be reached")
}
