package queue

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/cenkalti/backoff/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Handler works on one message. nil deletes it. An error makes it visible again after a backoff that grows with the
// number of deliveries, or after exactly the time given by Retry. The context ends when the message is no longer this
// consumer's (cause: fault.Fenced) or when the drain timeout is over (cause: fault.Canceled); a handler that goes on
// after that works beside another one.
type Handler func(ctx context.Context, m Received) error

// ConsumerOptions tune a Consumer; the zero value is right for most.
type ConsumerOptions struct {
	Concurrency int           // handlers at the same time; default 8
	Visibility  time.Duration // how long a message stays hidden if this process dies; whole seconds, default 30 s
	Heartbeat   time.Duration // how often running messages are hidden anew; default a third of Visibility
	Wait        time.Duration // length of a long poll; whole seconds, default and maximum 20 s
	Drain       time.Duration // how long handlers may finish after the end of Run's context; default 20 s of the 30 s ECS gives
	FlushAfter  time.Duration // how long a finished message waits for others to be deleted with; default 3 ms
	Backoff     func(receives int) time.Duration
	// Hold is asked before each receive: messages that could only be received to fail stay where they are for so long.
	Hold func(ctx context.Context) time.Duration
}

const (
	defaultVisibility = 30 * time.Second
	// maxWait: 20 s, ReceiveMessage in the SQS API reference.
	maxWait = 20 * time.Second
	// grace is what handlers get to return after their context was cancelled.
	grace = 5 * time.Second
)

func (o ConsumerOptions) withDefaults() ConsumerOptions {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	set(&o.Visibility, defaultVisibility)
	set(&o.Heartbeat, o.Visibility/3)
	set(&o.Wait, maxWait)
	o.Wait = min(o.Wait, maxWait)
	set(&o.Drain, 20*time.Second)
	set(&o.FlushAfter, 3*time.Millisecond)
	if o.Backoff == nil {
		o.Backoff = defaultBackoff
	}
	if o.Hold == nil {
		o.Hold = func(context.Context) time.Duration { return 0 }
	}
	return o
}

// Consumer hands the messages of one queue to a Handler.
type Consumer struct {
	client  *Client
	queue   string
	handler Handler
	log     *slog.Logger
	opts    ConsumerOptions
}

// NewConsumer makes a consumer; Run starts it.
func NewConsumer(c *Client, queue string, h Handler, log *slog.Logger, opts ConsumerOptions) *Consumer {
	return &Consumer{client: c, queue: queue, handler: h, log: log.With("queue", queue), opts: opts.withDefaults()}
}

// Run receives and handles messages until ctx ends, then drains: it stops receiving, lets handlers finish for
// Options.Drain, cancels the rest and makes their messages visible at once. It gives nil after a drain in which every
// handler returned. Trouble with the queue never ends it: it is logged, and receiving goes on after a backoff. (A
// receive that ctx cuts off while its answer is on the way leaves those messages hidden until their visibility ends.)
// Run may be called again after it returned, and several times side by side.
func (c *Consumer) Run(ctx context.Context) error {
	r := newSession(ctx, c)
	r.background.Go(func() { r.keeper.run(r.bookkeeping) })
	r.background.Go(func() { r.deleter.run(r.bookkeeping) })
	c.receiveUntil(ctx, r)
	err := r.drain()
	r.deleter.finish()
	r.keeper.finish()
	r.background.Wait()
	return err
}

// receiveUntil fills free handlers with messages until ctx ends.
func (c *Consumer) receiveUntil(ctx context.Context, r *session) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 10*time.Second
	for {
		if !c.hold(ctx) {
			return
		}
		free, ok := r.slots.take(ctx, maxBatch)
		if !ok {
			return
		}
		messages, err := c.receive(ctx, free)
		answered := time.Now() // a long poll hides what it brings when it ends, not when it began
		if err != nil {
			r.slots.give(free)
			if ctx.Err() != nil {
				return
			}
			wait := pause.NextBackOff()
			c.log.WarnContext(ctx, "receive failed; trying again", "error", err, "wait", wait)
			if !sleep(ctx, wait) {
				return
			}
			continue
		}
		pause.Reset()
		lines := r.lines(messages, answered)
		r.slots.give(free - len(lines)) // a line needs one slot, however long it is
		for _, line := range lines {
			r.start(line)
		}
	}
}

// longestHold is how long a hold is believed: what it waits for may come back sooner than was thought.
const longestHold = 5 * time.Second

// hold waits until there is no reason left to leave messages where they are; it is false when ctx ends first.
func (c *Consumer) hold(ctx context.Context) bool {
	held := false
	for ctx.Err() == nil {
		wait := c.opts.Hold(ctx)
		if wait <= 0 {
			if held {
				c.log.InfoContext(ctx, "receiving again")
			}
			return true
		}
		if !held {
			held = true
			c.log.WarnContext(ctx, "not receiving for now", "for", wait.String())
		}
		sleep(ctx, min(wait, longestHold))
	}
	return false
}

// receive asks for as many messages as there are free handlers.
func (c *Consumer) receive(ctx context.Context, limit int) ([]types.Message, error) {
	url, err := c.client.url(ctx, c.queue)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Wait+callTimeout)
	defer cancel()
	out, err := c.client.api.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: int32(limit),
		WaitTimeSeconds: int32(wholeSeconds(c.opts.Wait)), VisibilityTimeout: int32(wholeSeconds(c.opts.Visibility)),
		MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameSentTimestamp,
			types.MessageSystemAttributeNameMessageGroupId, types.MessageSystemAttributeNameMessageDeduplicationId,
			types.MessageSystemAttributeNameAWSTraceHeader,
		},
	})
	if err != nil {
		return nil, classify("receive from", c.queue, err)
	}
	return out.Messages, nil
}

// received reads a message of the SDK. Numbers that are missing count as a first delivery of this moment.
func received(queue string, m types.Message) Received {
	out := Received{
		ID: aws.ToString(m.MessageId), Queue: queue, Body: []byte(aws.ToString(m.Body)),
		Group:        m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)],
		Dedup:        m.Attributes[string(types.MessageSystemAttributeNameMessageDeduplicationId)],
		Attributes:   make(map[string]string, len(m.MessageAttributes)),
		ReceiveCount: 1, SentAt: time.Now(),
	}
	for k, v := range m.MessageAttributes {
		if v.StringValue != nil {
			out.Attributes[k] = *v.StringValue
		}
	}
	if header := m.Attributes[string(types.MessageSystemAttributeNameAWSTraceHeader)]; header != "" {
		out.Attributes[xrayHeader] = header
	}
	if n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]); err == nil {
		out.ReceiveCount = n
	}
	if ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		out.SentAt = time.UnixMilli(ms)
	}
	return out
}

// slots bound the handlers that run at the same time.
type slots chan struct{}

// take waits for one free slot and takes up to limit of those free then. ok is false when ctx ends first.
func (s slots) take(ctx context.Context, limit int) (n int, ok bool) {
	if ctx.Err() != nil { // select would choose at random
		return 0, false
	}
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return 0, false
	}
	for n = 1; n < limit; n++ {
		select {
		case s <- struct{}{}:
		default:
			return n, true
		}
	}
	return n, true
}

func (s slots) give(n int) {
	for range n {
		<-s
	}
}

// sleep waits for d; it is false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errDrained = fault.New(fault.Canceled, "the consumer stops and the drain timeout is over", nil)

// session is one Run: what must not outlive it.
type session struct {
	*Consumer
	stopping    <-chan struct{} // closed when no new message may be begun
	work        context.Context // of the handlers; outlives Run's context by the drain timeout
	stopsAt     *atomic.Pointer[time.Time]
	abandon     context.CancelCauseFunc
	bookkeeping context.Context // of deletes and visibility changes; never cancelled, each call has its own deadline
	slots       slots
	handlers    sync.WaitGroup
	background  sync.WaitGroup
	keeper      *keeper
	deleter     *deleter
	instruments instruments
}

func newSession(ctx context.Context, c *Consumer) *session {
	r := &session{
		Consumer: c, stopping: ctx.Done(), bookkeeping: context.WithoutCancel(ctx),
		slots: make(slots, c.opts.Concurrency), keeper: newKeeper(c), deleter: newDeleter(c), instruments: newInstruments(),
	}
	r.stopsAt = new(atomic.Pointer[time.Time])
	r.work, r.abandon = context.WithCancelCause(context.WithValue(r.bookkeeping, stopsAtKey{}, r.stopsAt))
	return r
}

type stopsAtKey struct{}

// StopsAt tells a handler when its context will be cancelled, once that is known: the consumer is draining.
func StopsAt(ctx context.Context) (at time.Time, stopping bool) {
	stopsAt, ok := ctx.Value(stopsAtKey{}).(*atomic.Pointer[time.Time])
	if !ok || stopsAt.Load() == nil {
		return time.Time{}, false
	}
	return *stopsAt.Load(), true
}

// drain waits for the handlers, first patiently, then after cancelling them.
func (r *session) drain() error {
	defer r.abandon(errDrained)
	at := time.Now().Add(r.opts.Drain)
	r.stopsAt.Store(&at)
	done := make(chan struct{})
	go func() {
		r.handlers.Wait()
		close(done)
	}()
	if within(r.opts.Drain, done) {
		return nil
	}
	r.log.Warn("drain timeout over; cancelling handlers")
	r.abandon(errDrained)
	if within(grace, done) {
		return nil
	}
	return fault.New(fault.Deadline, "handlers of "+r.queue+" did not stop; their messages come back when their visibility ends",
		errors.New("handlers ignore their context"))
}

func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
