package wire_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// yearly is a schedule that does not tick while a test runs.
func yearly() *nthlayerv1.ScheduleSettings {
	return &nthlayerv1.ScheduleSettings{
		Cron: "30 2 29 2 *", TimeZone: "Europe/Berlin", Scope: &nthlayerv1.AuditScope{Include: []string{"pay*"}, Exclude: []string{"*-test"}},
		Mode: "incremental", FullEvery: durationpb.New(24 * time.Hour), Jitter: durationpb.New(10 * time.Minute), Owner: "platform team",
		AutoReconcile: "enforce", Notify: "on_change", SlackChannel: "C0FFEE", Emails: []string{"oncall@example.org"}, IgnoreOrphans: []string{"sandbox*"},
	}
}

func alice(t *testing.T) context.Context { return rpc.OnBehalfOf(t.Context(), "alice") }

func TestSchedules_Life_FromCreationToDeletion(t *testing.T) {
	s := start(t)
	c := s.as(t, "gateway")
	created, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: yearly()})
	require.NoError(t, err)
	require.True(t, proto.Equal(yearly(), created.GetSettings()), "%v", created.GetSettings())
	require.Equal(t, "alice", created.GetCreatedBy())
	require.EqualValues(t, 1, created.GetRevision())
	require.False(t, created.GetPaused())
	leapDay := created.GetNextRunAt().AsTime()
	require.Equal(t, "02-29 01:30", leapDay.Format("01-02 15:04"))

	again, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: yearly()})
	require.NoError(t, err, "asking twice is the same as once")
	require.True(t, proto.Equal(created, again))
	other := yearly()
	other.Cron = "@monthly"
	_, err = c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: other})
	require.Equal(t, "SCHEDULE_EXISTS", fault.ReasonOf(err))

	bob := rpc.OnBehalfOf(t.Context(), "bob")
	updated, err := c.UpdateSchedule(bob, &nthlayerv1.UpdateScheduleRequest{ScheduleId: "nightly", Settings: other, Revision: 1})
	require.NoError(t, err)
	require.EqualValues(t, 2, updated.GetRevision())
	require.Equal(t, "bob", updated.GetUpdatedBy())
	require.Equal(t, "alice", updated.GetCreatedBy())
	require.True(t, updated.GetNextRunAt().AsTime().Before(leapDay))
	_, err = c.UpdateSchedule(bob, &nthlayerv1.UpdateScheduleRequest{ScheduleId: "nightly", Settings: yearly(), Revision: 1})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	require.Equal(t, "SCHEDULE_CHANGED", fault.ReasonOf(err))
	_, err = c.UpdateSchedule(bob, &nthlayerv1.UpdateScheduleRequest{ScheduleId: "nightly", Settings: yearly()})
	require.NoError(t, err, "0 is any revision")

	paused, err := c.PauseSchedule(bob, &nthlayerv1.PauseScheduleRequest{ScheduleId: "nightly", Reason: "incident 7"})
	require.NoError(t, err)
	require.True(t, paused.GetPaused())
	require.Equal(t, "bob", paused.GetPausedBy())
	require.Equal(t, "incident 7", paused.GetPauseReason())
	require.Nil(t, paused.GetNextRunAt())
	still, err := c.UpdateSchedule(bob, &nthlayerv1.UpdateScheduleRequest{ScheduleId: "nightly", Settings: other})
	require.NoError(t, err)
	require.True(t, still.GetPaused(), "other settings do not end a pause")
	resumed, err := c.ResumeSchedule(alice(t), &nthlayerv1.ResumeScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.False(t, resumed.GetPaused())
	require.Empty(t, resumed.GetPausedBy())
	require.True(t, resumed.GetNextRunAt().AsTime().After(time.Now()))

	times, err := c.ListNextRuns(t.Context(), &nthlayerv1.ListNextRunsRequest{ScheduleId: "nightly", Count: 12})
	require.NoError(t, err)
	require.Len(t, times.GetTimes(), 12)
	for i, at := range times.GetTimes() {
		require.True(t, i == 0 || at.AsTime().After(times.GetTimes()[i-1].AsTime()))
	}
	lateBy := times.GetTimes()[0].AsTime().Sub(resumed.GetNextRunAt().AsTime())
	require.True(t, lateBy >= 0 && lateBy < 10*time.Minute, "with its jitter")
	usual, err := c.ListNextRuns(t.Context(), &nthlayerv1.ListNextRunsRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.Len(t, usual.GetTimes(), 5)

	_, err = c.DeleteSchedule(alice(t), &nthlayerv1.DeleteScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	_, err = c.DeleteSchedule(alice(t), &nthlayerv1.DeleteScheduleRequest{ScheduleId: "nightly"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// What is left out is meant as the API says.
func TestCreateSchedule_LeastSaid_HasItsMeaning(t *testing.T) {
	c := start(t).as(t, "gateway")
	created, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "least", Settings: &nthlayerv1.ScheduleSettings{Cron: "@monthly"}})
	require.NoError(t, err)
	require.Equal(t, "auto", created.GetSettings().GetMode())
	require.Equal(t, "observe", created.GetSettings().GetAutoReconcile())
	require.Equal(t, "always", created.GetSettings().GetNotify())
	spelt := &nthlayerv1.ScheduleSettings{Cron: "@monthly", Mode: "auto", AutoReconcile: "observe", Notify: "always"}
	_, err = c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "least", Settings: spelt})
	require.NoError(t, err, "said or not, it is the same schedule")
}

func TestTriggerSchedule_StartsOneAuditAndAnnouncesIt(t *testing.T) {
	s := start(t)
	c := s.as(t, "gateway")
	_, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: yearly()})
	require.NoError(t, err)
	_, err = c.PauseSchedule(alice(t), &nthlayerv1.PauseScheduleRequest{ScheduleId: "nightly", Reason: "x"})
	require.NoError(t, err)
	first, err := c.TriggerSchedule(alice(t), &nthlayerv1.TriggerScheduleRequest{ScheduleId: "nightly", Mode: "full", AcceptShrunkenSource: true})
	require.NoError(t, err, "also of a paused one")
	require.False(t, first.GetAlreadyRunning())
	second, err := c.TriggerSchedule(alice(t), &nthlayerv1.TriggerScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.True(t, second.GetAlreadyRunning())
	require.Equal(t, first.GetAuditId(), second.GetAuditId())

	a, err := s.db.Audit(t.Context(), uuid.MustParse(first.GetAuditId()))
	require.NoError(t, err)
	require.Equal(t, "alice", a.RequestedBy)
	require.Equal(t, "nightly", a.ScheduleID)
	require.Nil(t, a.TickAt)
	require.Equal(t, "full", a.Request.Mode)
	require.True(t, a.Request.AcceptShrunken)
	require.Equal(t, "enforce", a.Request.AutoReconcile)
	require.Equal(t, []string{"pay*"}, a.Request.Scope.Include)
	require.Eventually(t, func() bool { return len(s.queue.State().Queues["audit.fifo"].Messages) == 1 }, 10*time.Second, 5*time.Millisecond)
	require.JSONEq(t, `{"audit_id":"`+first.GetAuditId()+`","job_no":0}`, s.queue.State().Queues["audit.fifo"].Messages[0].Body)

	shown, err := c.GetSchedule(t.Context(), &nthlayerv1.GetScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.Equal(t, first.GetAuditId(), shown.GetLastAuditId())
	_, err = c.TriggerSchedule(alice(t), &nthlayerv1.TriggerScheduleRequest{ScheduleId: "nobodys"})
	require.Equal(t, "SCHEDULE_NOT_FOUND", fault.ReasonOf(err))
}

func TestListSchedules_Pages_AreWholeAndInOrder(t *testing.T) {
	c := start(t).as(t, "gateway")
	for i := range 7 {
		_, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: fmt.Sprintf("s-%d", i), Settings: yearly()})
		require.NoError(t, err)
	}
	var ids, sizes []string
	for token := ""; ; {
		page, err := c.ListSchedules(t.Context(), &nthlayerv1.ListSchedulesRequest{PageSize: 3, PageToken: token})
		require.NoError(t, err)
		sizes = append(sizes, fmt.Sprint(len(page.GetSchedules())))
		for _, s := range page.GetSchedules() {
			ids = append(ids, s.GetScheduleId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	require.Equal(t, "s-0 s-1 s-2 s-3 s-4 s-5 s-6", strings.Join(ids, " "))
	require.Equal(t, "3 3 1", strings.Join(sizes, " "))
}

func TestSchedules_BadInput_NamesTheField(t *testing.T) {
	c := start(t).as(t, "gateway")
	for name, tc := range map[string]struct {
		id    string
		tune  func(*nthlayerv1.ScheduleSettings)
		field string
	}{
		"no cron":          {"x", func(s *nthlayerv1.ScheduleSettings) { s.Cron = "" }, "settings.cron"},
		"cron in words":    {"x", func(s *nthlayerv1.ScheduleSettings) { s.Cron = "at night" }, "settings.cron"},
		"@every":           {"x", func(s *nthlayerv1.ScheduleSettings) { s.Cron = "@every 1s" }, "settings.cron"},
		"a zone in cron":   {"x", func(s *nthlayerv1.ScheduleSettings) { s.Cron = "TZ=UTC" }, "settings.cron"},
		"never":            {"x", func(s *nthlayerv1.ScheduleSettings) { s.Cron = "0 0 31 2 *" }, "settings.cron"},
		"unknown zone":     {"x", func(s *nthlayerv1.ScheduleSettings) { s.TimeZone = "Europe/Atlantis" }, "settings.time_zone"},
		"path for a zone":  {"x", func(s *nthlayerv1.ScheduleSettings) { s.TimeZone = "../etc" }, "settings.time_zone"},
		"mode":             {"x", func(s *nthlayerv1.ScheduleSettings) { s.Mode = "quick" }, "settings.mode"},
		"jitter":           {"x", func(s *nthlayerv1.ScheduleSettings) { s.Jitter = durationpb.New(2 * time.Hour) }, "settings.jitter"},
		"full_every":       {"x", func(s *nthlayerv1.ScheduleSettings) { s.FullEvery = durationpb.New(time.Minute) }, "settings.full_every"},
		"notify":           {"x", func(s *nthlayerv1.ScheduleSettings) { s.Notify = "often" }, "settings.notify"},
		"an e-mail":        {"x", func(s *nthlayerv1.ScheduleSettings) { s.Emails = []string{"nobody"} }, "settings.emails[0]"},
		"an e-mail twice":  {"x", func(s *nthlayerv1.ScheduleSettings) { s.Emails = []string{"a@b.org", "a@b.org"} }, "settings.emails"},
		"channel by name":  {"x", func(s *nthlayerv1.ScheduleSettings) { s.SlackChannel = "#ops" }, "settings.slack_channel"},
		"scope":            {"x", func(s *nthlayerv1.ScheduleSettings) { s.Scope.Include = []string{"pay ments"} }, "settings.scope.include[0]"},
		"id with capitals": {"Nightly", func(*nthlayerv1.ScheduleSettings) {}, "schedule_id"},
		"no id":            {"", func(*nthlayerv1.ScheduleSettings) {}, "schedule_id"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := yearly()
			tc.tune(settings)
			_, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: tc.id, Settings: settings})
			requireField(t, err, tc.field)
			_, err = c.UpdateSchedule(alice(t), &nthlayerv1.UpdateScheduleRequest{ScheduleId: tc.id, Settings: settings})
			requireField(t, err, tc.field)
		})
	}
	_, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "x"})
	requireField(t, err, "settings")
	_, err = c.ListNextRuns(t.Context(), &nthlayerv1.ListNextRunsRequest{ScheduleId: "x", Count: 101})
	requireField(t, err, "count")
	_, err = c.PauseSchedule(alice(t), &nthlayerv1.PauseScheduleRequest{ScheduleId: "x"})
	requireField(t, err, "reason")
}

