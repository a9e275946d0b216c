package control

import "net/http"

// Limits is how fast the platform is and how much it allows. Zero lifts a limit.
type Limits struct {
	PerMinute int `json:"per_minute"` // requests of one credential; on Slack messages to one channel
	LatencyMS int `json:"latency_ms"` // added to every answer
	StaleMS   int `json:"stale_ms"`   // how long PagerDuty's team and member reads lag its writes
}

const maxLimit = 1_000_000_000

// Limits is what holds now.
func (c *Control) Limits() Limits { return *c.limits.Load() }

// SetLimits replaces what holds.
func (c *Control) SetLimits(l Limits) { c.limits.Store(&l) }

// putLimits changes the fields that are given and leaves the others.
func (c *Control) putLimits(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limits := c.Limits()
	if err := read(w, r, &limits); err != nil {
		refuse(w, err)
		return
	}
	for field, value := range map[string]int{"per_minute": limits.PerMinute, "latency_ms": limits.LatencyMS, "stale_ms": limits.StaleMS} {
		if value < 0 || value > maxLimit {
			refuse(w, outOfRange(field, 0, maxLimit))
			return
		}
	}
	c.SetLimits(limits)
	answer(w, limits)
}
