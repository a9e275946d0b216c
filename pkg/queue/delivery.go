package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

var errLost = fault.New(fault.Fenced, "the message is no longer this consumer's: its visibility ended", nil)

// delivery is one message in the hands of this process.
type delivery struct {
	message Received
	receipt *string
	ctx     context.Context // ends when the message is lost or the session gives up
	cancel  context.CancelCauseFunc
	lost    *time.Timer // cancels ctx when the message may be somebody else's; the keeper puts it off
}

// lines sorts messages by group: each line is worked on in order, lines side by side. Messages without a group stand
// alone. The keeper holds every message from now on, also those that wait in their line.
func (r *session) lines(messages []types.Message, answered time.Time) [][]*delivery {
	var lines [][]*delivery
	place := make(map[string]int)
	for _, m := range messages {
		d := &delivery{message: received(r.queue, m), receipt: m.ReceiptHandle}
		d.ctx, d.cancel = context.WithCancelCause(r.work)
		r.keeper.hold(d, answered)
		at, ok := place[d.message.Group]
		if d.message.Group == "" || !ok {
			at = len(lines)
			place[d.message.Group] = at
			lines = append(lines, nil)
		}
		lines[at] = append(lines[at], d)
	}
	return lines
}

// start works on a line in the background. When one message does not get done, those behind it are given back: they
// must not overtake it. They are visible at once, but their group stays locked until the failed one comes back.
func (r *session) start(line []*delivery) {
	r.handlers.Go(func() {
		defer r.slots.give(1)
		for i, d := range line {
			if r.stopped() || !r.handle(d) {
				for _, rest := range line[i:] {
					r.giveBack(rest, 0)
				}
				return
			}
		}
	})
}

func (r *session) stopped() bool {
	select {
	case <-r.stopping:
		return true
	default:
		return false
	}
}

// handle runs the handler and settles the message. ok is false when the message was not done.
func (r *session) handle(d *delivery) (ok bool) {
	if d.ctx.Err() != nil { // lost while it waited in its line
		return false
	}
	ctx, finish := r.instruments.observe(traceOf(d.ctx, d.message.Attributes), d.message)
	err := r.call(ctx, d.message)
	outcome := r.outcome(d, err)
	switch outcome {
	case outcomeDone:
		r.keeper.drop(d)
		d.cancel(nil)
		r.deleter.add(d)
	case outcomeLost:
		r.keeper.drop(d)
	case outcomeInterrupted:
		r.giveBack(d, 0)
	default:
		r.giveBack(d, comesBackAfter(err, d.message.ReceiveCount, r.opts.Backoff))
	}
	finish(outcome, err)
	if outcome != outcomeDone {
		r.log.WarnContext(ctx, "message not done", "outcome", outcome, "error", err, "message_id", d.message.ID,
			"group", d.message.Group, "deliveries", d.message.ReceiveCount)
	}
	return outcome == outcomeDone
}

// panicked is a handler's panic as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("handler panicked: %v\n%s", p.value, p.stack) }

func (r *session) call(ctx context.Context, m Received) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return r.handler(ctx, m)
}

// outcome says what became of a message. A handler that finished is believed, even if its message was lost meanwhile:
// the delete then fails and says so.
func (r *session) outcome(d *delivery, err error) string {
	if err == nil {
		return outcomeDone
	}
	switch cause := context.Cause(d.ctx); {
	case errors.Is(cause, errLost):
		return outcomeLost
	case errors.Is(cause, errDrained):
		return outcomeInterrupted
	}
	if _, ok := errors.AsType[*panicked](err); ok {
		return outcomePanicked
	}
	if _, ok := errors.AsType[*retryError](err); ok {
		return outcomeRetry
	}
	return outcomeFailed
}

// giveBack makes a message visible after a time. It does nothing for one already settled.
func (r *session) giveBack(d *delivery, after time.Duration) {
	if !r.keeper.drop(d) {
		return
	}
	d.cancel(nil)
	r.keeper.waitForBeat() // a heartbeat on its way would hide the message anew
	ctx, cancel := context.WithTimeout(r.bookkeeping, callTimeout)
	defer cancel()
	url, err := r.client.url(ctx, r.queue)
	if err == nil {
		_, err = r.client.api.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: url, ReceiptHandle: d.receipt, VisibilityTimeout: int32(wholeSeconds(after)),
		})
	}
	if err != nil {
		r.log.WarnContext(ctx, "message not given back; it comes back when its visibility ends",
			"error", classify("change visibility in", r.queue, err), "message_id", aws.ToString(&d.message.ID))
	}
}
