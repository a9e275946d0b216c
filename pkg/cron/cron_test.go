package cron_test

import (
	"testing"
	"time"

	library "github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/cron"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func of(t testing.TB, expression, zone string) *cron.Times {
	t.Helper()
	location, err := cron.Zone(zone)
	require.NoError(t, err)
	times, err := cron.Parse(expression, location)
	require.NoError(t, err)
	return times
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

func TestNext_ZonesAndChangesOfTheClock(t *testing.T) {
	for name, tc := range map[string]struct {
		cron, zone, after string
		ticks             []string // in UTC
	}{
		"UTC where no zone is said": {"0 3 * * *", "", "2026-01-01T03:00:00Z", []string{"2026-01-02T03:00:00Z", "2026-01-03T03:00:00Z"}},
		"a tick is after the time":  {"*/15 * * * *", "", "2026-01-01T03:14:59.5Z", []string{"2026-01-01T03:15:00Z", "2026-01-01T03:30:00Z"}},
		"the zone's own hours":      {"0 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", []string{"2026-01-01T21:30:00Z"}},
		"a word":                    {"@weekly", "America/New_York", "2026-01-01T00:00:00Z", []string{"2026-01-04T05:00:00Z"}},
		"weekdays by name":          {"0 9 * * MON-FRI", "", "2026-01-02T09:00:00Z", []string{"2026-01-05T09:00:00Z"}},
		"a leap day":                {"0 0 29 2 *", "", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},

		"set forward: the hour does not exist": {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"}},
		"set forward: what comes after goes on": {"30 1,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T23:30:00Z"}},
		"set forward: the first moment after it": {"0 3 29 3 *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z"}},
		"set forward: midnight does not exist": {"0 0 * * *", "America/Sao_Paulo", "2018-11-03T02:59:00Z",
			[]string{"2018-11-03T03:00:00Z", "2018-11-05T02:00:00Z"}},
		"set back: the hour comes twice": {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"set back: asked between the two": {"30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		"set back: several hours": {"30 1-3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z", "2026-10-26T00:30:00Z"}},
		"set back: every hour is an hour": {"@hourly", "Europe/Berlin", "2026-10-24T23:30:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"set back: every hour, spelt out": {"45 0-23 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z",
			[]string{"2026-10-25T00:45:00Z", "2026-10-25T01:45:00Z", "2026-10-25T02:45:00Z"}},
		"set back at midnight": {"30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00:00Z",
			[]string{"2018-02-18T01:30:00Z", "2018-02-19T02:30:00Z"}},
		"set back by half an hour": {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z",
			[]string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		"a day that the zone left out": {"0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			table, next := of(t, tc.cron, tc.zone), at(t, tc.after)
			for _, want := range tc.ticks {
				next = table.Next(next)
				require.Equal(t, want, next.Format(time.RFC3339))
			}
		})
	}
}

// Every minute around every change of the clock is a tick exactly where the zone's clock shows a time that the expression
// names, and has not shown it before.
func TestNext_AroundEveryChange_IsWhatTheClockShows(t *testing.T) {
	const span = 30 * time.Hour
	for _, zone := range []string{"Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana", "Asia/Beirut", "Pacific/Apia", "UTC"} {
		location, err := time.LoadLocation(zone)
		require.NoError(t, err)
		for _, expression := range []string{"30 2 * * *", "0 0 * * *", "*/7 * * * *", "0 */2 * * *", "15,45 0-3 * * SUN", "30 23 * * *", "59 1 28-31 * *"} {
			table := of(t, expression, zone)
			spec, err := library.ParseStandard(expression)
			require.NoError(t, err)
			change := at(t, "2010-01-01T00:00:00Z").In(location)
			for range 10 {
				if _, end := change.ZoneBounds(); !end.IsZero() {
					change = end
				}
				var want, got []time.Time
				shown := map[time.Time]bool{}
				from := change.Add(-span).Truncate(time.Minute)
				for minute := from; minute.Before(change.Add(span)); minute = minute.Add(time.Minute) {
					wall := time.Date(minute.Year(), minute.Month(), minute.Day(), minute.Hour(), minute.Minute(), 0, 0, time.UTC)
					again := shown[wall] && expression != "*/7 * * * *"
					shown[wall] = true
					if spec.Next(wall.Add(-time.Second)).Equal(wall) && !again && minute.After(from.Add(25*time.Hour)) {
						want = append(want, minute.UTC())
					}
				}
				for next := table.Next(from.Add(25 * time.Hour)); next.Before(change.Add(span)); next = table.Next(next) {
					got = append(got, next)
				}
				require.Equal(t, want, got, "%s in %s at %s", expression, zone, change)
			}
		}
	}
}

// The zones' bounds end a day early at the end of leap years for which there is a rule and no table any more.
func TestNext_FarAhead_PassesTheEndOfLeapYears(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Santiago", "Asia/Kolkata", "UTC"} {
		leapDays, nightly, half := of(t, "30 4 29 2 *", zone), of(t, "30 4 * * *", zone), of(t, "*/30 * * * *", zone)
		location, err := time.LoadLocation(zone)
		require.NoError(t, err)
		next := at(t, "2026-01-01T00:00:00Z")
		for year := 2028; year <= 2092; year += 4 {
			next = leapDays.Next(next)
			require.Equal(t, time.Date(year, 2, 29, 4, 30, 0, 0, location).UTC(), next, zone)
			eve := time.Date(year, 12, 30, 12, 0, 0, 0, location)
			for _, day := range []time.Time{time.Date(year, 12, 31, 4, 30, 0, 0, location), time.Date(year+1, 1, 1, 4, 30, 0, 0, location)} {
				eve = nightly.Next(eve)
				require.Equal(t, day.UTC(), eve, zone)
			}
			eve = time.Date(year, 12, 30, 12, 0, 0, 0, location)
			for range 100 {
				require.Equal(t, eve.Add(30*time.Minute).UTC(), half.Next(eve), zone)
				eve = half.Next(eve)
			}
		}
	}
}

// Control: the library's own way through the zone ticks twice.
func TestControl_Library_TicksTwice(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	spec, err := library.ParseStandard("30 2 * * *")
	require.NoError(t, err)
	first := spec.Next(at(t, "2026-10-24T12:00:00Z").In(berlin))
	require.Equal(t, time.Hour, spec.Next(first).Sub(first))
}

func TestLast_SeveralMissed_IsTheLastOfThem(t *testing.T) {
	for name, tc := range map[string]struct{ cron, due, at, last string }{
		"none missed":                {"0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z"},
		"one is due":                 {"0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-02T02:59:59Z", "2026-01-01T03:00:00Z"},
		"exactly now":                {"0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-03T03:00:00Z", "2026-01-03T03:00:00Z"},
		"a week":                     {"0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-08T12:00:00Z", "2026-01-08T03:00:00Z"},
		"many, and none for long":    {"* 3 1 1 *", "2025-01-01T03:00:00Z", "2026-12-01T00:00:00Z", "2026-01-01T03:59:00Z"},
		"due is no tick any more":    {"0 3 * * *", "2026-01-01T07:30:00Z", "2026-01-01T23:00:00Z", "2026-01-01T07:30:00Z"},
		"a minute that has not come": {"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:59.9Z", "2026-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, at(t, tc.last), of(t, tc.cron, "").Last(at(t, tc.due), at(t, tc.at)))
		})
	}
}

// A year of missed minutes is not walked through: that took most of a second.
func TestLast_YearOfMinutes_IsAsQuickAsOne(t *testing.T) {
	table := of(t, "* * * * *", "Europe/Berlin")
	due, now := at(t, "2025-01-01T00:00:00Z"), at(t, "2026-01-01T00:00:30Z")
	begun := time.Now()
	for range 1000 {
		require.Equal(t, at(t, "2026-01-01T00:00:00Z"), table.Last(due, now))
	}
	require.Less(t, time.Since(begun), 5*time.Second)
}
