// Package timetable tells when a schedule ticks: a cron expression in a time zone. Where clocks are set forward, a time that
// does not exist is passed over. Where they are set back, a time that comes twice ticks at its first coming; only a schedule
// of every hour ticks at both, for it would rest for an hour otherwise.
package timetable

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the zones, also where the machine has none

	"github.com/robfig/cron/v3"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// Timetable is when one schedule ticks.
type Timetable struct {
	cron   *cron.SpecSchedule
	zone   *time.Location
	jitter time.Duration
	id     string
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Of reads the settings of a schedule; what is wrong with them is Invalid and names the field.
func Of(id string, s store.ScheduleSettings) (*Timetable, error) {
	zone, err := time.LoadLocation(s.TimeZone) // empty: UTC
	if err != nil || strings.EqualFold(s.TimeZone, "local") {
		return nil, fault.Field("settings.time_zone", fmt.Sprintf("%q is no time zone; take one of the IANA database, such as Europe/Berlin", s.TimeZone))
	}
	const want = `must be five fields (minute hour day-of-month month day-of-week), such as "0 3 * * *", or @hourly, @daily, @weekly or @monthly`
	if strings.Contains(s.Cron, "=") { // a time zone: the parser panics where nothing follows one
		return nil, fault.Field("settings.cron", want)
	}
	parsed, err := parser.Parse(s.Cron)
	if err != nil {
		return nil, fault.Field("settings.cron", want+": "+err.Error())
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok { // @every
		return nil, fault.Field("settings.cron", want)
	}
	t := &Timetable{cron: spec, zone: zone, jitter: s.Jitter, id: id}
	if t.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fault.Field("settings.cron", fmt.Sprintf("%q names a day that never comes", s.Cron))
	}
	return t, nil
}

// Next is the first tick after a time; zero: there is none within five years.
//
// The expression is asked for times on the wall's clock, each of which comes once; the stretches between two changes of the
// clock say when those are. (The library's own way through a zone ticks twice where a clock is set back.)
func (t *Timetable) Next(after time.Time) time.Time {
	s := stretchOf(after, t.zone)
	wall := s.wall(after)
	for {
		if wall = t.cron.Next(wall); wall.IsZero() {
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

// everyHour reports a schedule that ticks in each hour of a day.
func (t *Timetable) everyHour() bool {
	const hours = 1<<24 - 1
	return t.cron.Hour&hours == hours
}

// Last is the last tick of those from due up to at, of which due is one. It looks back from at, twice as far each time, so
// that a schedule that was away for long costs no more than one that is a minute late.
func (t *Timetable) Last(due, at time.Time) time.Time {
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

// Late is by how much a tick is late: always the same for the same tick, and less than the jitter.
func (t *Timetable) Late(tick time.Time) time.Duration {
	if t.jitter <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(t.id + "@" + tick.UTC().Format(time.RFC3339)))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(t.jitter))
}
