package wire_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func settings() store.ScheduleSettings {
	return store.ScheduleSettings{
		Cron: "@daily", Mode: audit.Auto, AutoReconcile: audit.Observe, Notify: audit.Always, Emails: []string{"oncall@example.org"},
	}
}

// No password and no address comes out of a scheduler: not of those whom schedules tell, nor of those whom findings are
// about.
func TestScheduler_Secrets_StayInside(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // spans leave while it runs
	var told testkit.Outside
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+testkit.Collector(t, &told))
	parsed, err := url.Parse(s.database)
	require.NoError(t, err)
	password, _ := parsed.User.Password()
	require.NotEmpty(t, password)

	c := s.as(t, "gateway")
	ctx := rpc.OnBehalfOf(t.Context(), "ann@example.org")
	good := yearly()
	_, err = c.CreateSchedule(ctx, &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: good})
	require.NoError(t, err)
	for _, bad := range []*nthlayerv1.ScheduleSettings{
		{Cron: "at night", Owner: "ann@example.org"}, {Cron: "@daily", TimeZone: "ann@example.org"}, {Cron: "@daily", Emails: []string{"ann@example.org;"}},
		{Cron: "@monthly", Emails: []string{"ann@example.org"}}, // another one of that name
	} {
		_, err = c.CreateSchedule(ctx, &nthlayerv1.CreateScheduleRequest{ScheduleId: "nightly", Settings: bad})
		require.Error(t, err)
	}
	_, err = s.db.CreateSchedule(t.Context(), "due", settings(), time.Now().Add(-time.Minute), "ann@example.org")
	require.NoError(t, err)
	s.Await(t, "output", `"schedule ticked"`)
	audits, err := s.db.Audits(t.Context(), store.AuditFilter{ScheduleID: "due", Limit: 1})
	require.NoError(t, err)
	require.Len(t, audits, 1)
	job, err := s.db.ClaimAuditJob(t.Context(), audits[0].AuditID, store.SnapshotJob, "worker", time.Minute)
	require.NoError(t, err)
	require.NoError(t, job.Stage(t.Context(), []ownership.Desired{{TeamID: "payments", Name: "payments"}}))
	require.NoError(t, job.EndSnapshot(t.Context(), store.Snapshot{Read: audit.Full, Teams: 1}))
	var part *store.AuditJob
	require.Eventually(t, func() bool {
		part, err = s.db.ClaimAuditJob(t.Context(), audits[0].AuditID, 1, "worker", time.Minute)
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	teams, err := part.Teams(t.Context())
	require.NoError(t, err)
	_, err = part.Settle(t.Context(), []store.AuditedTeam{{
		Team: teams[0], Status: ownership.OutOfSync,
		Findings: []audit.Finding{{TeamID: "payments", Kind: string(ownership.UserNotFound), EntityRef: "person:ben@example.org", Message: "ben@example.org has no account"}},
	}}, store.Calls{})
	require.NoError(t, err)
	s.Await(t, "output", `"audit ended"`)
	for _, path := range []string{"/readyz", "/debug/config", "/debug/log-level", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		s.Get(t, s.admin+path)
	}
	told.Await(t, "spans", "SchedulerService")
	s.stop()

	require.NotEmpty(t, told.Said("metrics"))
	require.Contains(t, s.Said("/debug/config"), "NTHLAYER_DATABASE_URL=[redacted]")
	require.Empty(t, s.Holding(password))
	require.Empty(t, told.Holding(password))
	for line := range strings.Lines(s.Said("output")) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			require.NotContains(t, line, "example.org", "an e-mail address above debug level")
		}
	}
	require.NotContains(t, told.Said("spans")+told.Said("metrics"), "example.org")

	// Control: a schedule whose addresses were logged would be found.
	s.Add("output", `{"level":"INFO","to":"oncall@example.org"}`)
	require.Contains(t, s.Said("output"), "example.org")
}
