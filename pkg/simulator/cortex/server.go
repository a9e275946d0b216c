// Package cortex is the part of Cortex's API that has teams, in memory, faithful where a client can tell: paths, both
// shapes of teams, paging, custom data, errors and the quota. docs/simulators.md describes what it has and how to
// control it.
package cortex

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// Options describe a server. The zero value has no credential that works.
type Options struct {
	Token string           // the API key
	Clock func() time.Time // nil: time.Now
}

const (
	// perMinute is the quota of one client (Cortex documentation, "REST API").
	perMinute = 1000
	// maxBody is the largest request (the same).
	maxBody = 2 << 20
)

// Server is the simulated platform.
type Server struct {
	token   string
	now     func() time.Time
	control *control.Control
	handler http.Handler

	mu       sync.Mutex
	teams    *catalogue
	window   time.Time // the quota's minute
	used     int
	requests int64
}

// New makes a server with an empty catalogue.
func New(opts Options) *Server {
	s := &Server{token: opts.Token, now: opts.Clock, teams: newCatalogue()}
	if s.now == nil {
		s.now = time.Now
	}
	s.control = control.New(s, control.Limits{PerMinute: perMinute}, s.now)
	s.handler = s.control.Handler(s.routes(), func(routes http.Handler) http.Handler {
		return s.authenticated(s.limited(routes))
	})
	return s
}

// Control steers the server from the same process.
func (s *Server) Control() *control.Control { return s.control }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// LoadOrg replaces the catalogue by what the organisation declares.
func (s *Server) LoadOrg(o *org.Org) error {
	loaded := newCatalogue()
	for _, d := range o.Declared() {
		loaded.add(teamOf(d, s.now()))
	}
	s.mu.Lock()
	s.teams = loaded
	s.mu.Unlock()
	return nil
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (int, any){
		"GET /api/v1/teams":                           s.listTeams,
		"POST /api/v1/teams":                          s.createTeam,
		"GET /api/v1/teams/relationships":             s.relationships,
		"GET /api/v1/teams/{tag}":                     s.getTeam,
		"DELETE /api/v1/teams/{tag}":                  s.deleteTeam,
		"PUT /api/v1/teams/{tag}/members":             s.putMembers,
		"PUT /api/v1/teams/{tag}/archive":             s.archive,
		"PUT /api/v1/teams/{tag}/unarchive":           s.unarchive,
		"GET /api/v1/catalog":                         s.listCatalogue,
		"GET /api/v1/catalog/{tag}":                   s.getEntity,
		"GET /api/v1/catalog/{tag}/custom-data":       s.listCustomData,
		"POST /api/v1/catalog/{tag}/custom-data":      s.putCustomData,
		"GET /api/v1/catalog/{tag}/custom-data/{key}": s.getCustomData,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) // before the lock: clients may be slow
			if err != nil {
				status, answer := failure(http.StatusRequestEntityTooLarge, "BAD_REQUEST", "Body is too large")
				s.reply(w, status, answer)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.mu.Lock()
			status, answer := handle(r)
			s.mu.Unlock()
			s.reply(w, status, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		status, answer := failure(http.StatusNotFound, "NOT_FOUND", "No such path: "+r.URL.Path)
		s.reply(w, status, answer)
	})
	return mux
}

func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || s.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.token)) != 1 {
			status, answer := failure(http.StatusUnauthorized, "UNAUTHORIZED", "Not authorized")
			s.reply(w, status, answer)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limited counts requests in windows of a minute. Cortex tells its quota only when it is used up.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := s.control.Limits().PerMinute
		s.mu.Lock()
		now := s.now()
		if now.Sub(s.window) >= time.Minute {
			s.window, s.used = now, 0
		}
		s.used++
		used, wait := s.used, s.window.Add(time.Minute).Sub(now)
		s.mu.Unlock()
		if limit > 0 && used > limit {
			s.throttle(w, wait)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) throttle(w http.ResponseWriter, wait time.Duration) {
	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", fmt.Sprint(seconds))
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusTooManyRequests)
	_ = json.NewEncoder(w).Encode(object{
		"type": "about:blank", "title": "Too Many Requests", "status": http.StatusTooManyRequests, "retryAfter": seconds,
	})
}

// Refuse makes injected errors look like Cortex's own.
func (s *Server) Refuse(w http.ResponseWriter, status int) {
	if status == http.StatusTooManyRequests {
		s.throttle(w, time.Second)
		return
	}
	kind := map[int]string{
		http.StatusBadRequest: "BAD_REQUEST", http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "FORBIDDEN",
		http.StatusNotFound: "NOT_FOUND", http.StatusConflict: "CONFLICT", http.StatusRequestTimeout: "REQUEST_TIMEOUT",
	}[status]
	if kind == "" {
		kind = "UNHANDLED_EXCEPTION"
	}
	status, answer := failure(status, kind, http.StatusText(status))
	s.reply(w, status, answer)
}

type object = map[string]any

// failure is Cortex's error body.
func failure(status int, kind, message string) (int, any) {
	return status, object{"type": kind, "message": message, "details": nil, "httpStatus": status}
}

func notFound(tag string) (int, any) {
	return failure(http.StatusNotFound, "NOT_FOUND", "No entity found for tag or id "+tag)
}

func badRequest(message string) (int, any) {
	return failure(http.StatusBadRequest, "BAD_REQUEST", message)
}

func (s *Server) reply(w http.ResponseWriter, status int, answer any) {
	s.mu.Lock()
	s.requests++
	id := fmt.Sprintf("%032x", s.requests)
	s.mu.Unlock()
	w.Header().Set("X-Request-Id", id)
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	if failed, ok := answer.(object); ok && status >= http.StatusBadRequest {
		failed["requestId"] = id
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that went away is none of ours
}
