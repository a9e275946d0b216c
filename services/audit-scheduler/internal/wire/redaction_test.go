package wire_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
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
	s.audited(t)
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
