package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// drainWithin bounds the end of everything that takes work. ECS kills 30 s after SIGTERM, by default.
	drainWithin = 24 * time.Second
	// stopWithin bounds the end of each other part.
	stopWithin = 4 * time.Second
)

// running is a loop that was started.
type running struct {
	loop
	cancel context.CancelFunc
	done   chan struct{}
}

// lifecycle runs the parts of a service.
type lifecycle struct {
	log    *slog.Logger
	failed chan error // room for the first failure

	mu       sync.Mutex
	problems []error
}

func newLifecycle(log *slog.Logger) *lifecycle {
	return &lifecycle{log: log, failed: make(chan error, 1)}
}

// run starts everything, waits until ctx ends or something fails, and stops everything. onStop is called in between.
func (l *lifecycle) run(ctx context.Context, s *Service, onStop func()) error {
	// The loops outlive ctx: each is stopped when its turn has come.
	base := context.WithoutCancel(ctx)
	background := make([]*running, len(s.parts))
	for i, p := range s.parts {
		if p.run != nil {
			background[i] = l.start(base, p.loop)
		}
	}
	var serving []*running
	for _, taker := range s.serving {
		serving = append(serving, l.start(base, taker))
	}

	select {
	case <-ctx.Done():
		l.log.Info("service stopping", "cause", context.Cause(ctx))
	case err := <-l.failed:
		l.note(err)
		l.log.Info("service stopping", "cause", err)
	}
	onStop()

	for _, r := range serving {
		r.cancel()
	}
	l.await(drainWithin, serving...)
	l.unwind(base, s.parts, background)
	return l.result()
}

// unwind stops and closes the parts, the last added first. background is nil where no loop was started.
func (l *lifecycle) unwind(ctx context.Context, parts []part, background []*running) {
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		switch {
		case p.close != nil:
			l.close(ctx, p)
		case background != nil:
			background[i].cancel()
			l.await(stopWithin, background[i])
		}
	}
}

func (l *lifecycle) start(ctx context.Context, what loop) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{loop: what, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		err := guard(ctx, what.run)
		switch {
		case ctx.Err() == nil && err == nil:
			err = errors.New("ended although nobody asked for it")
		case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
			return
		}
		err = fmt.Errorf("%s: %w", what.name, err)
		select {
		case l.failed <- err:
		default: // another one failed first; this one is reported with the rest
			l.note(err)
		}
	}()
	return r
}

// guard turns a panic into an error, so that the other parts are still stopped in order.
func guard(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return run(ctx)
}

func (l *lifecycle) close(ctx context.Context, p part) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	r := &running{loop: p.loop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := guard(ctx, p.close); err != nil {
			l.note(fmt.Errorf("close %s: %w", p.name, err))
		}
	}()
	l.await(stopWithin, r)
}

// await waits for loops to return, together for d at most, and notes those that do not.
func (l *lifecycle) await(d time.Duration, loops ...*running) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	over := false
	for _, r := range loops {
		if !over {
			select {
			case <-r.done:
				continue
			case <-timer.C:
				over = true
			}
		}
		select {
		case <-r.done:
		default:
			l.note(fmt.Errorf("%s did not stop within %s", r.name, d))
		}
	}
}

func (l *lifecycle) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, err)
}

func (l *lifecycle) result() error {
	select {
	case err := <-l.failed: // while it was stopping
		l.note(err)
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.problems...)
}
