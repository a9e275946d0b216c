package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Journal keeps the snapshot of one run. Save must not return before the snapshot is durable, and must fail when the
// caller no longer owns the run.
type Journal interface {
	Load(ctx context.Context) (snapshot []byte, err error) // nil: nothing saved yet
	Save(ctx context.Context, snapshot []byte) error
}

// EventKind says what happened to a step.
type EventKind string

// The kinds of event.
const (
	StepStarted   EventKind = "step_started"
	StepSucceeded EventKind = "step_succeeded"
	StepFailed    EventKind = "step_failed"
	StepSkipped   EventKind = "step_skipped"
)

// Event is told to whoever watches a run. Try counts from 1.
type Event struct {
	Kind EventKind
	Step string
	Try  int
	Err  error
}

// Hooks connects a run to the world around it. The zero Hooks runs without journal and without watchers.
type Hooks struct {
	Journal Journal
	// Before is asked before each try of a step that needs time, with how much. Its error ends the run there, with the
	// step not begun. Steps that declare no need finish what was begun: they are not asked about.
	Before func(ctx context.Context, step string, needs time.Duration) error
	Watch  func(context.Context, Event)                                          // called from several goroutines at once
	Around func(ctx context.Context, step string) (context.Context, func(error)) // a span around each try
}

// ErrInterrupted is wrapped by what Run returns when a step waits for somebody. The journal has the run; call Run again
// when the wait is over.
var ErrInterrupted = errors.New("interrupted")

// Interrupt is what a step returns to wait for somebody. The step runs again when the run is resumed.
func Interrupt(why string) error { return fmt.Errorf("%w: %s", ErrInterrupted, why) }

// StepError names the step that failed.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *StepError) Unwrap() error { return e.Err }

// snapshot is what the journal keeps. Decided edges are kept as well as steps: a condition is asked once, on the state
// as it was then.
type snapshot struct {
	Graph string              `json:"graph"`
	Done  map[string]bool     `json:"done"`  // step → it ran (false: skipped)
	Taken map[string][]string `json:"taken"` // step → the steps that follow it
	State json.RawMessage     `json:"state"`
}

// Run takes state through the graph, from where the journal says it stands. state is overwritten by a saved one.
func (g *Graph[S]) Run(ctx context.Context, state *S, hooks Hooks) error {
	p := snapshot{Graph: g.name, Done: map[string]bool{}, Taken: map[string][]string{}}
	if err := g.resume(ctx, &p, state, hooks.Journal); err != nil {
		return err
	}
	saved := len(p.Done)
	for {
		wave := g.next(ctx, p, hooks)
		if len(wave) == 0 {
			return nil
		}
		if hooks.Journal != nil && len(p.Done) > saved && slices.ContainsFunc(wave, func(s *step[S]) bool { return s.effect }) {
			if err := g.save(ctx, p, state, hooks.Journal); err != nil {
				return err
			}
			saved = len(p.Done)
		}
		if err := g.runWave(ctx, wave, state, hooks); err != nil {
			if errors.Is(err, ErrInterrupted) && hooks.Journal != nil {
				return errors.Join(err, g.save(ctx, p, state, hooks.Journal))
			}
			return err
		}
		for _, s := range wave {
			p.Done[s.name] = true
			for _, e := range s.out {
				if e.when == nil || e.when(state) {
					p.Taken[s.name] = append(p.Taken[s.name], e.to)
				}
			}
		}
	}
}

// next gives the steps that are ready, and marks as skipped those that no edge leads to any more.
func (g *Graph[S]) next(ctx context.Context, p snapshot, hooks Hooks) []*step[S] {
	for {
		decided, taken := map[string]int{}, map[string]int{}
		for _, s := range g.steps {
			if _, done := p.Done[s.name]; !done {
				continue
			}
			for _, e := range s.out {
				decided[e.to]++
			}
			for _, to := range p.Taken[s.name] {
				taken[to]++
			}
		}
		var wave []*step[S]
		skipped := false
		for _, s := range g.steps {
			_, done := p.Done[s.name]
			switch {
			case done || decided[s.name] < s.in:
			case s.in == 0 || taken[s.name] > 0:
				wave = append(wave, s)
			default:
				p.Done[s.name] = false
				skipped = true
				hooks.tell(ctx, Event{Kind: StepSkipped, Step: s.name})
			}
		}
		if len(wave) > 0 || !skipped {
			return wave
		}
	}
}

