package queue

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/nthlayer/nthlayer/pkg/awsapi"
)

// Config says where the queues are. Region and credentials come from the SDK's own chain (AWS_REGION, task role, …).
type Config struct {
	Endpoint           string `env:"NTHLAYER_SQS_ENDPOINT"`                                        // empty: AWS
	ReconcileQueue     string `env:"NTHLAYER_RECONCILE_QUEUE" envDefault:"reconcile.fifo"`         // jobs, grouped by team
	NotificationsQueue string `env:"NTHLAYER_NOTIFICATIONS_QUEUE" envDefault:"notifications.fifo"` // messages, grouped by channel
	AuditQueue         string `env:"NTHLAYER_AUDIT_QUEUE" envDefault:"audit.fifo"`                 // parts of audits, each its own group
}

const (
	// callTimeout bounds a call that does not wait for messages, with the SDK's retries.
	callTimeout = 15 * time.Second
	// idleConnections: a consumer's long poll, its heartbeats and deletes, and a relay's sends go side by side.
	idleConnections = 32
)

// Client knows the queue service. Producer, Consumer and Relay share one.
type Client struct {
	api       *sqs.Client
	transport *http.Transport

	mu   sync.Mutex
	urls map[string]string
}

// Open makes a client; it does not call the service yet. Close it when everything that uses it has stopped.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	loaded, transport, err := awsapi.Load(ctx, awsapi.Endpoint{URL: cfg.Endpoint, Variable: "NTHLAYER_SQS_ENDPOINT"})
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConnsPerHost = idleConnections
	return &Client{api: sqs.NewFromConfig(loaded), transport: transport, urls: make(map[string]string)}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// url resolves a queue's name, once.
func (c *Client) url(ctx context.Context, queue string) (*string, error) {
	c.mu.Lock()
	known, ok := c.urls[queue]
	c.mu.Unlock()
	if ok {
		return &known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := c.api.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
	if err != nil {
		return nil, classify("look up queue", queue, err)
	}
	c.mu.Lock()
	c.urls[queue] = *out.QueueUrl
	c.mu.Unlock()
	return out.QueueUrl, nil
}
