// Package pagerduty is a PagerDuty REST API in memory, faithful where a client can tell: paths, envelopes, paging,
// errors, quota and its headers, keys of users with their rights, roles that base roles fix, users whom escalation
// policies hold, reads that lag writes, and an audit trail of what was written. docs/simulators.md describes what it has and how to control it.
package pagerduty

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
)

// Options describe a server. The zero value has no credential that works.
type Options struct {
	Token string // the account's API key
	// UserTokens are API keys of users: token → the user's id or e-mail address. See SetUserTokens.
	UserTokens map[string]string
	Clock      func() time.Time // nil: time.Now
}

const (
	// defaultPerMinute is the quota of one account API key, and of all keys of one user (PagerDuty developer documentation,
	// "REST API Rate Limits").
	defaultPerMinute = 960
	// defaultStaleMS is how long reads lag writes: at PagerDuty up to seconds (terraform-provider-pagerduty issue 621), here
	// long enough that who reads at once after a write sees that it is not there.
	defaultStaleMS = 300

	maxBody = 1 << 20
)

// Server is the simulated platform.
type Server struct {
	token   string
	now     func() time.Time
	control *control.Control
	handler http.Handler

	mu         sync.Mutex
	account    *account
	userTokens map[string]string
	quotas     map[string]*quota // by the caller's id; the account's own key: ""
	requests   int64
}

// New makes a server with an empty account. Its reads lag its writes by 300 ms: tests that read at once what they wrote
// set other limits (Control).
func New(opts Options) *Server {
	s := &Server{
		token: opts.Token, now: opts.Clock, account: newAccount(), userTokens: maps.Clone(opts.UserTokens), quotas: map[string]*quota{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.control = control.New(s, control.Limits{PerMinute: defaultPerMinute, StaleMS: defaultStaleMS}, s.now)
	s.handler = s.control.Handler(s.routes(), func(routes http.Handler) http.Handler {
		return s.identified(s.authenticated(s.limited(routes)))
	})
	return s
}

// Control steers the server from the same process.
func (s *Server) Control() *control.Control { return s.control }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (int, any){
		"GET /abilities":           s.listAbilities,
		"GET /abilities/{ability}": s.testAbility,

		"GET /teams":         s.listTeams,
		"POST /teams":        s.createTeam,
		"GET /teams/{id}":    s.getTeam,
		"PUT /teams/{id}":    s.updateTeam,
		"DELETE /teams/{id}": s.deleteTeam,

		"GET /teams/{id}/members":                     s.listMembers,
		"PUT /teams/{id}/users/{user}":                s.putMember,
		"DELETE /teams/{id}/users/{user}":             s.removeMember,
		"PUT /teams/{id}/escalation_policies/{ep}":    s.attachPolicy,
		"DELETE /teams/{id}/escalation_policies/{ep}": s.detachPolicy,

		"GET /users":         s.listUsers,
		"POST /users":        s.createUser,
		"GET /users/me":      s.getMe,
		"GET /users/{id}":    s.getUser,
		"PUT /users/{id}":    s.updateUser,
		"DELETE /users/{id}": s.deleteUser,

		"GET /escalation_policies":      s.listPolicies,
		"GET /escalation_policies/{id}": s.getPolicy,
		"GET /schedules":                s.listSchedules,
		"GET /schedules/{id}":           s.getSchedule,
		"GET /v3/schedules/{id}":        s.getNewSchedule,

		"GET /audit/records": s.listRecords,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) // before the lock: clients may be slow
			if err != nil {
				reply(w, http.StatusRequestEntityTooLarge, failure(2001, "Invalid Input Provided", "Body is too large"))
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.mu.Lock()
			status, answer := handle(r)
			s.mu.Unlock()
			reply(w, status, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusNotFound, failure(2100, "Not Found"))
	})
	return mux
}

type requestKey struct{}

// requestID is the id of the answer to a request.
func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestKey{}).(string)
	return id
}

// identified gives each answer the id that support asks for.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		id := fmt.Sprintf("%032x", s.requests)
		s.mu.Unlock()
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, id)))
	})
}

// quota is what one caller used of a minute.
type quota struct {
	window time.Time
	limit  int // in it
	used   int
}

// limited counts requests of a caller in windows of a minute and tells the quota with every answer. Reset is a number of
// seconds, not a time. Another limit begins another window.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := s.control.Limits().PerMinute
		if limit <= 0 {
			next.ServeHTTP(w, r)
			return
		}
		s.mu.Lock()
		q := s.quotas[callerID(r)]
		if q == nil {
			q = &quota{}
			s.quotas[callerID(r)] = q
		}
		now := s.now()
		if now.Sub(q.window) >= time.Minute || limit != q.limit {
			*q = quota{window: now, limit: limit}
		}
		q.used++
		used, reset := q.used, q.window.Add(time.Minute).Sub(now)
		s.mu.Unlock()
		w.Header().Set("ratelimit-limit", fmt.Sprint(limit))
		w.Header().Set("ratelimit-remaining", fmt.Sprint(max(limit-used, 0)))
		w.Header().Set("ratelimit-reset", fmt.Sprint(int((reset+time.Second-1)/time.Second)))
		if used > limit {
			reply(w, http.StatusTooManyRequests, failure(2020, "Rate Limit Exceeded"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// stale is how long reads lag writes.
func (s *Server) stale() time.Duration {
	return time.Duration(s.control.Limits().StaleMS) * time.Millisecond
}

type object = map[string]any

// failure is PagerDuty's error envelope.
func failure(code int, message string, details ...string) object {
	inner := object{"code": code, "message": message}
	if len(details) > 0 {
		inner["errors"] = details
	}
	return object{"error": inner}
}

func invalid(details ...string) (int, any) {
	return http.StatusBadRequest, failure(2001, "Invalid Input Provided", details...)
}

func denied() (int, any) { return http.StatusForbidden, failure(2010, "Access Denied") }

func notFound() (int, any) { return http.StatusNotFound, failure(2100, "Not Found") }

func reply(w http.ResponseWriter, status int, answer any) {
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that went away is none of ours
}
