package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

// outbox is a table in memory; empty signals each time it becomes empty.
type outbox struct {
	mu       sync.Mutex
	rows     []queue.Message
	stranded []queue.Message
	failures int
	empty    chan struct{}
}

func (o *outbox) add(m ...queue.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows = append(o.rows, m...)
}

func (o *outbox) Drain(ctx context.Context, limit int, send func(context.Context, []queue.Message) ([]bool, error)) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failures > 0 {
		o.failures--
		return 0, errors.New("database away")
	}
	batch := o.rows[:min(limit, len(o.rows))]
	if len(batch) == 0 {
		return 0, nil
	}
	sent, err := send(ctx, batch)
	var left []queue.Message
	for i, m := range batch {
		if !sent[i] {
			left = append(left, m)
		}
	}
	moved := len(batch) - len(left)
	o.rows = slices.Concat(left, o.rows[len(batch):])
	if len(o.rows) == 0 {
		o.empty <- struct{}{}
	}
	return moved, err
}

func (o *outbox) Announce(context.Context) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.stranded)
	o.rows, o.stranded = append(o.rows, o.stranded...), nil
	return n, nil
}

func startRelay(t *testing.T, r rig, o *outbox, opts queue.RelayOptions) (relay *queue.Relay, stop func()) {
	relay = queue.NewRelay(o, queue.NewProducer(r.client), quiet, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-done) })
	t.Cleanup(stop)
	return relay, stop
}

func newOutbox() *outbox { return &outbox{empty: make(chan struct{}, 1000)} }

func TestRelay_Poke_MovesAtOnce_MoreThanOneLimit(t *testing.T) {
	r, o := newRig(t), newOutbox()
	relay, _ := startRelay(t, r, o, queue.RelayOptions{Limit: 7, Sweep: time.Hour})
	for i := range 40 {
		o.add(text(jobs, fmt.Sprint(i), "x"))
	}
	relay.Poke()
	await(t, o.empty)
	require.Equal(t, 40, r.depth(t).Visible)
}

func TestRelay_Sweep_FindsWhatNobodyPokedFor(t *testing.T) {
	r, o := newRig(t), newOutbox()
	startRelay(t, r, o, queue.RelayOptions{Sweep: time.Millisecond})
	o.add(text(jobs, "g", "x"))
	await(t, o.empty)
	require.Equal(t, 1, r.depth(t).Visible)
}

func TestRelay_Trouble_IsTriedAgain_AndNothingIsSentTwice(t *testing.T) {
	r, o := newRig(t), newOutbox()
	o.failures = 2
	o.add(text(jobs, "a", "1"), text(jobs, "b", "2"))
	r.server.Inject(sqs.Fault{Action: "SendMessageBatch", LoseAnswer: true}, sqs.Fault{Action: "SendMessageBatch", FailEntries: []int{0}})
	startRelay(t, r, o, queue.RelayOptions{Sweep: time.Millisecond})
	await(t, o.empty)
	require.Equal(t, 2, r.depth(t).Visible)
}

func TestRelay_QueueLostItsMemory_AnnounceSendsAgain(t *testing.T) {
	r, o := newRig(t), newOutbox()
	lost := text(jobs, "g", "x")
	r.send(t, lost)
	r.server.Forget()
	o.stranded = []queue.Message{lost}
	startRelay(t, r, o, queue.RelayOptions{Sweep: time.Hour, Announce: time.Millisecond})
	await(t, o.empty)
	require.Equal(t, 1, r.depth(t).Visible)
}

func TestRelay_StartedAndStoppedManyTimes(t *testing.T) {
	r, o := newRig(t), newOutbox()
	for i := range 20 {
		relay, stop := startRelay(t, r, o, queue.RelayOptions{})
		o.add(text(jobs, fmt.Sprint(i), "x"))
		relay.Poke()
		await(t, o.empty)
		stop()
	}
	require.Equal(t, 20, r.depth(t).Visible)
}
