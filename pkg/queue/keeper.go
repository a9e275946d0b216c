package queue

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// keeper hides the messages in hand anew at every heartbeat, ten in a call, so that no other consumer gets them while
// they are worked on. It cancels the handler of a message that it could not keep, at the latest when the message comes
// back by itself.
type keeper struct {
	*Consumer
	quit chan struct{}
	once sync.Once

	beating sync.Mutex // held during a heartbeat's calls
	mu      sync.Mutex
	held    map[*delivery]struct{}
}

func newKeeper(c *Consumer) *keeper {
	return &keeper{Consumer: c, quit: make(chan struct{}), held: make(map[*delivery]struct{})}
}

// hold keeps a message that came with an answer.
func (k *keeper) hold(d *delivery, answered time.Time) {
	d.lost = time.AfterFunc(k.left(answered), func() { d.cancel(errLost) })
	k.mu.Lock()
	k.held[d] = struct{}{}
	k.mu.Unlock()
}

// left is how long a message stays hidden that was hidden at a time.
func (k *keeper) left(hidden time.Time) time.Duration {
	return time.Until(hidden.Add(k.opts.Visibility))
}

// drop lets a message go; ok is false if it was gone already.
func (k *keeper) drop(d *delivery) (ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok = k.held[d]
	delete(k.held, d)
	d.lost.Stop()
	return ok
}

// waitForBeat returns when no heartbeat is under way that may still know a dropped message.
func (k *keeper) waitForBeat() {
	k.beating.Lock()
	defer k.beating.Unlock()
}

func (k *keeper) finish() { k.once.Do(func() { close(k.quit) }) }

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(k.opts.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.beat(ctx)
		case <-k.quit:
			return
		}
	}
}

func (k *keeper) beat(ctx context.Context) {
	k.beating.Lock()
	defer k.beating.Unlock()
	k.mu.Lock()
	held := slices.Collect(maps.Keys(k.held))
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, k.opts.Heartbeat)
	defer cancel()
	for batch := range slices.Chunk(held, maxBatch) {
		k.extend(ctx, batch)
	}
}

func (k *keeper) extend(ctx context.Context, batch []*delivery) {
	url, err := k.client.url(ctx, k.queue)
	if err != nil {
		k.log.WarnContext(ctx, "heartbeat failed", "error", err)
		return
	}
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(batch))
	for i, d := range batch {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: d.receipt, VisibilityTimeout: int32(wholeSeconds(k.opts.Visibility)),
		}
	}
	began := time.Now()
	out, err := k.client.api.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url, Entries: entries})
	if err != nil {
		k.log.WarnContext(ctx, "heartbeat failed", "error", classify("change visibility in", k.queue, err))
		return
	}
	for _, e := range out.Successful {
		batch[index(e.Id)].lost.Reset(k.left(began))
	}
	for _, e := range out.Failed {
		if gone(aws.ToString(e.Code)) {
			batch[index(e.Id)].cancel(errLost)
		}
	}
}
