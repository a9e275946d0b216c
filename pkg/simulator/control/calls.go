package control

import (
	"net/http"
	"strings"
	"time"
)

// maxCalls bounds the list of calls. Counts go on when it is full.
const maxCalls = 200_000

// Call is one request to the platform.
type Call struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	Route  string    `json:"route"` // the path with {names} for what varies; "unknown" where the platform has none
	Path   string    `json:"path"`
	Status int       `json:"status"` // 0: the connection was closed without an answer
	Write  bool      `json:"write"`
}

// Calls is what was asked of the platform since the start or the last clearing, in the order of the answers.
type Calls struct {
	Total  int            `json:"total"`
	Writes int            `json:"writes"`
	Counts map[string]int `json:"counts"` // by "METHOD /route"
	Calls  []Call         `json:"calls"`
}

type log struct {
	total, writes int
	counts        map[string]int
	list          []Call
}

func (l *log) add(c Call) {
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.total++
	l.counts[c.Method+" "+c.Route]++
	if c.Write {
		l.writes++
	}
	if len(l.list) < maxCalls {
		l.list = append(l.list, c)
	}
}

// Calls is a copy of what was asked so far.
func (c *Control) Calls() Calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := Calls{Total: c.calls.total, Writes: c.calls.writes, Counts: map[string]int{}, Calls: make([]Call, len(c.calls.list))}
	for route, n := range c.calls.counts {
		all.Counts[route] = n
	}
	copy(all.Calls, c.calls.list)
	return all
}

// ClearCalls forgets the calls so far.
func (c *Control) ClearCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = log{}
}

func route(mux *http.ServeMux, r *http.Request) string {
	_, pattern := mux.Handler(r)
	if _, path, found := strings.Cut(pattern, " "); found {
		pattern = path
	}
	if pattern == "" || pattern == "/" {
		return "unknown"
	}
	return pattern
}

// isWrite tells writes by the method, unless the platform knows better.
func (c *Control) isWrite(r *http.Request) bool {
	if writer, ok := c.platform.(Writer); ok {
		return writer.Writes(r)
	}
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}
