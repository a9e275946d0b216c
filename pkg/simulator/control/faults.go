package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Fault is something that goes wrong for the requests it matches. The first fault that matches and is not used up
// acts, alone.
type Fault struct {
	// Match is a method and a path, "PUT /teams/*/users/*". * stands for one segment, or any method; as the whole path
	// it stands for all: "GET *", "* *".
	Match string `json:"match"`
	// Via restricts the fault to requests that came by this way (see the function Via); a * at the end stands for any rest.
	Via   string `json:"via"`
	Times int    `json:"times"` // 0: until cleared

	DelayMS int               `json:"delay_ms"` // before anything else
	Status  int               `json:"status"`   // answer this instead; 0: keep the answer
	Body    json.RawMessage   `json:"body"`     // answer this instead; a string is sent as plain text
	Headers map[string]string `json:"headers"`  // set on the answer
	Strip   []string          `json:"strip_headers"`
	// Truncate sends that many bytes of the answer and closes the connection; 0: all.
	Truncate int `json:"truncate"`
	// Drip sends the answer slowly, so many bytes a second; 0: at once.
	Drip int  `json:"drip"`
	Drop bool `json:"drop"` // close the connection instead of answering
	// After lets the request take effect before its answer is dropped or replaced. Without it nothing happens.
	After bool `json:"after"`
}

const (
	maxFaults  = 1000
	maxDelayMS = 600_000
)

type armed struct {
	Fault
	method string
	path   []string // nil: all
	left   int      // only where Times > 0
}