func requireField(t *testing.T, err error, field string) {
	t.Helper()
	f, ok := fault.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, fault.Invalid, f.Kind, "%v", err)
	require.Equal(t, field, f.Violations[0].Field)
}

// calls is every RPC of the service on a schedule.
func calls(c internalv1.SchedulerServiceClient, id string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"CreateSchedule": func(ctx context.Context) error {
			_, err := c.CreateSchedule(ctx, &nthlayerv1.CreateScheduleRequest{ScheduleId: id, Settings: yearly()})
			return err
		},
		"UpdateSchedule": func(ctx context.Context) error {
			_, err := c.UpdateSchedule(ctx, &nthlayerv1.UpdateScheduleRequest{ScheduleId: id, Settings: yearly()})
			return err
		},
		"DeleteSchedule": func(ctx context.Context) error {
			_, err := c.DeleteSchedule(ctx, &nthlayerv1.DeleteScheduleRequest{ScheduleId: id})
			return err
		},
		"TriggerSchedule": func(ctx context.Context) error {
			_, err := c.TriggerSchedule(ctx, &nthlayerv1.TriggerScheduleRequest{ScheduleId: id})
			return err
		},
		"PauseSchedule": func(ctx context.Context) error {
			_, err := c.PauseSchedule(ctx, &nthlayerv1.PauseScheduleRequest{ScheduleId: id, Reason: "x"})
			return err
		},
		"ResumeSchedule": func(ctx context.Context) error {
			_, err := c.ResumeSchedule(ctx, &nthlayerv1.ResumeScheduleRequest{ScheduleId: id})
			return err
		},
		"GetSchedule": func(ctx context.Context) error {
			_, err := c.GetSchedule(ctx, &nthlayerv1.GetScheduleRequest{ScheduleId: id})
			return err
		},
		"ListNextRuns": func(ctx context.Context) error {
			_, err := c.ListNextRuns(ctx, &nthlayerv1.ListNextRunsRequest{ScheduleId: id})
			return err
		},
		"ListSchedules": func(ctx context.Context) error {
			_, err := c.ListSchedules(ctx, &nthlayerv1.ListSchedulesRequest{})
			return err
		},
	}
}

