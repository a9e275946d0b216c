package timetable_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/timetable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func of(t testing.TB, expression, zone string) *timetable.Timetable {
	t.Helper()
	table, err := timetable.Of("nightly", store.ScheduleSettings{Cron: expression, TimeZone: zone})
	require.NoError(t, err)
	return table
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

func TestOf_WhatCannotBe_IsRefusedWithTheField(t *testing.T) {
	for name, tc := range map[string]struct{ cron, zone, field string }{
		"empty":                   {"", "", "settings.cron"},
		"@every":                  {"@every 1h", "", "settings.cron"},
		"@every with a blank":     {" @every 1h", "", "settings.cron"},
		"no such word":            {"@reboot", "", "settings.cron"},
		"a zone in the cron text": {"TZ=Europe/Berlin 0 3 * * *", "", "settings.cron"},
		"the other spelling":      {"CRON_TZ=UTC 0 3 * * *", "", "settings.cron"},
		"a zone and nothing else": {"TZ=UTC", "", "settings.cron"},
		"seconds":                 {"0 0 3 * * *", "", "settings.cron"},
		"four fields":             {"0 3 * *", "", "settings.cron"},
		"minute 60":               {"60 * * * *", "", "settings.cron"},
		"words":                   {"every day at three", "", "settings.cron"},
		"30 February":             {"0 0 30 2 *", "", "settings.cron"},
		"31 of short months":      {"0 0 31 4,6,9,11 *", "", "settings.cron"},
		"no such zone":            {"0 3 * * *", "Europe/Atlantis", "settings.time_zone"},
		"the machine's zone":      {"0 3 * * *", "Local", "settings.time_zone"},
		"in small letters":        {"0 3 * * *", "local", "settings.time_zone"},
		"a way out of the folder": {"0 3 * * *", "../../etc/passwd", "settings.time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := timetable.Of("nightly", store.ScheduleSettings{Cron: tc.cron, TimeZone: tc.zone})
			f, ok := fault.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.Invalid, f.Kind)
			require.Equal(t, tc.field, f.Violations[0].Field)
		})
	}
}

func TestLate_IsAlwaysTheSameAndLessThanTheJitter(t *testing.T) {
	settings := store.ScheduleSettings{Cron: "@hourly", Jitter: 10 * time.Minute}
	one, err := timetable.Of("one", settings)
	require.NoError(t, err)
	same, err := timetable.Of("one", settings)
	require.NoError(t, err)
	other, err := timetable.Of("other", settings)
	require.NoError(t, err)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	seen := map[time.Duration]bool{}
	differ := 0
	for tick := at(t, "2026-01-01T00:00:00Z"); len(seen) < 200; tick = one.Next(tick) {
		late := one.Late(tick)
		require.GreaterOrEqual(t, late, time.Duration(0))
		require.Less(t, late, settings.Jitter)
		require.Equal(t, late, same.Late(tick.In(berlin)), "in another process, and another zone")
		if other.Late(tick) != late {
			differ++
		}
		seen[late] = true
	}
	require.Greater(t, differ, 190, "schedules of one minute are spread")
	require.Zero(t, of(t, "@hourly", "").Late(at(t, "2026-01-01T00:00:00Z")))
}

func FuzzOf(f *testing.F) {
	for _, expression := range []string{"0 3 * * *", "*/7 1-5/2 * * MON-FRI", "@daily", "@every 1s", "TZ=UTC", "0 0 29 2 1", "? ? ? ? ?", "0 0 31 2 *", "1-0 * * * *"} {
		f.Add(expression, "Europe/Berlin", int64(1792800000))
		f.Add(expression, "America/Sao_Paulo", int64(1541300000))
		f.Add(expression, "America/New_York", int64(2240524800)) // 31 December 2040
	}
	f.Fuzz(func(t *testing.T, expression, zone string, from int64) {
		if len(expression) > 100 || len(zone) > 64 { // as the API has it
			t.Skip()
		}
		table, err := timetable.Of("fuzzed", store.ScheduleSettings{Cron: expression, TimeZone: zone, Jitter: time.Hour})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		const lifetime = 3786912000 // seconds, up to 2090: the next leap day is within five years all that time
		from = (from%lifetime + lifetime) % lifetime
		before := time.Unix(from, 0)
		for range 5 {
			next := table.Next(before)
			require.True(t, next.After(before), "%s is not after %s", next, before)
			require.Less(t, table.Late(next), time.Hour)
			before = next
		}
		require.Equal(t, before, table.Last(table.Next(time.Unix(from, 0)), before))
	})
}
