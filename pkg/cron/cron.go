// Package cron tells when a cron expression ticks in a time zone. Where clocks are set forward, a time that does not exist is
// passed over. Where they are set back, a time that comes twice ticks at its first coming; only an expression of every hour
// ticks at both, for it would rest for an hour otherwise.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the zones, also where the machine has none

	"github.com/robfig/cron/v3"
)

// Times are the ticks of an expression in a zone.
type Times struct {
	spec *cron.SpecSchedule
	zone *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Zone finds a time zone of the IANA database; "": UTC.
func Zone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("%q is no time zone; take one of the IANA database, such as Europe/Berlin", name)
	}
	return zone, nil
}

// Parse reads an expression. One that never ticks is refused.
func Parse(expression string, zone *time.Location) (*Times, error) {
	wrong := errors.New(`must be five fields (minute hour day-of-month month day-of-week), such as "0 3 * * *", or @hourly, @daily, @weekly or @monthly`)
	if strings.Contains(expression, "=") { // a time zone: the parser panics where nothing follows one
		return nil, wrong
	}
	parsed, err := parser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wrong, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok { // @every
		return nil, wrong
	}
	t := &Times{spec: spec, zone: zone}
	if t.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("%q names a day that never comes", expression)
	}
	return t, nil
}

// Next is the first tick after a time; zero: there is none within five years.
//
// The expression is asked for times on the wall's clock, each of which comes once; the stretches between two changes of the
// clock say when those are. (The library's own way through a zone ticks twice where a clock is set back.)
func (t *Times) Next(after time.Time) time.Time {
	s := stretchOf(after, t.zone)
	wall := s.wall(after)
	for {
		if wall = t.spec.Next(wall); wall.IsZero() {
			return wall
		}
		switch {
		case s.over(wall):
			from := s.end
			s = stretchOf(from, t.zone)
			wall = s.wall(from).Add(-1) // a tick at the change itself is after that
		case t.everyHour() || !s.repeats(wall):
			return s.instant(wall)
		}
	}
}

// everyHour reports an expression that ticks in each hour of a day.
func (t *Times) everyHour() bool {
	const hours = 1<<24 - 1
	return t.spec.Hour&hours == hours
}

// Last is the last tick of those from due up to at, of which due is one. It looks back from at, twice as far each time, so
// that being away for long costs no more than being a minute late.
func (t *Times) Last(due, at time.Time) time.Time {
	last := due
	for back := time.Minute; ; back *= 2 {
		from := at.Add(-back)
		if !from.After(due) {
			from = due
		}
		for next := t.Next(from); !next.IsZero() && !next.After(at); next = t.Next(next) {
			last = next
		}
		if last != due || from.Equal(due) {
			return last
		}
	}
}