func TestSchedules_OtherRole_IsRefusedEverywhere(t *testing.T) {
	s := start(t)
	require.Len(t, calls(nil, ""), len(internalv1.SchedulerService_ServiceDesc.Methods), "every RPC is here")
	for name, call := range calls(s.as(t, "notifier"), "nightly") {
		require.Equal(t, fault.PermissionDenied, fault.KindOf(call(alice(t))), name)
	}
}

func TestSchedules_NobodyNamed_ChangesNothing(t *testing.T) {
	s := start(t)
	c := s.as(t, "gateway")
	created, err := c.CreateSchedule(alice(t), &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: yearly()})
	require.NoError(t, err)
	for name, call := range calls(c, "nightly") {
		if strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") {
			require.NoError(t, call(t.Context()), name)
			continue
		}
		require.Equal(t, fault.Internal, fault.KindOf(call(t.Context())), name)
		require.Equal(t, fault.Internal, fault.KindOf(call(rpc.OnBehalfOf(t.Context(), ""))), name)
		require.Equal(t, fault.Internal, fault.KindOf(call(rpc.OnBehalfOf(alice(t), "bob"))), "%s for two", name)
	}
	is, err := c.GetSchedule(t.Context(), &nthlayerv1.GetScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err)
	require.True(t, proto.Equal(created, is))
}

