package queue

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// deleteTries: a delete that fails for a passing reason is worth more than one call, a whole handling hangs on it.
const deleteTries = 3

// deleter deletes finished messages, up to ten in a call. A delete costs as much as ten, so each waits a moment for company.
type deleter struct {
	*Consumer
	in   chan *delivery
	quit chan struct{}
	once sync.Once
}

func newDeleter(c *Consumer) *deleter {
	return &deleter{Consumer: c, in: make(chan *delivery, c.opts.Concurrency), quit: make(chan struct{})}
}

// add takes a finished message. After finish it does nothing: the message comes back and is handled again.
func (d *deleter) add(done *delivery) {
	select {
	case d.in <- done:
	case <-d.quit:
	}
}

// finish makes run delete what was added and return. Call it when the handlers are done.
func (d *deleter) finish() { d.once.Do(func() { close(d.quit) }) }

func (d *deleter) run(ctx context.Context) {
	for {
		select {
		case first := <-d.in:
			d.delete(ctx, d.collect(first))
		case <-d.quit:
			for len(d.in) > 0 {
				d.delete(ctx, d.collect(<-d.in))
			}
			return
		}
	}
}

// collect waits for up to nine more messages, but not for long.
func (d *deleter) collect(first *delivery) []*delivery {
	batch := []*delivery{first}
	timer := time.NewTimer(d.opts.FlushAfter)
	defer timer.Stop()
	for len(batch) < maxBatch {
		select {
		case next := <-d.in:
			batch = append(batch, next)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

func (d *deleter) delete(ctx context.Context, batch []*delivery) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var problem any
	for range deleteTries {
		batch, problem = d.try(ctx, batch)
		if len(batch) == 0 {
			return
		}
	}
	d.log.WarnContext(ctx, "messages not deleted; they will be handled again", "count", len(batch), "error", problem)
}

// try gives back what is worth another try.
func (d *deleter) try(ctx context.Context, batch []*delivery) (left []*delivery, problem any) {
	url, err := d.client.url(ctx, d.queue)
	if err != nil {
		return batch, err
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(batch))
	for i, m := range batch {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.receipt}
	}
	out, err := d.client.api.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: entries})
	if err != nil {
		return batch, classify("delete from", d.queue, err)
	}
	for _, e := range out.Failed {
		m := batch[index(e.Id)]
		if e.SenderFault {
			d.log.WarnContext(ctx, "message outlived its visibility; it will be handled again", "message_id", m.message.ID,
				"code", aws.ToString(e.Code))
			continue
		}
		left, problem = append(left, m), aws.ToString(e.Code)
	}
	return left, problem
}
