package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/store"
)

var quiet = slog.New(slog.DiscardHandler)

// begin runs a loop until the function it gives is called, which waits for its end.
func begin(t *testing.T, loop func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- loop(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-ended) })
	t.Cleanup(stop)
	return stop
}

func TestEventLog_StartedAndStoppedManyTimes_EveryEventAddedBeforeIsDurable(t *testing.T) {
	s, db := open(t)
	job := accept(t, s, "payments")
	before := count(t, db, "SELECT count(*) FROM run_events")
	const rounds, writers, each = 100, 4, 3
	for round := range rounds {
		log := s.NewEventLog(quiet)
		stop := begin(t, log.Run)
		var adding sync.WaitGroup
		for writer := range writers {
			adding.Go(func() {
				for i := range each {
					log.Add(store.Event{JobID: job, At: time.Now(), Kind: store.RunStarted, Step: fmt.Sprint(round, writer, i)})
				}
			})
		}
		adding.Wait()
		stop()
		require.Equal(t, before+(round+1)*writers*each, count(t, db, "SELECT count(*) FROM run_events"), "round %d", round)
	}
	require.Equal(t, rounds*writers*each, count(t, db, "SELECT count(DISTINCT event->>'step') FROM run_events WHERE event ? 'step'"))
}

// Control: without the last write at the end, what was added just before the stop is lost.
func TestControl_EventLogThatDoesNotRun_LosesWhatWasAdded(t *testing.T) {
	s, db := open(t)
	job := accept(t, s, "payments")
	before := count(t, db, "SELECT count(*) FROM run_events")
	s.NewEventLog(quiet).Add(store.Event{JobID: job, At: time.Now(), Kind: store.RunStarted})
	require.Equal(t, before, count(t, db, "SELECT count(*) FROM run_events"))
}

func TestEventHub_StartedAndStoppedManyTimes_TellsAndLeavesNoConnection(t *testing.T) {
	s, db := open(t)
	job := accept(t, s, "payments")
	log := s.NewEventLog(quiet)
	for range 60 {
		hub := s.NewEventHub(quiet)
		news, leave := hub.Subscribe(job)
		told := func(why string) {
			select {
			case <-news:
			case <-time.After(20 * time.Second):
				require.FailNow(t, "the watcher was not told that "+why)
			}
		}
		told("it subscribed")
		stop := begin(t, hub.Run)
		told("the hub listens")
		log.Add(store.Event{JobID: job, At: time.Now(), Kind: store.RunStarted})
		require.NoError(t, log.Flush(t.Context()))
		told("something happened")
		stop()
		leave()
	}
	listening := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN run_events'"
	require.Eventually(t, func() bool { return count(t, db, listening) == 0 }, 20*time.Second, 5*time.Millisecond,
		"PostgreSQL sees a moment later that a connection was closed")
}