func TestSchedules_NoSuchSchedule_IsNotFound(t *testing.T) {
	c := start(t).as(t, "gateway")
	for name, call := range calls(c, "nobodys") {
		if name == "CreateSchedule" || name == "ListSchedules" {
			continue
		}
		require.Equal(t, "SCHEDULE_NOT_FOUND", fault.ReasonOf(call(alice(t))), name)
	}
}

// A name of any characters travels as it is.
func TestBehalfOf_OddNames_ArriveWhole(t *testing.T) {
	c := start(t).as(t, "gateway")
	for i, who := range []string{"Äüß 例 | x", "a\nb", strings.Repeat("x", 500)} {
		created, err := c.CreateSchedule(rpc.OnBehalfOf(t.Context(), who), &nthlayerv1.CreateScheduleRequest{ScheduleId: fmt.Sprint("s-", i), Settings: yearly()})
		require.NoError(t, err)
		require.Equal(t, who, created.GetCreatedBy())
	}
}

func TestScheduler_ItsOwnTicks_MakeAudits(t *testing.T) {
	s := start(t)
	_, err := s.db.CreateSchedule(t.Context(), "due", settings(), time.Now().Add(-time.Minute).Truncate(time.Minute), "alice")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(s.queue.State().Queues["audit.fifo"].Messages) == 1 }, 20*time.Second, 5*time.Millisecond)
}

func TestScheduler_TicksOfAQueue_MakeAudits(t *testing.T) {
	s := start(t, "NTHLAYER_TICK_QUEUE=ticks.fifo")
	_, err := s.db.CreateSchedule(t.Context(), "due", settings(), time.Now().Add(-time.Minute).Truncate(time.Minute), "alice")
	require.NoError(t, err)
	_, err = queue.NewProducer(s.queues).Send(t.Context(), []queue.Message{{Queue: "ticks.fifo", Group: "tick", Dedup: "1", Body: []byte("{}")}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(s.queue.State().Queues["audit.fifo"].Messages) == 1 }, 20*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool { q := s.queue.State().Queues["ticks.fifo"]; return len(q.Messages) == 0 }, 20*time.Second, 5*time.Millisecond)
}
