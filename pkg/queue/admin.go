package queue

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Layout is how Ensure creates queues; the terraform modules give those on AWS the same values.
type Layout struct {
	Visibility  time.Duration // default 30 s; consumers set their own at each receive
	MaxReceives int           // deliveries before a message goes to the dead-letter queue; default 5
}

// DeadLetter is the name of a queue's dead-letter queue: reconcile.fifo → reconcile-dlq.fifo.
func DeadLetter(queue string) string { return strings.TrimSuffix(queue, ".fifo") + "-dlq.fifo" }

// Ensure creates FIFO queues with their dead-letter queues and redrive policies, and leaves those that exist alone. For
// development and tests: on AWS terraform owns the queues, and services have no right to create any.
func (c *Client) Ensure(ctx context.Context, layout Layout, queues ...string) error {
	if layout.Visibility == 0 {
		layout.Visibility = defaultVisibility
	}
	if layout.MaxReceives == 0 {
		layout.MaxReceives = 5
	}
	for _, name := range queues {
		dead, err := c.create(ctx, DeadLetter(name), map[string]string{"FifoQueue": "true"})
		if err != nil {
			return err
		}
		arn, err := c.attributes(ctx, DeadLetter(name), dead, types.QueueAttributeNameQueueArn)
		if err != nil {
			return err
		}
		policy, err := json.Marshal(map[string]string{
			"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": strconv.Itoa(layout.MaxReceives),
		})
		if err != nil {
			return err
		}
		if _, err := c.create(ctx, name, map[string]string{
			"FifoQueue":           "true",
			"DeduplicationScope":  "messageGroup",
			"FifoThroughputLimit": "perMessageGroupId",
			"VisibilityTimeout":   strconv.Itoa(wholeSeconds(layout.Visibility)),
			"RedrivePolicy":       string(policy),
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) create(ctx context.Context, name string, attributes map[string]string) (url *string, err error) {
	url, err = c.url(ctx, name)
	if !fault.Is(err, fault.NotFound) {
		return url, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := c.api.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		return nil, classify("create queue", name, err)
	}
	return out.QueueUrl, nil
}

func (c *Client) attributes(ctx context.Context, name string, url *string, wanted ...types.QueueAttributeName) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := c.api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: wanted})
	if err != nil {
		return nil, classify("read attributes of", name, err)
	}
	return out.Attributes, nil
}

// Depth is how many messages a queue holds. SQS calls the numbers approximate.
type Depth struct {
	Visible, InFlight, Delayed int
}

// Depth counts a queue's messages. A service may use it to see that its queue is there.
func (c *Client) Depth(ctx context.Context, queue string) (Depth, error) {
	url, err := c.url(ctx, queue)
	if err != nil {
		return Depth{}, err
	}
	visible, hidden, delayed := types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible, types.QueueAttributeNameApproximateNumberOfMessagesDelayed
	got, err := c.attributes(ctx, queue, url, visible, hidden, delayed)
	if err != nil {
		return Depth{}, err
	}
	number := func(name types.QueueAttributeName) int { n, _ := strconv.Atoi(got[string(name)]); return n }
	return Depth{number(visible), number(hidden), number(delayed)}, nil
}

// Redrive starts to move all dead letters of a queue back into it and returns without waiting for the move to end.
func (c *Client) Redrive(ctx context.Context, queue string) error {
	url, err := c.url(ctx, DeadLetter(queue))
	if err != nil {
		return err
	}
	arn, err := c.attributes(ctx, DeadLetter(queue), url, types.QueueAttributeNameQueueArn)
	if err != nil {
		return err
	}
	source := arn["QueueArn"]
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = c.api.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{SourceArn: &source})
	return classify("redrive dead letters of", queue, err)
}
