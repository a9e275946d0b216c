package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
)

// gates stand before a platform, one for each caller. They can hold a request, before it is handled or after it took
// effect, until it is let go or its caller is gone.
type gates struct {
	mu    sync.Mutex
	holds []*hold
}

type hold struct {
	method, like string
	after        bool
	reached      chan string // by whom
	release      chan struct{}
}

// hold catches the next request with that method and a path like that, in which * stands for what is between two slashes.
func (g *gates) hold(method, like string, after bool) *hold {
	h := &hold{method: method, like: like, after: after, reached: make(chan string, 1), release: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds = append(g.holds, h)
	return h
}

func (h *hold) letGo() { close(h.release) }

// await says which caller was caught.
func (h *hold) await(ctx context.Context) (caller string, err error) {
	select {
	case caller = <-h.reached:
		return caller, nil
	case <-ctx.Done():
		return "", fmt.Errorf("nobody came with %s %s: %w", h.method, h.like, context.Cause(ctx))
	}
}

func (g *gates) take(r *http.Request) *hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, h := range g.holds {
		if like, _ := path.Match(h.like, r.URL.EscapedPath()); like && h.method == r.Method {
			g.holds = append(g.holds[:i:i], g.holds[i+1:]...)
			return h
		}
	}
	return nil
}

// before puts the caller's gate before the platform.
func (g *gates) before(caller string, platform http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := g.take(r)
		if h == nil {
			platform.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // the server only notices that a caller is gone when its body has been read
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		if h.after {
			platform.ServeHTTP(answer, r)
		}
		h.reached <- caller
		select {
		case <-h.release:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		if !h.after {
			platform.ServeHTTP(w, r)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}
