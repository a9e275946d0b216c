package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type state struct {
	A, B, Sum int
	Path      []string
}

// memory is a journal that can be told to die: at its n-th save, before or after the snapshot is durable.
type memory struct {
	snapshot []byte
	saves    int
}

func (m *memory) Load(context.Context) ([]byte, error) { return m.snapshot, nil }
func (m *memory) Save(_ context.Context, s []byte) error {
	m.saves++
	m.snapshot = append([]byte(nil), s...)
	return nil
}

func mark(name string) flow.Func[state] {
	return func(_ context.Context, s *state) error { s.Path = append(s.Path, name); return nil }
}

func always(*state) bool { return true }

func build(t require.TestingT, b *flow.Builder[state]) *flow.Graph[state] {
	g, err := b.Build()
	require.NoError(t, err)
	return g
}

func TestRun_ParallelStepsMeetAtTheJoin(t *testing.T) {
	meet := make(chan struct{})
	g := build(t, flow.New[state]("g").
		Step("a", func(ctx context.Context, s *state) error { meet <- struct{}{}; s.A = 1; return nil }).
		Step("b", func(ctx context.Context, s *state) error { <-meet; s.B = 2; return nil }).
		Step("sum", func(_ context.Context, s *state) error { s.Sum = s.A + s.B; return nil }).
		Edge("a", "sum").Edge("b", "sum"))
	var s state
	require.NoError(t, g.Run(t.Context(), &s, flow.Hooks{}))
	require.Equal(t, 3, s.Sum)
}

func TestRun_ConditionalEdges_TakeOneWayAndSkipTheOther(t *testing.T) {
	g := build(t, flow.New[state]("g").
		Step("guard", mark("guard")).Step("apply", mark("apply")).Step("verify", mark("verify")).Step("record", mark("record")).
		When("guard", "apply", "yes", func(s *state) bool { return s.A == 1 }).
		When("guard", "record", "no", func(s *state) bool { return s.A != 1 }).
		Edge("apply", "verify").Edge("verify", "record"))

	yes := state{A: 1}
	require.NoError(t, g.Run(t.Context(), &yes, flow.Hooks{}))
	require.Equal(t, []string{"guard", "apply", "verify", "record"}, yes.Path)

	var skipped []string
	no := state{}
	require.NoError(t, g.Run(t.Context(), &no, flow.Hooks{Watch: func(_ context.Context, e flow.Event) {
		if e.Kind == flow.StepSkipped {
			skipped = append(skipped, e.Step)
		}
	}}))
	require.Equal(t, []string{"guard", "record"}, no.Path)
	require.Equal(t, []string{"apply", "verify"}, skipped)
}

func TestRun_FirstFailureStopsItsWaveAndIsShown(t *testing.T) {
	broken := fault.New(fault.NotFound, "no such team", nil)
	g := build(t, flow.New[state]("g").
		Step("slow", func(ctx context.Context, _ *state) error { <-ctx.Done(); return ctx.Err() }).
		Step("broken", func(context.Context, *state) error { return broken }).
		Step("after", mark("after")).
		Edge("slow", "after").Edge("broken", "after"))
	var s state
	err := g.Run(t.Context(), &s, flow.Hooks{})
	require.ErrorIs(t, err, broken)
	var step *flow.StepError
	require.ErrorAs(t, err, &step)
	require.Equal(t, "broken", step.Step)
	require.Empty(t, s.Path)
}

func TestRun_PanicIsAnError(t *testing.T) {
	g := build(t, flow.New[state]("g").Step("a", func(context.Context, *state) error { panic("boom") }))
	err := g.Run(t.Context(), &state{}, flow.Hooks{})
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.ErrorContains(t, err, "boom")
}

func TestRun_RetriesPassingErrorsWithinItsTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		g := build(t, flow.New[state]("g").Step("a", func(context.Context, *state) error {
			if tries++; tries < 3 {
				return fault.New(fault.Unavailable, "away", nil)
			}
			return nil
		}, flow.WithRetry(flow.Retry{Tries: 3, Initial: time.Second, Max: time.Minute})))
		begun := time.Now()
		require.NoError(t, g.Run(t.Context(), &state{}, flow.Hooks{}))
		require.Equal(t, 3, tries)
		require.Greater(t, time.Since(begun), time.Second)

		for _, kind := range []fault.Kind{fault.NotFound, fault.Fenced, fault.Internal} {
			tries = -100
			fatal := build(t, flow.New[state]("g").Step("a", func(context.Context, *state) error {
				tries++
				return fault.New(kind, "final", nil)
			}, flow.WithRetry(flow.Retry{Tries: 3})))
			require.Equal(t, kind, fault.KindOf(fatal.Run(t.Context(), &state{}, flow.Hooks{})))
			require.Equal(t, -99, tries)
		}
	})
}

func TestRun_TimeoutBoundsATryAndIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := build(t, flow.New[state]("g").Step("a", func(ctx context.Context, _ *state) error { <-ctx.Done(); return ctx.Err() }, flow.Timeout(time.Minute)))
		begun := time.Now()
		err := g.Run(t.Context(), &state{}, flow.Hooks{})
		require.Equal(t, "STEP_TIMEOUT", fault.ReasonOf(err))
		require.Equal(t, time.Minute, time.Since(begun))
	})
}