// runWave runs steps together. The first failure cancels the others; all have returned when it does.
func (g *Graph[S]) runWave(ctx context.Context, wave []*step[S], state *S, hooks Hooks) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(wave))
	var running sync.WaitGroup
	for i, s := range wave {
		running.Go(func() {
			if err := s.try(ctx, state, hooks); err != nil {
				errs[i] = &StepError{Step: s.name, Err: err}
				cancel(errs[i])
			}
		})
	}
	running.Wait()
	// The failure that came first is the one to show; the others were canceled by it.
	if first := context.Cause(ctx); first != nil && slices.Contains(errs, first) {
		return first
	}
	return errors.Join(errs...)
}

// try runs a step until it succeeds, fails for good, or has used its tries.
func (s *step[S]) try(ctx context.Context, state *S, hooks Hooks) error {
	wait := backoff.NewExponentialBackOff()
	if s.retry.Initial > 0 {
		wait.InitialInterval = s.retry.Initial
	}
	if s.retry.Max > 0 {
		wait.MaxInterval = s.retry.Max
	}
	try := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		try++
		if hooks.Before != nil && s.needs > 0 {
			if err := hooks.Before(ctx, s.name, s.needs); err != nil {
				return struct{}{}, backoff.Permanent(err)
			}
		}
		err := s.once(ctx, state, hooks, try)
		if err != nil && !worthTrying(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(uint(max(s.retry.Tries, 1))), backoff.WithMaxElapsedTime(0))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		return permanent.Err
	}
	return err
}

// worthTrying reports a passing error that does not ask for a wait of its own: those waits are long, and the run's to
// take, not the step's.
func worthTrying(err error) bool {
	f, ok := fault.As(err)
	return ok && fault.Passing(err) && f.RetryAfter == 0
}

func (s *step[S]) once(ctx context.Context, state *S, hooks Hooks, try int) (err error) {
	hooks.tell(ctx, Event{Kind: StepStarted, Step: s.name, Try: try})
	finish := func(error) {}
	if hooks.Around != nil {
		ctx, finish = hooks.Around(ctx, s.name)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "the step panicked", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		finish(err)
		if err != nil {
			hooks.tell(ctx, Event{Kind: StepFailed, Step: s.name, Try: try, Err: err})
		} else {
			hooks.tell(ctx, Event{Kind: StepSucceeded, Step: s.name, Try: try})
		}
	}()
	if s.timeout == 0 {
		return s.run(ctx, state)
	}
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.run(bounded, state)
	if err != nil && ctx.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded) && !fault.Is(err, fault.Throttled) {
		err = fault.New(fault.Deadline, fmt.Sprintf("the step took longer than %s", s.timeout), err).WithReason("STEP_TIMEOUT")
	}
	return err
}

func (g *Graph[S]) resume(ctx context.Context, p *snapshot, state *S, journal Journal) error {
	if journal == nil {
		return nil
	}
	content, err := journal.Load(ctx)
	if err != nil || content == nil {
		return err
	}
	var saved snapshot
	if err := json.Unmarshal(content, &saved); err != nil {
		return fault.New(fault.Internal, "the checkpoint cannot be read", err)
	}
	if saved.Graph != g.name {
		return fault.New(fault.Internal, fmt.Sprintf("the checkpoint belongs to flow %q, not %q", saved.Graph, g.name), nil)
	}
	for name := range saved.Done {
		if g.byKey[name] == nil {
			// Written by a program with other steps. Effects find out what was done, so starting over is safe.
			return nil
		}
	}
	if err := json.Unmarshal(saved.State, state); err != nil {
		return fault.New(fault.Internal, "the checkpoint's state cannot be read", err)
	}
	p.Done, p.Taken = saved.Done, saved.Taken
	if p.Taken == nil {
		p.Taken = map[string][]string{}
	}
	return nil
}

func (g *Graph[S]) save(ctx context.Context, p snapshot, state *S, journal Journal) error {
	var err error
	if p.State, err = json.Marshal(state); err != nil {
		return fault.New(fault.Internal, "the state cannot be saved", err)
	}
	content, err := json.Marshal(p)
	if err != nil {
		return fault.New(fault.Internal, "the checkpoint cannot be saved", err)
	}
	return journal.Save(ctx, content)
}

func (h Hooks) tell(ctx context.Context, e Event) {
	if h.Watch != nil {
		h.Watch(ctx, e)
	}
}
