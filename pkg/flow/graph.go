// Package flow runs a fixed graph of steps over a state, so that a run that was interrupted anywhere goes on where it
// stood and comes to the same end.
//
// A graph is data: steps, and edges that may carry a condition. Steps whose incoming edges are all decided, with at
// least one of them taken, run together as a wave; when the whole wave is done its outgoing edges are decided on the
// state, in the order in which they were declared. Nothing else schedules, so the same state always takes the same way.
// Steps of one wave run at the same time and must write different fields of the state.
//
// Guarantees:
//   - Before a step marked Effect starts, everything before it is in the journal: a resumed run never decides anew what
//     an effect was based on.
//   - A step that was in the journal as done is not run again; any other step may run again, so an effect must find out
//     what it did already.
//   - A run ends in one of three ways: finished, interrupted (a step waits for somebody; the journal has it), or failed.
package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Func is the work of a step.
type Func[S any] func(ctx context.Context, state *S) error

// Graph is a checked graph of steps over a state S. It is immutable and safe for concurrent runs.
type Graph[S any] struct {
	name  string
	steps []*step[S]
	byKey map[string]*step[S]
}

type step[S any] struct {
	name    string
	run     Func[S]
	effect  bool
	timeout time.Duration
	needs   time.Duration
	retry   Retry
	in      int // number of incoming edges
	out     []edge[S]
}

type edge[S any] struct {
	to    string
	label string
	when  func(*S) bool // nil: always
}

// Retry says how often a step that failed with a passing error (fault.Passing) is tried, and how long to wait between.
type Retry struct {
	Tries   int           // 0 and 1: once
	Initial time.Duration // the first wait; it doubles, with jitter
	Max     time.Duration
}

// Builder collects a graph's steps and edges. Its methods note mistakes; Build reports them all.
type Builder[S any] struct {
	graph *Graph[S]
	errs  []error
}

// New starts a graph.
func New[S any](name string) *Builder[S] {
	return &Builder[S]{graph: &Graph[S]{name: name, byKey: map[string]*step[S]{}}}
}

// Option sets a property of a step.
type Option func(*options)

type options struct {
	effect  bool
	timeout time.Duration
	needs   time.Duration
	retry   Retry
}

// Effect marks a step that changes something outside the state: the journal is written before it starts.
func Effect() Option { return func(o *options) { o.effect = true } }

// Timeout bounds each try of a step.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// Needs is the time without which a step is better not begun: see Hooks.Before.
func Needs(d time.Duration) Option { return func(o *options) { o.needs = d } }

// WithRetry lets a step be tried again.
func WithRetry(r Retry) Option { return func(o *options) { o.retry = r } }

// Step adds a step. Steps without incoming edges start the run.
func (b *Builder[S]) Step(name string, run Func[S], opts ...Option) *Builder[S] {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case name == "":
		b.errs = append(b.errs, errors.New("a step needs a name"))
	case run == nil:
		b.errs = append(b.errs, fmt.Errorf("step %q has no function", name))
	case b.graph.byKey[name] != nil:
		b.errs = append(b.errs, fmt.Errorf("step %q is there twice", name))
	default:
		s := &step[S]{name: name, run: run, effect: o.effect, timeout: o.timeout, needs: o.needs, retry: o.retry}
		b.graph.byKey[name] = s
		b.graph.steps = append(b.graph.steps, s)
	}
	return b
}

// Edge lets to follow from, always.
func (b *Builder[S]) Edge(from, to string) *Builder[S] { return b.edge(from, edge[S]{to: to}) }

// When lets to follow from where the condition holds. The label says in words when that is.
func (b *Builder[S]) When(from, to, label string, condition func(*S) bool) *Builder[S] {
	if condition == nil {
		b.errs = append(b.errs, fmt.Errorf("edge %s → %s has no condition", from, to))
	}
	return b.edge(from, edge[S]{to: to, label: label, when: condition})
}

func (b *Builder[S]) edge(from string, e edge[S]) *Builder[S] {
	source, target := b.graph.byKey[from], b.graph.byKey[e.to]
	if source == nil || target == nil {
		b.errs = append(b.errs, fmt.Errorf("edge %s → %s joins steps that are not both declared", from, e.to))
		return b
	}
	if slices.ContainsFunc(source.out, func(o edge[S]) bool { return o.to == e.to }) {
		b.errs = append(b.errs, fmt.Errorf("edge %s → %s is there twice", from, e.to))
		return b
	}
	source.out = append(source.out, e)
	target.in++
	return b
}

// Build checks the graph: it has a start, no cycle, and so every step can be reached.
func (b *Builder[S]) Build() (*Graph[S], error) {
	g := b.graph
	left := map[string]int{}
	var ready []string
	for _, s := range g.steps {
		left[s.name] = s.in
		if s.in == 0 {
			ready = append(ready, s.name)
		}
	}
	visited := 0
	for len(ready) > 0 {
		s := g.byKey[ready[0]]
		ready = ready[1:]
		visited++
		for _, e := range s.out {
			if left[e.to]--; left[e.to] == 0 {
				ready = append(ready, e.to)
			}
		}
	}
	if len(g.steps) == 0 {
		b.errs = append(b.errs, errors.New("the graph has no steps"))
	} else if visited < len(g.steps) && len(b.errs) == 0 {
		b.errs = append(b.errs, errors.New("the graph has a cycle"))
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, fmt.Errorf("flow %s: %w", g.name, err)
	}
	return g, nil
}

// Name is the graph's name.
func (g *Graph[S]) Name() string { return g.name }

// Steps lists the steps' names in the order in which they were declared.
func (g *Graph[S]) Steps() []string {
	names := make([]string, len(g.steps))
	for i, s := range g.steps {
		names[i] = s.name
	}
	return names
}
