package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	maxBatch = 10      // entries in one call, all batch calls of SQS
	maxBytes = 1 << 20 // 1 MiB: one message, and one batch together (SendMessageBatch, SQS API reference)
)

// Producer sends messages in batches.
type Producer struct{ client *Client }

// NewProducer makes a producer; it holds nothing that must be closed.
func NewProducer(c *Client) *Producer { return &Producer{c} }

// Send sends messages, those of one queue in their order and queues side by side. sent[i] tells whether SQS accepted
// messages[i]; err is nil exactly if it accepted all. A message with sent false may still have arrived (the answer was
// lost): sending it again with the same Dedup within five minutes is safe. An error that is fault.Passing is worth
// another try; a message refused as fault.Invalid will never be accepted, and does not hold the others back.
func (p *Producer) Send(ctx context.Context, messages []Message) (sent []bool, err error) {
	sent = make([]bool, len(messages))
	byQueue := make(map[string][]int)
	for i, m := range messages {
		byQueue[m.Queue] = append(byQueue[m.Queue], i)
	}
	problems := make([]error, len(messages)) // one slot each, so the goroutines need no lock
	var group errgroup.Group
	for queue, indexes := range byQueue {
		group.Go(func() error {
			p.sendQueue(ctx, queue, messages, indexes, sent, problems)
			return nil
		})
	}
	_ = group.Wait()
	return sent, worst(problems)
}

// worst gives a passing error before a lasting one: as long as one message may still go through, the caller should try again.
func worst(problems []error) error {
	var passing, lasting error
	failed := 0
	for _, err := range problems {
		if err == nil {
			continue
		}
		failed++
		if fault.Passing(err) {
			passing = cmp.Or(passing, err)
		} else {
			lasting = cmp.Or(lasting, err)
		}
	}
	if failed == 0 {
		return nil
	}
	first := cmp.Or(passing, lasting)
	if failed == 1 {
		return first
	}
	return fmt.Errorf("%d of %d messages not sent, the first of them: %w", failed, len(problems), first)
}

// sendQueue sends the messages at indexes, all of one queue, batch after batch.
func (p *Producer) sendQueue(ctx context.Context, queue string, messages []Message, indexes []int, sent []bool, problems []error) {
	url, err := p.client.url(ctx, queue)
	for len(indexes) > 0 {
		batch, bytes := 0, 0
		for batch < len(indexes) && batch < maxBatch {
			size := size(messages[indexes[batch]])
			if batch > 0 && bytes+size > maxBytes {
				break
			}
			bytes += size
			batch++
		}
		if err == nil {
			p.sendBatch(ctx, queue, url, messages, indexes[:batch], sent, problems)
		} else {
			for _, i := range indexes[:batch] {
				problems[i] = err
			}
		}
		indexes = indexes[batch:]
	}
}

func (p *Producer) sendBatch(ctx context.Context, queue string, url *string, messages []Message, batch []int, sent []bool, problems []error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var entries []types.SendMessageBatchRequestEntry
	for _, i := range batch {
		if err := check(messages[i]); err != nil {
			problems[i] = err
			continue
		}
		entries = append(entries, entry(ctx, i, messages[i]))
	}
	if len(entries) == 0 {
		return
	}
	out, err := p.client.api.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
	if err != nil {
		err = classify("send to", queue, err)
		for _, e := range entries {
			problems[index(e.Id)] = err
		}
		return
	}
	for _, e := range out.Successful {
		sent[index(e.Id)] = true
	}
	for _, e := range entries {
		if i := index(e.Id); !sent[i] {
			problems[i] = fault.New(fault.Unavailable, "send to "+queue+": SQS did not take the message", nil)
		}
	}
	for _, e := range out.Failed {
		kind := fault.Unavailable
		if e.SenderFault {
			kind = fault.Invalid
		}
		problems[index(e.Id)] = fault.New(kind, "send to "+queue+": SQS refused the message as "+aws.ToString(e.Code), errors.New(aws.ToString(e.Message)))
	}
}

// index reads the entry id that entry wrote: the message's place in Send's argument.
func index(id *string) int { n, _ := strconv.Atoi(aws.ToString(id)); return n }

func size(m Message) int {
	n := len(m.Body)
	for k, v := range m.Attributes {
		n += len(k) + len("String") + len(v)
	}
	return n
}

// check finds what would make SQS refuse a whole batch, so that one bad message cannot hold back nine good ones.
func check(m Message) error {
	if n := size(m); n > maxBytes {
		return fault.Field("body", fmt.Sprintf("%d bytes with its attributes; SQS takes at most %d", n, maxBytes))
	}
	if len(m.Body) == 0 {
		return fault.Field("body", "must not be empty")
	}
	return nil
}

func entry(ctx context.Context, i int, m Message) types.SendMessageBatchRequestEntry {
	e := types.SendMessageBatchRequestEntry{
		Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(string(m.Body)), MessageGroupId: &m.Group,
		MessageAttributes: make(map[string]types.MessageAttributeValue),
	}
	if m.Dedup != "" {
		e.MessageDeduplicationId = &m.Dedup
	}
	for k, v := range WithTrace(ctx, m.Attributes) {
		if k == xrayHeader {
			e.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{
				string(types.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String("String"), StringValue: &v},
			}
			continue
		}
		if v == "" { // SQS refuses empty values, and says the same as an absent one
			continue
		}
		e.MessageAttributes[k] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	return e
}
