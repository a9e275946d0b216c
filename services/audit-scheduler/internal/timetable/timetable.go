// Package timetable tells when a schedule ticks: a cron expression in a time zone (package cron), a little late where that
// spreads the load.
package timetable

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/nthlayer/nthlayer/pkg/cron"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// Timetable is when one schedule ticks.
type Timetable struct {
	*cron.Times
	jitter time.Duration
	id     string
}

// Of reads the settings of a schedule; what is wrong with them is Invalid and names the field.
func Of(id string, s store.ScheduleSettings) (*Timetable, error) {
	zone, err := cron.Zone(s.TimeZone)
	if err != nil {
		return nil, fault.Field("settings.time_zone", err.Error())
	}
	times, err := cron.Parse(s.Cron, zone)
	if err != nil {
		return nil, fault.Field("settings.cron", err.Error())
	}
	return &Timetable{Times: times, jitter: s.Jitter, id: id}, nil
}

// Late is by how much a tick is late: always the same for the same tick, and less than the jitter.
func (t *Timetable) Late(tick time.Time) time.Duration {
	if t.jitter <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(t.id + "@" + tick.UTC().Format(time.RFC3339)))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(t.jitter))
}
