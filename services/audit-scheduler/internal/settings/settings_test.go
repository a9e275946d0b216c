package settings_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTicks_Bounds(t *testing.T) {
	good := settings.Ticks{Every: 5 * time.Second}
	require.NoError(t, good.Validate())
	for name, tc := range map[string]struct {
		tune func(*settings.Ticks)
		says string
	}{
		"too often":     {func(s *settings.Ticks) { s.Every = 99 * time.Millisecond }, "NTHLAYER_TICK_EVERY"},
		"too seldom":    {func(s *settings.Ticks) { s.Every = time.Hour + 1 }, "NTHLAYER_TICK_EVERY"},
		"a queue's URL": {func(s *settings.Ticks) { s.Queue = "https://sqs.eu-west-1.amazonaws.com/1/ticks.fifo" }, "NTHLAYER_TICK_QUEUE"},
		"a queue's ARN": {func(s *settings.Ticks) { s.Queue = "arn:aws:sqs:eu-west-1:1:ticks.fifo" }, "NTHLAYER_TICK_QUEUE"},
		"no URL":        {func(s *settings.Ticks) { s.PublicURL = "nthlayer.example.org" }, "NTHLAYER_PUBLIC_URL"},
	} {
		ticks := good
		tc.tune(&ticks)
		require.ErrorContains(t, ticks.Validate(), tc.says, name)
	}
	all := settings.Ticks{Queue: "a b", PublicURL: "x"}
	for _, says := range []string{"NTHLAYER_TICK_EVERY", "NTHLAYER_TICK_QUEUE", "NTHLAYER_PUBLIC_URL"} {
		require.ErrorContains(t, all.Validate(), says, "every problem is told at once")
	}
	require.NoError(t, settings.Ticks{Every: time.Minute, Queue: "ticks.fifo", PublicURL: "https://nthlayer.example.org/"}.Validate())
}

func TestTrail_KeepAndPlace_GoTogether(t *testing.T) {
	require.NoError(t, settings.Trail{}.Validate(), "everything stays")
	require.NoError(t, settings.Trail{Keep: 9600 * time.Hour, Archive: "s3://company/trail"}.Validate())
	for name, c := range map[string]struct {
		trail settings.Trail
		says  string
	}{
		"no place":      {settings.Trail{Keep: 9600 * time.Hour}, "NTHLAYER_TRAIL_ARCHIVE"},
		"no such place": {settings.Trail{Keep: 9600 * time.Hour, Archive: "https://company"}, "NTHLAYER_TRAIL_ARCHIVE"},
		"no time":       {settings.Trail{Archive: "s3://company/trail"}, "NTHLAYER_TRAIL_KEEP"},
		"too short":     {settings.Trail{Keep: time.Hour, Archive: "s3://company/trail"}, "NTHLAYER_TRAIL_KEEP"},
	} {
		require.ErrorContains(t, c.trail.Validate(), c.says, name)
	}
}
