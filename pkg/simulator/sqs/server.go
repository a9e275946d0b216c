package sqs

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Options of a Server; the zero value is right for most.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// ReceiveFloor is the least time a receive takes to answer; 0 means 2 ms, negative means none. An answer that comes
	// sooner over loopback makes aws-sdk-go-v2 drop 1 to 2 % of its receives and retry them for up to a second.
	ReceiveFloor time.Duration
}

// Server is an SQS endpoint: an http.Handler that serves the protocol at / and the control API under /_control/.
// It owns no goroutines; Close ends the long polls that wait.
type Server struct {
	now    func() time.Time
	floor  time.Duration
	mux    *http.ServeMux
	closed context.Context
	close  context.CancelFunc

	mu       sync.Mutex
	advanced time.Duration // how far Advance has moved the clock
	queues   map[string]*hosted
	tasks    []*moveTask // oldest first
	faults   []*Fault
	calls    map[string]int
}

// hosted is a queue with the signal that wakes its long polls.
type hosted struct {
	*queue
	wake chan struct{} // closed and replaced when something may have become available
}

func (h *hosted) stir() {
	close(h.wake)
	h.wake = make(chan struct{})
}

// New makes a server without queues.
func New(opts Options) *Server {
	s := &Server{now: opts.Now, floor: opts.ReceiveFloor, queues: make(map[string]*hosted), calls: make(map[string]int)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.floor == 0 {
		s.floor = 2 * time.Millisecond
	}
	s.closed, s.close = context.WithCancel(context.Background())
	s.mux = s.routes()
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close ends all long polls with an empty answer, now and from now on, so that the HTTP server around s can stop.
func (s *Server) Close() { s.close() }

// Advance moves the server's clock forward: visibility timeouts, delays and the deduplication window pass.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advanced += d
	s.settle(s.clock())
	for _, q := range s.queues {
		q.stir()
	}
}

// Forget loses every message, as a queue service that lost its memory would; the queues stay.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		q.forget()
	}
	s.tasks = nil
}

func (s *Server) clock() time.Time { return s.now().Add(s.advanced) }

// lock takes the lock, brings the move tasks up to date and gives the time.
func (s *Server) lock() time.Time {
	s.mu.Lock()
	now := s.clock()
	s.settle(now)
	return now
}

// queueAt finds a queue by its URL.
func (s *Server) queueAt(url string) (*hosted, *apiError) {
	if url == "" {
		return nil, missingParameter("QueueUrl")
	}
	q, ok := s.queues[nameOf(url)]
	if !ok {
		return nil, errQueueDoesNotExist
	}
	return q, nil
}

// deadLetters gives the function that moves q's dead messages to where its redrive policy says.
func (s *Server) deadLetters(q *hosted, now time.Time) func(*message) {
	return func(m *message) {
		if target, ok := s.queues[nameOf(q.settings.redrive.target)]; ok {
			m.deadFrom = arnOf(q.name)
			target.adopt(now, m)
			target.stir()
		}
	}
}

// receive waits until q has messages, until has come, or the caller is gone.
func (s *Server) receive(ctx context.Context, url string, limit int, hide, wait *time.Duration, disorder bool) ([]*message, *hosted, *apiError) {
	// The floor comes before the take: a caller that leaves meanwhile loses nothing.
	if s.floor > 0 && !s.sleep(ctx, s.floor, nil) {
		return nil, nil, nil
	}
	var until time.Time
	for {
		now := s.lock()
		q, err := s.queueAt(url)
		if err != nil || ctx.Err() != nil {
			s.mu.Unlock()
			return nil, nil, err
		}
		if until.IsZero() {
			until = s.now().Add(orDefault(wait, q.settings.wait))
		}
		take := q.receive
		if disorder {
			take = q.receiveDisordered
		}
		got := take(now, limit, orDefault(hide, q.settings.visibility), s.deadLetters(q, now))
		left := until.Sub(s.now())
		if len(got) > 0 || left <= 0 {
			copies := make([]*message, len(got)) // the caller renders them without the lock
			for i, m := range got {
				c := *m
				copies[i] = &c
			}
			s.mu.Unlock()
			return copies, q, nil
		}
		if at, ok := s.nextEvent(q, now); ok {
			left = min(left, at.Sub(now))
		}
		wake := q.wake
		s.mu.Unlock()
		if !s.sleep(ctx, left, wake) {
			return nil, q, nil
		}
	}
}

// nextEvent is when something may become available in q by the passing of time alone.
func (s *Server) nextEvent(q *hosted, now time.Time) (time.Time, bool) {
	at, ok := q.nextVisible(now)
	if t, running := s.nextMove(now); running && (!ok || t.Before(at)) {
		at, ok = t, true
	}
	return at, ok
}

// sleep waits for d or wake. It is false if the caller is gone or the server is closed.
func (s *Server) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	case <-s.closed.Done():
		return false
	}
	return true
}

func orDefault(given *time.Duration, def time.Duration) time.Duration {
	if given != nil {
		return *given
	}
	return def
}

func newID() string { return uuid.NewString() }

func urlOf(base, name string) string {
	return strings.TrimSuffix(base, "/") + "/" + account + "/" + name
}
