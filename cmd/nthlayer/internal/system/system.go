package system

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
)

const (
	readyWithin     = 60 * time.Second // for the services, after everything they need is there
	readHeaders     = 10 * time.Second
	privateFileMode = 0o600
)

// System is a running system. Its methods may be called from any goroutine.
type System struct {
	cfg      Config
	addr     addresses
	children []*Child
	stops    []stopper

	mu       sync.Mutex
	info     Info
	postgres *postgres // nil: it is outside
	signing  string    // with which the simulated Slack signs; empty: it is outside
}

// stopper undoes the start of one part.
type stopper struct {
	name string
	stop func(context.Context) error
}

// addresses are where the parts are reached.
type addresses struct {
	gateways           []gatewayAddresses
	scheduler          internalAddresses
	workers, notifiers []internalAddresses
}

// gatewayAddresses are the listeners of a gateway.
type gatewayAddresses struct{ rest, grpc, admin reservation }

// internalAddresses are the listeners of a service that is not public.
type internalAddresses struct{ grpc, admin reservation }

// Start brings everything up and returns when every service is ready. Where that fails, what was started is stopped
// again and the error says which part failed and where its log is. ctx bounds the start, not the system's life.
func Start(ctx context.Context, cfg Config) (*System, error) {
	cfg.Gateways, cfg.Workers, cfg.Notifiers = max(cfg.Gateways, 1), max(cfg.Workers, 1), max(cfg.Notifiers, 1)
	state, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", cfg.StateDir, err)
	}
	cfg.StateDir = state
	if err := cfg.checkPorts(); err != nil {
		return nil, err
	}

	s := &System{cfg: cfg, info: Info{PIDs: map[string]int{}}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// start is the order of things. Each step adds how it is undone.
func (s *System) start(ctx context.Context) error {
	next := &ports{next: s.cfg.PortBase}
	s.onStop("ports", next.close)
	for _, step := range []struct {
		what string
		do   func(context.Context, *ports) error
	}{
		{"state directory", s.openState},
		{"addresses", s.reserveServices},
		{"Cortex", s.startCortex},
		{"PagerDuty", s.startPagerDuty},
		{"Slack", s.startSlack},
		{"mail server", s.startMail},
		{"SQS", s.startSQS},
		{"Redis", s.startRedis},
		{"issuer", s.startIssuer},
		{"PostgreSQL", s.startPostgres},
		{"certificates", s.makeCertificates},
		{"services", s.startServices},
	} {
		if err := step.do(ctx, next); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Ready = true
	return s.writeInfo()
}

// Stop takes everything down, the last part first. When ctx ends, what is left is stopped by force.
func (s *System) Stop(ctx context.Context) error {
	var errs []error
	for _, part := range slices.Backward(s.stops) {
		if err := part.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", part.name, err))
		}
	}
	s.stops = nil
	return errors.Join(errs...)
}

func (s *System) onStop(name string, stop func(context.Context) error) {
	s.stops = append(s.stops, stopper{name, stop})
}

// Info is how to reach the system now. It changes when a service is started again.
func (s *System) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot()
}

// snapshot copies the description with the pids of the moment. The caller holds the lock.
func (s *System) snapshot() Info {
	info := s.info
	info.PIDs = make(map[string]int, len(s.children))
	for _, c := range s.children {
		info.PIDs[c.Name()] = c.Pid()
	}
	if s.postgres != nil {
		info.PIDs["postgres"] = s.postgres.pid()
	}
	return info
}

// Service gives the child of that name: gateway, reconcile-worker, notifier (each -2, -3, … for more of them) or
// audit-scheduler; nil where there is none.
func (s *System) Service(name string) *Child {
	i := slices.IndexFunc(s.children, func(c *Child) bool { return c.Name() == name })
	if i < 0 {
		return nil
	}
	return s.children[i]
}

// openState makes the state directory and takes it for this process: two systems on one directory would ruin both.
func (s *System) openState(context.Context, *ports) error {
	for _, dir := range []string{s.cfg.StateDir, s.path("logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, privateFileMode)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return fmt.Errorf("a system runs in %s already (%s says how to reach it); stop it, or choose another --state-dir",
			s.cfg.StateDir, InfoFile(s.cfg.StateDir))
	}
	s.onStop("state directory", func(context.Context) error {
		err := os.Remove(InfoFile(s.cfg.StateDir))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, lock.Close())
	})
	if s.cfg.Fresh {
		return pgserver.Remove(s.path("postgres"))
	}
	return nil
}

func (s *System) path(elem ...string) string {
	return filepath.Join(append([]string{s.cfg.StateDir}, elem...)...)
}

// secret is a random value that is kept in the state directory, so that it is the same at the next start.
func (s *System) secret(name string) (string, error) {
	path := s.path(name)
	if value, err := os.ReadFile(path); err == nil {
		return string(value), nil
	}
	value := rand.Text()
	return value, os.WriteFile(path, []byte(value), privateFileMode)
}

// serve runs an HTTP handler on a listener.
func (s *System) serve(name string, l net.Listener, h http.Handler) string {
	server := &http.Server{Handler: h, ReadHeaderTimeout: readHeaders}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("part ended", "part", name, "error", err)
		}
	}()
	s.onStop(name, func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		<-done
		return err
	})
	return "http://" + l.Addr().String()
}

// writeInfo replaces dev.json in one step, for those who read it at any moment. The caller holds the lock.
func (s *System) writeInfo() error {
	content, err := json.Marshal(s.snapshot())
	if err != nil {
		return fmt.Errorf("encode dev.json: %w", err)
	}
	next := s.path("dev.json.next")
	if err := os.WriteFile(next, append(content, '\n'), privateFileMode); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	if err := os.Rename(next, InfoFile(s.cfg.StateDir)); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	return nil
}

// processChanged keeps the pids in dev.json current.
func (s *System) processChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.info.Ready {
		return
	}
	if err := s.writeInfo(); err != nil {
		s.cfg.Log.Error("dev.json is not current", "error", err)
	}
}
