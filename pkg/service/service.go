// Package service runs a service: build, then run, and unwind in reverse.
//
// Main reads the configuration, sets up telemetry, calls the service's wiring, and runs what the wiring added until a
// signal comes or something fails. The wiring only builds; nothing it adds runs before it returned.
//
//	func main() { service.Main("notifier", wire.Notifier) }
//
//	func Notifier(ctx context.Context, s *service.Service, cfg Config) error {
//		db, err := store.Open(ctx, cfg.Database.URL, store.Options{})
//		if err != nil {
//			return err
//		}
//		s.Close("database", func(context.Context) error { db.Close(); return nil })
//		s.Ready("database", db.Ping)
//		…
//		s.Serve("consumer", consumer.Run)
//		return nil
//	}
//
// The end is always the same: readiness goes off; what Serve added stops taking work and finishes what it has; then
// everything that Go and Close added is stopped, the last added first. Each wait is bounded, and whoever exceeds it is
// named. The first error stops the service: one line in the log, exit code 1.
package service

import (
	"context"
	"log/slog"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// Config is a service's configuration: a struct that embeds config.Process.
type Config interface{ Base() config.Process }

// Wire builds a service from its configuration. ctx ends when the service is told to stop.
type Wire[C Config] func(ctx context.Context, s *Service, cfg C) error

// Service is what the wiring adds its parts to. It is not safe for concurrent use: wire in one goroutine.
type Service struct {
	Name    string
	Version string
	Log     *slog.Logger

	serving []loop
	parts   []part
	checks  []check
}

type loop struct {
	name string
	run  func(context.Context) error
}

// part is a loop or a closer; their order is the order in which they were added.
type part struct {
	loop
	close func(context.Context) error
}

// Serve adds a loop that takes work from outside: a consumer, a server. When its context ends it must take nothing new,
// finish what it has in good time, and return nil. Returning earlier is a failure of the service.
func (s *Service) Serve(name string, run func(context.Context) error) {
	s.serving = append(s.serving, loop{name, run})
}

// Go adds a loop that works for others in the service: a relay, a batching writer. It goes on until everything that
// Serve added has finished, and until what was added after it has ended.
func (s *Service) Go(name string, run func(context.Context) error) {
	s.parts = append(s.parts, part{loop: loop{name, run}})
}

// Close adds what is to be closed at the end, after what was added later. It runs also when the wiring fails.
func (s *Service) Close(name string, f func(context.Context) error) {
	s.parts = append(s.parts, part{loop: loop{name: name}, close: f})
}

// Ready adds a check. The service is ready while all checks give nil within two seconds.
func (s *Service) Ready(name string, f func(context.Context) error) {
	s.checks = append(s.checks, check{name, f})
}