// Inject adds faults behind those that are there; none is added when one of them is wrong.
func (c *Control) Inject(faults ...Fault) error {
	var ready []*armed
	for i, f := range faults {
		a, err := arm(f, fmt.Sprintf("faults[%d]", i))
		if err != nil {
			return err
		}
		ready = append(ready, a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults)+len(ready) > maxFaults {
		return fault.Field("faults", fmt.Sprintf("more than %d; clear some first", maxFaults))
	}
	c.faults = append(c.faults, ready...)
	return nil
}

// ClearFaults ends all faults.
func (c *Control) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

func (c *Control) addFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	err := read(w, r, &faults)
	if err == nil {
		err = c.Inject(faults...)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

var method = regexp.MustCompile(`^(\*|[A-Z]+)$`)

func arm(f Fault, field string) (*armed, error) {
	if string(f.Body) == "null" {
		f.Body = nil
	}
	verb, path, _ := strings.Cut(f.Match, " ")
	a := &armed{Fault: f, method: verb, left: f.Times}
	switch {
	case !method.MatchString(verb) || path != "*" && !strings.HasPrefix(path, "/"):
		return nil, fault.Field(field+".match", `must be a method and a path, such as "PUT /teams/*/users/*" or "* *"`)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return nil, outOfRange(field+".status", 200, 599)
	case f.Times < 0:
		return nil, fault.Field(field+".times", "must not be negative; 0 means until cleared")
	case f.DelayMS < 0 || f.DelayMS > maxDelayMS:
		return nil, outOfRange(field+".delay_ms", 0, maxDelayMS)
	case f.Truncate < 0:
		return nil, fault.Field(field+".truncate", "must not be negative")
	case f.Drip < 0:
		return nil, fault.Field(field+".drip", "must not be negative")
	case f.Drip > 0 && f.Truncate > 0:
		return nil, fault.Field(field+".drip", "sends the whole answer; leave out truncate")
	case f.Drop && (f.Status != 0 || f.Body != nil || f.Truncate > 0 || f.Drip > 0):
		return nil, fault.Field(field+".drop", "closes the connection without an answer; leave out status, body, truncate and drip")
	case f.After && !f.Drop && !f.replaces():
		return nil, fault.Field(field+".after", "needs drop, status or body: what to do after the effect")
	case !f.Drop && !f.replaces() && f.DelayMS == 0 && f.Truncate == 0 && f.Drip == 0 && len(f.Headers) == 0 && len(f.Strip) == 0:
		return nil, fault.Field(field, "does nothing; give status, body, drop, delay_ms, truncate, drip, headers or strip_headers")
	}
	if path != "*" {
		a.path = strings.Split(path, "/")
		for i, segment := range a.path {
			plain, err := url.PathUnescape(segment)
			if err != nil {
				return nil, fault.Field(field+".match", "has a broken % sequence")
			}
			a.path[i] = plain
		}
	}
	return a, nil
}

func (f Fault) replaces() bool { return f.Status != 0 || f.Body != nil }

// kind names what the fault does, for the log of calls.
func (f Fault) kind() string {
	switch {
	case f.Drop && f.After:
		return "answer lost"
	case f.Drop:
		return "dropped"
	case f.After:
		return "answer replaced"
	case f.Status != 0:
		return strconv.Itoa(f.Status)
	case f.Body != nil:
		return "body"
	case f.Truncate > 0:
		return "truncated"
	case f.Drip > 0:
		return "drip"
	case len(f.Headers)+len(f.Strip) > 0:
		return "headers"
	default:
		return "delay"
	}
}

func (a *armed) matches(r *http.Request) bool {
	if a.method != "*" && a.method != r.Method || !a.comesBy(r) {
		return false
	}
	if a.path == nil {
		return true
	}
	segments := strings.Split(r.URL.EscapedPath(), "/") // a tag may hold a slash, which is no border
	if len(segments) != len(a.path) {
		return false
	}
	for i, want := range a.path {
		if want == "*" {
			continue
		}
		if got, err := url.PathUnescape(segments[i]); err != nil || got != want {
			return false
		}
	}
	return true
}

func (a *armed) comesBy(r *http.Request) bool {
	via, _ := r.Context().Value(viaKey).(string)
	if prefix, wild := strings.CutSuffix(a.Via, "*"); wild {
		return strings.HasPrefix(via, prefix)
	}
	return a.Via == "" || a.Via == via
}

// take finds the fault for a request and uses it up by one.
func (c *Control) take(r *http.Request) *armed {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, a := range c.faults {
		if !a.matches(r) {
			continue
		}
		if a.Times > 0 {
			if a.left--; a.left == 0 {
				c.faults = append(c.faults[:i:i], c.faults[i+1:]...)
			}
		}
		return a
	}
	return nil
}

// faulty lets faults act around next.
func (c *Control) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := c.take(r); a != nil {
			c.act(a, w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *Control) act(a *armed, w http.ResponseWriter, r *http.Request, next http.Handler) {
	noted := noteOf(r.Context())
	noted.fault = a.kind()
	noted.injected = noted.fault != "delay" // the answer is the platform's, only late
	if !wait(r, time.Duration(a.DelayMS)*time.Millisecond) {
		return
	}
	real := &buffer{header: w.Header(), status: http.StatusOK}
	if a.After || !a.Drop && !a.replaces() {
		next.ServeHTTP(real, r)
	}
	if a.Drop {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	if a.replaces() {
		c.replace(a, real)
	}
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	for _, name := range a.Strip {
		w.Header().Del(name)
	}
	body := real.body.Bytes()
	if a.Truncate > 0 && a.Truncate < len(body) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(real.status)
		_, _ = w.Write(body[:a.Truncate])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(real.status)
	switch {
	case len(body) == 0: // 204 allows none
	case a.Drip > 0:
		drip(w, r, body, a.Drip)
	default:
		_, _ = w.Write(body)
	}
}

// dripEvery is the pause between two pieces of a slow answer.
const dripEvery = 50 * time.Millisecond

// drip sends the body at so many bytes a second, until the client gives up.
func drip(w http.ResponseWriter, r *http.Request, body []byte, perSecond int) {
	piece := max(int(time.Duration(perSecond)*dripEvery/time.Second), 1)
	pause := time.Duration(piece) * time.Second / time.Duration(perSecond)
	for len(body) > 0 && wait(r, pause) {
		n := min(piece, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // a recorder has nothing to flush
		body = body[n:]
	}
}

// replace puts the fault's answer in the place of the real one, whose headers stay. A status without a body gets the
// platform's own words for it.
func (c *Control) replace(a *armed, real *buffer) {
	real.body.Reset()
	real.header.Del("Content-Type")
	real.header.Del("Content-Length")
	if refuser, ok := c.platform.(Refuser); ok && a.Body == nil && a.Status >= http.StatusBadRequest {
		refuser.Refuse(real, a.Status)
		return
	}
	if a.Status != 0 {
		real.status = a.Status
	}
	switch {
	case a.Body == nil:
	case a.Body[0] == '"':
		var text string
		_ = json.Unmarshal(a.Body, &text) // it was decoded before
		real.header.Set("Content-Type", "text/plain; charset=utf-8")
		real.body.WriteString(text)
	default:
		real.header.Set("Content-Type", "application/json; charset=utf-8")
		real.body.Write(a.Body)
	}
}

// buffer holds an answer back.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }
