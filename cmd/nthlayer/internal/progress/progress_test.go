package progress_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/progress"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func aRun(t *testing.T) []*nthlayerv1.RunEvent {
	t.Helper()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	at := func(ms int) *timestamppb.Timestamp {
		return timestamppb.New(start.Add(time.Duration(ms) * time.Millisecond))
	}
	after, err := structpb.NewStruct(map[string]any{"role": "manager"})
	require.NoError(t, err)
	return []*nthlayerv1.RunEvent{
		{Kind: "run_queued", At: at(0)},
		{Kind: "run_started", At: at(10)},
		{Kind: "step_started", Step: "fetch_source", At: at(20)},
		{Kind: "step_succeeded", Step: "fetch_source", At: at(140)},
		{Kind: "step_started", Step: "apply", At: at(150)},
		{Kind: "change_applied", Step: "apply", At: at(200), Change: &nthlayerv1.Change{
			Kind: "add_member", EntityRef: "person:ada@example.org", After: after,
		}},
		{Kind: "step_succeeded", Step: "apply", At: at(210)},
		{Kind: "step_skipped", Step: "announce", At: at(211)},
		{Kind: "run_succeeded", Message: "1 change applied", At: at(220)},
	}
}

func events(list []*nthlayerv1.RunEvent, end error) progress.Events {
	return func(yield func(*nthlayerv1.RunEvent, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
		if end != nil {
			yield(nil, end)
		}
	}
}

func TestShow_NoTerminal_WritesOnePlainLineAnEvent(t *testing.T) {
	var out bytes.Buffer
	ended, err := progress.Show(t.Context(), &out, 0, events(aRun(t), nil))
	require.NoError(t, err)
	require.Equal(t, "run_succeeded", ended)
	require.Equal(t, strings.TrimPrefix(`
09:00:00.000  run queued
09:00:00.010  run started
09:00:00.020  fetch source started
09:00:00.140  fetch source succeeded
09:00:00.150  apply started
09:00:00.200  + add     ada@example.org  manager
09:00:00.210  apply succeeded
09:00:00.211  announce skipped
09:00:00.220  run succeeded: 1 change applied
`, "\n"), ansi.Strip(out.String()))
}

func TestShow_Terminal_EndsWithTheWholeBoard(t *testing.T) {
	var out bytes.Buffer
	ended, err := progress.Show(t.Context(), &out, 30, events(aRun(t), nil))
	require.NoError(t, err)
	require.Equal(t, "run_succeeded", ended)
	lines := strings.Split(strings.TrimSuffix(ansi.Strip(out.String()), "\n"), "\n")
	board := lines[len(lines)-4:]
	for i := range board {
		board[i] = strings.TrimPrefix(board[i], "\r")
	}
	require.Equal(t, []string{
		"  ✓ fetch source    120ms",
		"  ✓ apply           60ms",
		"      + add     ada@example.o…",
		"  – announce",
	}, board, "no line is wider than the terminal")
}

func TestShow_ManyChanges_KeepTheBoardLow(t *testing.T) {
	list := aRun(t)
	change := list[5]
	for range 100 {
		list = slices.Insert(list, 5, change)
	}
	var out bytes.Buffer
	_, err := progress.Show(t.Context(), &out, 80, events(list, nil))
	require.NoError(t, err)
	drawn := strings.Split(out.String(), "\x1b[")
	last := slices.IndexFunc(drawn, func(s string) bool { return strings.Contains(s, "… 89 before") })
	require.Positive(t, last)
	for _, part := range drawn {
		if up, _, ok := strings.Cut(part, "A"); ok {
			if n, err := strconv.Atoi(up); err == nil {
				require.LessOrEqual(t, n, 20)
			}
		}
	}
}

func TestShow_StreamBreaks_SaysSo(t *testing.T) {
	broken := errors.New("connection lost")
	for _, width := range []int{0, 80} {
		_, err := progress.Show(t.Context(), io.Discard, width, events(aRun(t)[:3], broken))
		require.ErrorIs(t, err, broken)
		_, err = progress.Show(t.Context(), io.Discard, width, events(aRun(t)[:3], nil))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "an end without a last event is no success")
	}
}
