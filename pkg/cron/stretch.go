package cron

import "time"

// stretch is a time in which a zone's clock is not changed, or a part of one. A zero begin or end is none.
type stretch struct {
	begin, end time.Time
	offset     time.Duration // of the clock on the wall from UTC
	before     time.Duration // the offset until begin
}

func stretchOf(at time.Time, zone *time.Location) stretch {
	at = at.In(zone)
	s := stretch{offset: offsetOf(at)}
	s.begin, s.end = at.ZoneBounds()
	if !s.end.IsZero() && !s.end.After(at) {
		// On 31 December of a leap year the bounds end a day early, where a rule and no table tells the changes to come.
		s.end = at.Add(time.Hour)
	}
	if !s.begin.IsZero() {
		s.before = offsetOf(s.begin.Add(-1))
	}
	return s
}

func offsetOf(at time.Time) time.Duration {
	_, seconds := at.Zone()
	return time.Duration(seconds) * time.Second
}

// wall is what the clock shows, as if it were UTC.
func (s stretch) wall(at time.Time) time.Time { return at.UTC().Add(s.offset) }

// instant is when the clock shows it.
func (s stretch) instant(wall time.Time) time.Time { return wall.Add(-s.offset) }

// over reports what the clock would show after the stretch.
func (s stretch) over(wall time.Time) bool { return !s.end.IsZero() && !s.instant(wall).Before(s.end) }

// repeats reports what the clock has shown before it was set back.
func (s stretch) repeats(wall time.Time) bool {
	return !s.begin.IsZero() && wall.Add(-s.before).Before(s.begin)
}