func TestRun_JournalIsWrittenBeforeAnEffectAndOnlyThen(t *testing.T) {
	m := &memory{}
	var atEffect int
	g := build(t, flow.New[state]("g").
		Step("a", mark("a")).Step("b", mark("b")).
		Step("effect", func(_ context.Context, s *state) error { atEffect = m.saves; return nil }, flow.Effect()).
		Step("c", mark("c")).
		Edge("a", "b").Edge("b", "effect").Edge("effect", "c"))
	require.NoError(t, g.Run(t.Context(), &state{}, flow.Hooks{Journal: m}))
	require.Equal(t, 1, atEffect)
	require.Equal(t, 1, m.saves)
}

func TestRun_InterruptWaitsAndGoesOn(t *testing.T) {
	m := &memory{}
	approved := false
	g := build(t, flow.New[state]("g").
		Step("plan", mark("plan")).
		Step("approval", func(_ context.Context, s *state) error {
			if !approved {
				return flow.Interrupt("waits for approval")
			}
			return nil
		}).
		Step("apply", mark("apply"), flow.Effect()).
		Edge("plan", "approval").Edge("approval", "apply"))
	require.ErrorIs(t, g.Run(t.Context(), &state{}, flow.Hooks{Journal: m}), flow.ErrInterrupted)
	approved = true
	var s state
	require.NoError(t, g.Run(t.Context(), &s, flow.Hooks{Journal: m}))
	require.Equal(t, []string{"plan", "apply"}, s.Path)
}

func TestRun_SnapshotOfOtherSteps_StartsOver(t *testing.T) {
	m := &memory{}
	old := build(t, flow.New[state]("g").Step("gone", mark("gone")).Step("e", mark("e"), flow.Effect()).Edge("gone", "e"))
	require.NoError(t, old.Run(t.Context(), &state{}, flow.Hooks{Journal: m}))
	g := build(t, flow.New[state]("g").Step("new", mark("new")))
	var s state
	require.NoError(t, g.Run(t.Context(), &s, flow.Hooks{Journal: m}))
	require.Equal(t, []string{"new"}, s.Path)

	other := build(t, flow.New[state]("h").Step("new", mark("new")))
	require.Error(t, other.Run(t.Context(), &state{}, flow.Hooks{Journal: m}))
}

func TestBuild_RefusesWhatCannotRun(t *testing.T) {
	noop := mark("x")
	for name, b := range map[string]*flow.Builder[state]{
		"no steps":        flow.New[state]("g"),
		"cycle":           flow.New[state]("g").Step("a", noop).Step("b", noop).Edge("a", "b").Edge("b", "a"),
		"unknown step":    flow.New[state]("g").Step("a", noop).Edge("a", "b"),
		"step twice":      flow.New[state]("g").Step("a", noop).Step("a", noop),
		"edge twice":      flow.New[state]("g").Step("a", noop).Step("b", noop).Edge("a", "b").When("a", "b", "x", always),
		"no function":     flow.New[state]("g").Step("a", nil),
		"no condition":    flow.New[state]("g").Step("a", noop).Step("b", noop).When("a", "b", "x", nil),
		"step of no name": flow.New[state]("g").Step("", noop),
	} {
		_, err := b.Build()
		require.Error(t, err, name)
	}
}

func TestMermaid_ShowsStepsEffectsAndConditions(t *testing.T) {
	g := build(t, flow.New[state]("g").Step("a", mark("a")).Step("b", mark("b"), flow.Effect()).When("a", "b", "if so", always))
	require.Equal(t, "flowchart TD\n    a[a]\n    b[[b]]\n    a -- if so --> b\n", g.Mermaid())
}

// crash ends a run in the middle of a step, as a killed process does: whatever the state was, it is gone.
var errCrash = errors.New("crash")

// However often and wherever a run is killed, the effects happen in the same order and the end is the same as without,
// as long as each effect finds out what it did already.
func TestRun_KilledAnywhere_ComesToTheSameEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		crashes := rapid.SliceOfN(rapid.IntRange(0, 11), 0, 4).Draw(t, "crashes")
		var mu sync.Mutex
		var done []string // the outside world
		visits := 0
		step := func(name string, effect bool) flow.Func[state] {
			return func(_ context.Context, s *state) error {
				mu.Lock()
				defer mu.Unlock()
				visits++
				for _, at := range crashes {
					if visits == at {
						return errCrash
					}
				}
				if effect && !strings.Contains(strings.Join(done, " "), name) {
					done = append(done, name)
				}
				switch name {
				case "a":
					s.A = 1
				case "b":
					s.B = 2
				default:
					s.Path = append(s.Path, name)
				}
				return nil
			}
		}
		g := build(t, flow.New[state]("g").
			Step("a", step("a", false)).Step("b", step("b", false)).
			Step("plan", step("plan", false)).
			Step("e1", step("e1", true), flow.Effect()).Step("e2", step("e2", true), flow.Effect()).
			Step("end", step("end", false)).
			Edge("a", "plan").Edge("b", "plan").Edge("plan", "e1").Edge("e1", "e2").Edge("e2", "end"))
		m := &memory{}
		var s state
		for range len(crashes) + 1 {
			s = state{}
			if err := g.Run(context.Background(), &s, flow.Hooks{Journal: m}); err == nil {
				break
			} else if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
		}
		want := state{A: 1, B: 2, Path: []string{"plan", "e1", "e2", "end"}}
		if fmt.Sprint(s) != fmt.Sprint(want) || fmt.Sprint(done) != "[e1 e2]" {
			t.Fatalf("ended as %v after %v", s, done)
		}
	})
}
