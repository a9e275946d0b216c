package queue

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/nthlayer/nthlayer/pkg/fault"
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
	// fallbackRegion is what a local endpoint gets when the environment names no region; it only has to be some region.
	fallbackRegion = "us-east-1"
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
	var load []func(*awsconfig.LoadOptions) error
	if cfg.Endpoint != "" {
		load = append(load, awsconfig.WithDefaultRegion(fallbackRegion))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the AWS configuration in the environment cannot be read", err)
	}
	if cfg.Endpoint == "" && loaded.Region == "" {
		return nil, fault.New(fault.Invalid, "no AWS region: set AWS_REGION, or NTHLAYER_SQS_ENDPOINT for a local queue service", nil)
	}
	if cfg.Endpoint != "" && !environmentHasCredentials() {
		// A local endpoint takes any credentials; the chain's last resort, the metadata service, would only time out.
		loaded.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
	}
	transport := transportOf(loaded)
	api := sqs.NewFromConfig(loaded, func(o *sqs.Options) {
		o.HTTPClient = &http.Client{Transport: transport}
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	})
	return &Client{api: api, transport: transport, urls: make(map[string]string)}, nil
}

// transportOf copies the SDK's transport, which knows AWS_CA_BUNDLE and the proxy; a transport of our own can be closed.
func transportOf(loaded aws.Config) *http.Transport {
	transport := &http.Transport{}
	if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		transport = client.GetTransport()
	}
	transport.MaxIdleConnsPerHost = idleConnections
	return transport
}

// environmentHasCredentials tells whether somebody set credentials on purpose: keys, a task role, a web identity or a
// profile. Only the environment is asked, not files or the instance's metadata service.
func environmentHasCredentials() bool {
	env, err := awsconfig.NewEnvConfig()
	return err == nil && (env.Credentials.HasKeys() || env.ContainerCredentialsEndpoint != "" ||
		env.ContainerCredentialsRelativePath != "" || env.WebIdentityTokenFilePath != "" || env.SharedConfigProfile != "")
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
