package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal remembers what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// until is a loop that ends with its context and says so.
func (j *journal) until(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.add(name + " ended")
		return nil
	}
}

func (j *journal) closing(name string) func(context.Context) error {
	return func(context.Context) error { j.add(name + " closed"); return nil }
}

var errBroken = errors.New("broken")

func start(ctx context.Context, s *Service, onStop func()) error {
	return newLifecycle(slog.New(slog.DiscardHandler)).run(ctx, s, onStop)
}

func TestRun_Stopped_UnwindsInReverseAfterDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := &Service{}
		s.Close("database", j.closing("database"))
		s.Go("writer", j.until("writer"))
		s.Close("queue", j.closing("queue"))
		s.Go("relay", j.until("relay"))
		s.Serve("consumer", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(10 * time.Second) // a message takes its time
			j.add("consumer drained")
			return nil
		})
		s.Serve("server", j.until("server"))

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		require.NoError(t, start(ctx, s, func() { j.add("not ready") }))
		require.Equal(t, []string{
			"not ready", "server ended", "consumer drained", "relay ended", "queue closed", "writer ended", "database closed",
		}, j.lines)
	})
}

func TestRun_LoopFails_StopsTheOthersAndGivesTheError(t *testing.T) {
	for name, broken := range map[string]func(context.Context) error{
		"error":  func(context.Context) error { return errBroken },
		"panic":  func(context.Context) error { panic(errBroken) },
		"silent": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				s := &Service{}
				s.Close("database", j.closing("database"))
				s.Go("relay", broken)
				s.Serve("consumer", j.until("consumer"))
				err := start(t.Context(), s, func() {})
				require.ErrorContains(t, err, "relay: ")
				require.Equal(t, []string{"consumer ended", "database closed"}, j.lines)
			})
		})
	}
}

func TestRun_LoopsFailWhileStopping_AreAllReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{}
		fail := func(ctx context.Context) error { <-ctx.Done(); return errBroken }
		s.Close("database", func(context.Context) error { return errBroken })
		s.Go("relay", fail)
		s.Serve("consumer", fail)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := start(ctx, s, func() {})
		for _, name := range []string{"consumer: broken", "relay: broken", "close database: broken"} {
			require.ErrorContains(t, err, name)
		}
	})
}

func TestRun_PartsThatHang_AreNamedAndPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		release := make(chan struct{})
		hang := func(context.Context) error { <-release; return nil }
		s := &Service{}
		s.Close("database", j.closing("database"))
		s.Go("relay", hang)
		s.Close("queue", hang)
		s.Serve("consumer", hang)
		s.Serve("server", j.until("server"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := start(ctx, s, func() {})
		require.ErrorContains(t, err, "consumer did not stop within 24s")
		require.ErrorContains(t, err, "relay did not stop within 4s")
		require.ErrorContains(t, err, "queue did not stop within 4s")
		require.NotContains(t, err.Error(), "server")
		require.Equal(t, drainWithin+2*stopWithin, time.Since(begin))
		require.Contains(t, j.lines, "database closed")
		close(release)
	})
}

func TestRun_StartedAndStoppedManyTimes_LeavesNothingBehind(t *testing.T) {
	for range 200 {
		var j journal
		s := &Service{}
		s.Close("database", j.closing("database"))
		s.Go("relay", j.until("relay"))
		s.Serve("consumer", j.until("consumer"))
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		require.NoError(t, start(ctx, s, func() {}))
		require.Len(t, j.lines, 3)
	}
}
