package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nthlayer/nthlayer/pkg/cron"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// The bounds of how long one freeze lasts.
const (
	minFreeze = time.Minute
	maxFreeze = 31 * 24 * time.Hour
)

// window is a time in which changes are frozen: once, or for a while from each tick on. Whether it is for a team, and who may
// override it, is the rule's to say.
type window struct {
	name        string
	from, until time.Time // once
	ticks       *cron.Times
	lasts       time.Duration
}

// windows reads the windows of the rule freeze, by name. What is wrong with one is an error that names it.
func windows(params map[string]any) ([]window, error) {
	text, err := json.Marshal(params["freeze"])
	if err != nil {
		return nil, fault.Field(paramsFile+": freeze", err.Error())
	}
	var freeze struct {
		Windows map[string]struct{ Cron, Duration, Zone, From, Until string }
	}
	if err := json.Unmarshal(text, &freeze); err != nil {
		return nil, fault.Field(paramsFile+": freeze", err.Error())
	}
	all := make([]window, 0, len(freeze.Windows))
	for _, name := range slices.Sorted(maps.Keys(freeze.Windows)) {
		set := freeze.Windows[name]
		wrong := func(field, text string) error {
			return fault.Field(fmt.Sprintf("%s: freeze.windows.%s.%s", paramsFile, name, field), text)
		}
		w := window{name: name}
		switch {
		case set.Cron != "" && (set.From != "" || set.Until != ""):
			return nil, wrong("cron", "and from or until are both set; a window is either of them")
		case set.Cron != "":
			zone, err := cron.Zone(set.Zone)
			if err != nil {
				return nil, wrong("zone", err.Error())
			}
			if w.ticks, err = cron.Parse(set.Cron, zone); err != nil {
				return nil, wrong("cron", err.Error())
			}
			if w.lasts, err = time.ParseDuration(set.Duration); err != nil || w.lasts < minFreeze || w.lasts > maxFreeze {
				return nil, wrong("duration", fmt.Sprintf("must be a time from 1m to %dh, such as 62h or 1h30m", int(maxFreeze.Hours())))
			}
		default:
			if set.Duration != "" || set.Zone != "" {
				return nil, wrong("cron", "is not set; duration and zone go with it")
			}
			const want = "must be a time such as 2026-12-20T00:00:00+01:00; a window has cron and duration, or from and until"
			if w.from, err = time.Parse(time.RFC3339, set.From); err != nil {
				return nil, wrong("from", want)
			}
			if w.until, err = time.Parse(time.RFC3339, set.Until); err != nil {
				return nil, wrong("until", want)
			}
			if !w.until.After(w.from) {
				return nil, wrong("until", "is not after from")
			}
		}
		all = append(all, w)
	}
	return all, nil
}

// frozen are the windows that last at a time: from their first moment until before their last.
func frozen(all []window, now time.Time) []Freeze {
	freezes := []Freeze{}
	for _, w := range all {
		if until, lasts := w.at(now); lasts {
			freezes = append(freezes, Freeze{Name: w.name, Until: until.UTC()})
		}
	}
	return freezes
}

func (w window) at(now time.Time) (until time.Time, lasts bool) {
	if w.ticks == nil {
		return w.until, !now.Before(w.from) && now.Before(w.until)
	}
	first := w.ticks.Next(now.Add(-w.lasts)) // what ticked before is over
	if first.IsZero() || first.After(now) {
		return time.Time{}, false
	}
	return w.ticks.Last(first, now).Add(w.lasts), true
}
