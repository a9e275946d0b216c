package upstream

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Call is one attempt, as the audit trail keeps it. The path has no query: queries may hold e-mail addresses.
type Call struct {
	Platform  string    `json:"-"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"` // 0 where no answer came
	At        time.Time `json:"at"`
	RequestID string    `json:"request_id,omitempty"` // the platform's own, where it gives one
}

// Calls collects the attempts made under a context. It is safe for concurrent use.
type Calls struct {
	mu   sync.Mutex
	list []Call
}

// Record returns a context under which every attempt of every Transport is added to the returned Calls.
func Record(ctx context.Context) (context.Context, *Calls) {
	calls := &Calls{}
	return context.WithValue(ctx, callsKey, calls), calls
}

// Count is the number of attempts so far at a platform.
func (c *Calls) Count(platform string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, call := range c.list {
		if call.Platform == platform {
			n++
		}
	}
	return n
}

// List gives the attempts so far, in the order in which they ended.
func (c *Calls) List() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

func record(ctx context.Context, platform string, req *http.Request, at time.Time, response *http.Response) {
	calls, ok := ctx.Value(callsKey).(*Calls)
	if !ok {
		return
	}
	call := Call{Platform: platform, Method: req.Method, Path: req.URL.Path, At: at}
	if response != nil {
		call.Status = response.StatusCode
		call.RequestID = response.Header.Get("X-Request-Id")
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	calls.list = append(calls.list, call)
}
