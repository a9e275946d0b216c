package control

import (
	"context"
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
	// Via names the way the request came by, where the server has several: see Via.
	Via string `json:"via,omitempty"`
	// Fault is the kind of the fault that acted on the request, and Injected says that the answer, or its absence, is the
	// fault's and not the platform's.
	Fault    string `json:"fault,omitempty"`
	Injected bool   `json:"injected,omitempty"`
	// Effect is what a write really changed, in the platform's own words; empty: nothing.
	Effect string `json:"effect,omitempty"`
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

type contextKey int

const (
	viaKey contextKey = iota
	noteKey
)

// Via serves h and has each request's Call say by which way it came. Give every caller a listener of its own, and the
// calls tell who made them although all use the same credential.
func Via(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), viaKey, name)))
	})
}

// note is what the parts behind the control add to a request's Call. One goroutine serves a request, so it has no lock.
type note struct {
	effect, fault string
	injected      bool
}

func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey).(*note); ok {
		return n
	}
	return &note{} // a handler that is called without its control
}

// Effect notes what the request has changed. A platform calls it where it changes something, and not where a write finds
// everything as it shall be.
func Effect(ctx context.Context, what string) { noteOf(ctx).effect = what }
