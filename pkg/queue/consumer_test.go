package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

const jobs = "jobs.fifo"

// rig is a simulator with one queue.
type rig struct {
	server *sqs.Server
	client *queue.Client
}

func newRig(t testing.TB) rig {
	server, endpoint := startSimulator(t)
	client := newClient(t, endpoint)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{MaxReceives: 100}, jobs))
	return rig{server, client}
}

func (r rig) send(t testing.TB, messages ...queue.Message) {
	t.Helper()
	_, err := queue.NewProducer(r.client).Send(t.Context(), messages)
	require.NoError(t, err)
}

// run starts a consumer; stop ends it and gives Run's error.
func (r rig) run(t testing.TB, opts queue.ConsumerOptions, h queue.Handler) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- queue.NewConsumer(r.client, jobs, h, quiet, opts).Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

func (r rig) depth(t testing.TB) queue.Depth {
	d, err := r.client.Depth(t.Context(), jobs)
	require.NoError(t, err)
	return d
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		require.FailNow(t, "nothing came within 20 s")
		panic("unreachable")
	}
}

func soon(int) time.Duration { return 0 }

func TestConsumer_HandlerSucceeds_MessageIsDeleted(t *testing.T) {
	r := newRig(t)
	got := make(chan queue.Received, 1)
	stop := r.run(t, queue.ConsumerOptions{}, func(_ context.Context, m queue.Received) error { got <- m; return nil })
	sent := text(jobs, "team", `{"job_id":"1"}`)
	sent.Attributes = map[string]string{"k": "v"}
	r.send(t, sent)
	m := await(t, got)
	require.Equal(t, `{"job_id":"1"}`, string(m.Body))
	require.Equal(t, "v", m.Attributes["k"])
	require.Equal(t, "team", m.Group)
	require.Equal(t, 1, m.ReceiveCount)
	require.WithinDuration(t, time.Now(), m.SentAt, 10*time.Second)
	require.NoError(t, stop())
	require.Equal(t, queue.Depth{}, r.depth(t))
}

func TestConsumer_HandlerFails_MessageComesBack(t *testing.T) {
	for name, failure := range map[string]func() error{
		"error": func() error { return errors.New("no") },
		"panic": func() error { panic("no") },
		"retry": func() error { return queue.Retry(0, errors.New("later")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			done := make(chan int, 1)
			backoff := soon
			if name == "retry" { // must not be asked
				backoff = func(int) time.Duration { return time.Hour }
			}
			r.run(t, queue.ConsumerOptions{Backoff: backoff}, func(_ context.Context, m queue.Received) error {
				if m.ReceiveCount < 3 {
					return failure()
				}
				done <- m.ReceiveCount
				return nil
			})
			r.send(t, text(jobs, "g", "x"))
			require.Equal(t, 3, await(t, done))
		})
	}
}

func TestConsumer_Retry_HidesForThatLong(t *testing.T) {
	r := newRig(t)
	handled := make(chan int, 2)
	stop := r.run(t, queue.ConsumerOptions{Backoff: soon}, func(_ context.Context, m queue.Received) error {
		handled <- m.ReceiveCount
		if m.ReceiveCount == 1 {
			return fmt.Errorf("wrapped: %w", queue.Retry(time.Hour, nil))
		}
		return nil
	})
	r.send(t, text(jobs, "g", "x"))
	require.Equal(t, 1, await(t, handled))
	require.NoError(t, stop())
	r.server.Advance(59 * time.Minute)
	require.Equal(t, queue.Depth{InFlight: 1}, r.depth(t))
	r.server.Advance(2 * time.Minute)
	require.Equal(t, queue.Depth{Visible: 1}, r.depth(t))
}

func TestConsumer_SameGroup_InOrderAndNeverSideBySide(t *testing.T) {
	r := newRig(t)
	const groups, each = 5, 12
	for i := range each {
		for g := range groups {
			r.send(t, text(jobs, fmt.Sprint(g), fmt.Sprint(i)))
		}
	}
	var running [groups]atomic.Int32
	var mu sync.Mutex
	order := make(map[string][]string)
	all := make(chan struct{})
	left := groups * each
	r.run(t, queue.ConsumerOptions{Concurrency: 16, Backoff: soon}, func(_ context.Context, m queue.Received) error {
		var g int
		_, _ = fmt.Sscan(m.Group, &g)
		if running[g].Add(1) != 1 {
			t.Errorf("two messages of group %d at once", g)
		}
		defer running[g].Add(-1)
		if m.ReceiveCount == 1 && string(m.Body) == "3" { // fails once, and must not be overtaken
			return errors.New("no")
		}
		mu.Lock()
		defer mu.Unlock()
		order[m.Group] = append(order[m.Group], string(m.Body))
		if left--; left == 0 {
			close(all)
		}
		return nil
	})
	await(t, all)
	for _, got := range order {
		for i, body := range got {
			require.Equal(t, fmt.Sprint(i), body, "%v", got)
		}
	}
}

func TestConsumer_Concurrency_IsBounded(t *testing.T) {
	r := newRig(t)
	var running, most atomic.Int32
	var handled atomic.Int32
	all := make(chan struct{})
	for i := range 30 {
		r.send(t, text(jobs, fmt.Sprint(i), "x"))
	}
	r.run(t, queue.ConsumerOptions{Concurrency: 3}, func(context.Context, queue.Received) error {
		now := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		if handled.Add(1) == 30 {
			close(all)
		}
		return nil
	})
	await(t, all)
	require.LessOrEqual(t, most.Load(), int32(3))
}

