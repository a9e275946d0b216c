// Package timetable tells when a schedule ticks: a cron expression in a time zone. Where clocks are set forward, a time that
// does not exist is passed over; where they are set back, a time that comes twice ticks once.
package timetable

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// Timetable is when one schedule ticks.
type Timetable struct {
	cron   cron.Schedule
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
	if strings.Contains(s.Cron, "=") || strings.HasPrefix(s.Cron, "@every") {
		return nil, fault.Field("settings.cron", want)
	}
	parsed, err := parser.Parse(s.Cron)
	if err != nil {
		return nil, fault.Field("settings.cron", want+": "+err.Error())
	}
	t := &Timetable{cron: parsed, zone: zone, jitter: s.Jitter, id: id}
	if t.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fault.Field("settings.cron", fmt.Sprintf("%q names a day that never comes", s.Cron))
	}
	return t, nil
}

// Next is the first tick after a time.
func (t *Timetable) Next(after time.Time) time.Time {
	next := t.cron.Next(after.In(t.zone))
	if next.IsZero() {
		return next
	}
	return next.UTC()
}

// Last is the last tick of those from due up to at, of which due is one.
func (t *Timetable) Last(due, at time.Time) time.Time {
	for {
		next := t.Next(due)
		if next.IsZero() || next.After(at) {
			return due
		}
		due = next
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
