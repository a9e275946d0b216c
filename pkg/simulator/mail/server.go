// Package mail is an SMTP server for development and tests: it takes every message, sends none on, and shows what it was
// given. GET /_control/state lists the messages; faults make it refuse some, or lose an answer.
package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	maxMessage  = 10 << 20 // bytes of one message
	defaultKeep = 200
	idleTimeout = time.Minute
)

// Options of a Server; the zero value is right for most.
type Options struct {
	Keep  int         // how many messages are kept, the newest; 0: 200
	TLS   *tls.Config // STARTTLS is offered with it
	Users map[string]string
	// Mechanisms are the ways to log in that are offered, over TLS alone; nil: PLAIN and LOGIN where there are Users.
	Mechanisms []string
}

// Server is the SMTP server, and an http.Handler that shows and steers it. It is safe for concurrent use.
type Server struct {
	opts    Options
	smtp    *smtp.Server
	control http.Handler

	mu        sync.Mutex
	listeners []net.Listener
	closed    bool
	messages  []Message // oldest first
	taken     int
	faults    []*Fault
	arrived   chan struct{} // closed and replaced at each message
}

// New makes a server; Serve runs it.
func New(opts Options) *Server {
	if opts.Keep == 0 {
		opts.Keep = defaultKeep
	}
	if opts.Mechanisms == nil && opts.Users != nil {
		opts.Mechanisms = []string{plain, login}
	}
	s := &Server{opts: opts, messages: []Message{}, arrived: make(chan struct{})}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, encrypted := c.TLSConnectionState()
		return &session{server: s, conn: c, encrypted: encrypted}, nil
	}))
	s.smtp.Domain, s.smtp.TLSConfig = "mail.simulator", opts.TLS
	s.smtp.MaxMessageBytes, s.smtp.MaxRecipients = maxMessage, 50
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = idleTimeout, idleTimeout
	s.smtp.ErrorLog = log.New(io.Discard, "", 0) // a client that went away is none of ours
	s.smtp.EnableSMTPUTF8 = true
	s.control = newControl(s)
	return s
}

// Serve takes messages on the listener until Close, also where that came first.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return l.Close()
	}
	if err := s.smtp.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Close ends the server and its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	listeners := s.listeners
	s.closed = true
	s.mu.Unlock()
	// go-smtp forgets a listener that it has not begun to accept on.
	for _, l := range listeners {
		_ = l.Close()
	}
	if err := s.smtp.Close(); err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Messages are the messages that are kept, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Await waits until n messages were taken in all, and gives those that are kept.
func (s *Server) Await(ctx context.Context, n int) ([]Message, error) {
	for {
		s.mu.Lock()
		taken, arrived := s.taken, s.arrived
		s.mu.Unlock()
		if taken >= n {
			return s.Messages(), nil
		}
		select {
		case <-ctx.Done():
			return s.Messages(), ctx.Err()
		case <-arrived:
		}
	}
}

// Forget drops the messages that are kept.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = []Message{}
}

func (s *Server) keep(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	if extra := len(s.messages) - s.opts.Keep; extra > 0 {
		s.messages = slices.Delete(s.messages, 0, extra)
	}
	s.taken++
	close(s.arrived)
	s.arrived = make(chan struct{})
}