func TestConsumer_LongHandler_KeepsItsMessage(t *testing.T) {
	r := newRig(t)
	started, finish := make(chan int, 2), make(chan struct{})
	stop := r.run(t, queue.ConsumerOptions{Visibility: time.Second, Heartbeat: 50 * time.Millisecond},
		func(_ context.Context, m queue.Received) error { started <- m.ReceiveCount; <-finish; return nil })
	r.send(t, text(jobs, "g", "x"))
	require.Equal(t, 1, await(t, started))
	for range 5 { // five visibilities pass, and each time a heartbeat comes in time
		before := r.server.Calls()["ChangeMessageVisibilityBatch"]
		require.Eventually(t, func() bool { return r.server.Calls()["ChangeMessageVisibilityBatch"] >= before+2 }, 10*time.Second, 5*time.Millisecond)
		r.server.Advance(700 * time.Millisecond)
	}
	close(finish)
	require.NoError(t, stop())
	require.Empty(t, started)
	require.Equal(t, queue.Depth{}, r.depth(t))
}

func TestConsumer_LosesItsMessage_HandlerIsCancelledAsFenced(t *testing.T) {
	r := newRig(t)
	cause := make(chan error, 1)
	started := make(chan struct{}, 2)
	r.run(t, queue.ConsumerOptions{Visibility: time.Second, Heartbeat: 50 * time.Millisecond, Backoff: soon},
		func(ctx context.Context, m queue.Received) error {
			if m.ReceiveCount > 1 {
				return nil
			}
			started <- struct{}{}
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		})
	r.send(t, text(jobs, "g", "x"))
	await(t, started)
	r.server.Advance(time.Hour) // the visibility ends before the next heartbeat
	require.True(t, fault.Is(await(t, cause), fault.Fenced))
}

func TestConsumer_Drain_LetsHandlersFinish(t *testing.T) {
	r := newRig(t)
	started, finish := make(chan struct{}), make(chan struct{})
	stop := r.run(t, queue.ConsumerOptions{}, func(ctx context.Context, _ queue.Received) error {
		close(started)
		<-finish
		return ctx.Err()
	})
	r.send(t, text(jobs, "g", "x"))
	await(t, started)
	done := make(chan error, 1)
	go func() { done <- stop() }()
	close(finish)
	require.NoError(t, await(t, done))
	require.Equal(t, queue.Depth{}, r.depth(t))
}

func TestConsumer_DrainTimeout_CancelsAndGivesBackAtOnce(t *testing.T) {
	r := newRig(t)
	started := make(chan struct{})
	stop := r.run(t, queue.ConsumerOptions{Drain: time.Millisecond}, func(ctx context.Context, _ queue.Received) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	r.send(t, text(jobs, "g", "1"), text(jobs, "g", "2"))
	await(t, started)
	require.NoError(t, stop())
	require.Equal(t, queue.Depth{Visible: 2}, r.depth(t))
}

func TestConsumer_QueueInTrouble_GoesOnAfterwards(t *testing.T) {
	r := newRig(t)
	r.server.Inject(sqs.Fault{Action: "ReceiveMessage", Times: 4, Status: 500},
		sqs.Fault{Action: "DeleteMessageBatch", FailEntries: []int{0}}, sqs.Fault{Action: "DeleteMessageBatch", LoseAnswer: true})
	got := make(chan struct{}, 1)
	stop := r.run(t, queue.ConsumerOptions{}, func(context.Context, queue.Received) error { got <- struct{}{}; return nil })
	r.send(t, text(jobs, "g", "x"))
	await(t, got)
	require.NoError(t, stop())
	require.Equal(t, queue.Depth{}, r.depth(t))
}

func TestConsumer_StartedAndStoppedManyTimes_HandlesEverything(t *testing.T) {
	r := newRig(t)
	var handled sync.Map
	for round := range 20 {
		r.send(t, text(jobs, fmt.Sprint(round), fmt.Sprint(round)))
		one := make(chan struct{}, 1)
		stop := r.run(t, queue.ConsumerOptions{Backoff: soon}, func(_ context.Context, m queue.Received) error {
			handled.Store(string(m.Body), true)
			select {
			case one <- struct{}{}:
			default:
			}
			return nil
		})
		await(t, one)
		require.NoError(t, stop())
	}
	for round := range 20 {
		_, ok := handled.Load(fmt.Sprint(round))
		require.True(t, ok, round)
	}
	require.Equal(t, queue.Depth{}, r.depth(t))
}

func TestProducer_PassingTrouble_IsPassing_AndResendIsSafe(t *testing.T) {
	r := newRig(t)
	r.server.Inject(sqs.Fault{Action: "SendMessageBatch", FailEntries: []int{1}})
	messages := []queue.Message{text(jobs, "a", "1"), text(jobs, "b", "2")}
	p := queue.NewProducer(r.client)
	sent, err := p.Send(t.Context(), messages)
	require.Equal(t, []bool{true, false}, sent)
	require.True(t, fault.Passing(err), "%v", err)
	_, err = p.Send(t.Context(), messages) // as if both outcomes were unknown
	require.NoError(t, err)
	require.Equal(t, queue.Depth{Visible: 2}, r.depth(t))
}

func BenchmarkProducerConsumer(b *testing.B) {
	r := newRig(b)
	messages := make([]queue.Message, b.N)
	for i := range messages {
		messages[i] = queue.Message{Queue: jobs, Group: fmt.Sprint(i), Dedup: fmt.Sprint(i), Body: []byte(`{"job_id":"x"}`)}
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	all := make(chan struct{})
	r.run(b, queue.ConsumerOptions{Concurrency: 32}, func(context.Context, queue.Received) error {
		if left.Add(-1) == 0 {
			close(all)
		}
		return nil
	})
	r.send(b, messages...)
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
