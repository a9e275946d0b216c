// Package control steers a simulated platform from outside: it loads an organisation, shows the whole state, counts
// calls, sets limits and injects faults. It sits around the platform's own handler and is the same on each.
//
// Its routes lie under /_control/, need no credential, and are never counted, limited or faulted; bind a simulator to
// the loopback interface. docs/simulators.md describes them.
package control

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// Platform is what a simulator offers to be controlled.
type Platform interface {
	// LoadOrg replaces everything by the organisation.
	LoadOrg(*org.Org) error
	// State is everything, ready for JSON and not changed afterwards.
	State() any
}

// Refuser is a Platform whose injected errors look like its own.
type Refuser interface {
	// Refuse answers with the platform's error for a status; a used-up quota (429) is good again in a second.
	Refuse(w http.ResponseWriter, status int)
}

// Writer is a Platform whose methods do not tell reads from writes.
type Writer interface {
	Writes(r *http.Request) bool
}

// Extender is a Platform that can be told more than every other.
type Extender interface {
	// Controls are what it takes, by patterns such as "PUT /_control/things". read decodes the body strictly; an error is
	// answered with the field that is wrong.
	Controls() map[string]func(read func(into any) error) error
}

// Control is one platform's control. It is safe for concurrent use.
type Control struct {
	platform Platform
	now      func() time.Time
	limits   atomic.Pointer[Limits]

	mu     sync.Mutex
	faults []*armed
	calls  log
}

// New makes the control of a platform that starts with these limits.
func New(platform Platform, limits Limits, now func() time.Time) *Control {
	c := &Control{platform: platform, now: now}
	c.limits.Store(&limits)
	return c
}

// Handler serves /_control/ and puts counting, latency and faults around the platform's routes. chain wraps what every
// request passes before its route: credential and quota. Faults act behind it, so an injected answer carries the quota
// headers that a real one would.
func (c *Control) Handler(mux *http.ServeMux, chain func(http.Handler) http.Handler) http.Handler {
	routes, inner := c.routes(), chain(c.faulty(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_control/") {
			routes.ServeHTTP(w, r)
			return
		}
		call := Call{Time: c.now(), Method: r.Method, Path: r.URL.EscapedPath(), Route: route(mux, r), Write: c.isWrite(r)}
		call.Via, _ = r.Context().Value(viaKey).(string)
		answer, noted := &statusWriter{ResponseWriter: w}, &note{}
		r = r.WithContext(context.WithValue(r.Context(), noteKey, noted))
		defer func() { // also when a fault aborts the connection
			call.Status, call.Effect, call.Fault, call.Injected = answer.status, noted.effect, noted.fault, noted.injected
			c.mu.Lock()
			defer c.mu.Unlock()
			c.calls.add(call)
		}()
		if !wait(r, time.Duration(c.Limits().LatencyMS)*time.Millisecond) {
			return
		}
		inner.ServeHTTP(answer, r)
	})
}

func (c *Control) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /_control/org", c.putOrg)
	mux.HandleFunc("GET /_control/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.platform.State()) })
	mux.HandleFunc("POST /_control/faults", c.addFaults)
	mux.HandleFunc("DELETE /_control/faults", func(w http.ResponseWriter, _ *http.Request) {
		c.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_control/calls", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.Calls()) })
	mux.HandleFunc("DELETE /_control/calls", func(w http.ResponseWriter, _ *http.Request) {
		c.ClearCalls()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_control/limits", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.Limits()) })
	mux.HandleFunc("PUT /_control/limits", c.putLimits)
	if more, ok := c.platform.(Extender); ok {
		for pattern, take := range more.Controls() {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				if err := take(func(into any) error { return read(w, r, into) }); err != nil {
					refuse(w, err)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
		}
	}
	return mux
}

func (c *Control) putOrg(w http.ResponseWriter, r *http.Request) {
	o, err := org.Decode(r.Body) // bounds what it reads
	if err == nil {
		err = c.platform.LoadOrg(o)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, map[string]int{"people": len(o.People), "teams": len(o.Teams)})
}

// answer writes JSON with status 200.
func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a client that went away is none of ours
}

// wait reports false when the client gave up before the time was over.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
