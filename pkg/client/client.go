// Package client speaks to NthLayer over gRPC. It is the client of the nthlayer CLI, and other Go programs may import it.
//
//	c, err := client.New("nthlayer.example.org:443", client.WithToken(client.FileToken("/run/token")))
//	if err != nil { … }
//	defer c.Close()
//	jobID, err := c.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: "payments"})
//	for event, err := range c.Watch(ctx, jobID, 0) { … }
//
// What it takes care of:
//
//   - Passing errors (fault.Passing) are tried again with growing waits, or when the server says. A request that starts
//     work carries one idempotency key through all its tries, so it starts work once. WithPatience bounds the waits.
//   - A broken watch goes on where it broke.
//   - Every call has a deadline: the context's, or 90 s.
//   - Errors are faults (package fault), with the kind, reason and fields that the server gave.
//
// Tokens are sent over TLS only; without it, to this machine only.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const maxAnswerBytes = 16 << 20 // a page of 1,000 findings has a few MB

// Client is a connection to an NthLayer. The generated clients of the services are there for what has no method here;
// they pass the same retries, deadlines and errors.
type Client struct {
	Teams       nthlayerv1.TeamServiceClient
	Runs        nthlayerv1.RunServiceClient
	Trail       nthlayerv1.TrailServiceClient
	Deliveries  nthlayerv1.DeliveryServiceClient
	DeadLetters nthlayerv1.DeadLetterServiceClient
	Upstreams   nthlayerv1.UpstreamServiceClient
	Audits      nthlayerv1.AuditServiceClient
	Schedules   nthlayerv1.ScheduleServiceClient
	Access      nthlayerv1.AccessServiceClient
	Ignores     nthlayerv1.IgnoreServiceClient

	conn  *grpc.ClientConn
	retry retry
}

// Option changes how a Client connects.
type Option func(*options) error

type options struct {
	tls       *tls.Config
	plaintext bool
	tokens    TokenSource
	dial      []grpc.DialOption
	retry     retry
}

// WithToken says where the tokens come from.
func WithToken(source TokenSource) Option {
	return func(o *options) error { o.tokens = source; return nil }
}

// WithCA trusts the certificates in a PEM file instead of the system's.
func WithCA(file string) Option {
	return func(o *options) error {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fault.New(fault.Invalid, "the CA file cannot be read", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fault.New(fault.Invalid, file+" holds no certificate (PEM)", nil)
		}
		o.tls.RootCAs = roots
		return nil
	}
}

// WithPlaintext connects without TLS. It is refused for other machines than this one.
func WithPlaintext() Option {
	return func(o *options) error { o.plaintext = true; return nil }
}

// WithPatience bounds what is waited between all the tries of a call; of a watch, between two events. A server that asks
// for more is not waited for: the error comes back at once and says when to come again (fault.Error's RetryAfter). It is
// for callers with a person in front of them; without it the deadline alone bounds the wait.
func WithPatience(most time.Duration) Option {
	return func(o *options) error { o.retry.patience = most; return nil }
}

// WithDialOptions adds options of gRPC's own, for example a stats handler for traces.
func WithDialOptions(more ...grpc.DialOption) Option {
	return func(o *options) error { o.dial = append(o.dial, more...); return nil }
}

// New makes a client for the gRPC address host:port. It connects when it is first used.
func New(addr string, opts ...Option) (*Client, error) {
	o := &options{tls: &tls.Config{MinVersion: tls.VersionTLS12}, retry: newRetry()}
	for _, option := range opts {
		if err := option(o); err != nil {
			return nil, err
		}
	}
	transport := credentials.NewTLS(o.tls)
	if o.plaintext {
		if !loopback(addr) {
			return nil, fault.New(fault.Invalid, "plaintext is for this machine only, and "+addr+" is not: use TLS", nil)
		}
		transport = insecure.NewCredentials()
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithChainUnaryInterceptor(withDeadline, withIdempotencyKey, o.retry.unary, grpcfault.UnaryClient),
		grpc.WithChainStreamInterceptor(grpcfault.StreamClient),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
	if o.tokens != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer{o.tokens, o.plaintext}))
	}
	conn, err := grpc.NewClient(addr, append(dial, o.dial...)...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the address "+addr+" is not usable: it must be host:port", err)
	}
	return &Client{
		Teams:       nthlayerv1.NewTeamServiceClient(conn),
		Runs:        nthlayerv1.NewRunServiceClient(conn),
		Trail:       nthlayerv1.NewTrailServiceClient(conn),
		Deliveries:  nthlayerv1.NewDeliveryServiceClient(conn),
		DeadLetters: nthlayerv1.NewDeadLetterServiceClient(conn),
		Upstreams:   nthlayerv1.NewUpstreamServiceClient(conn),
		Audits:      nthlayerv1.NewAuditServiceClient(conn),
		Access:      nthlayerv1.NewAccessServiceClient(conn),
		Schedules:   nthlayerv1.NewScheduleServiceClient(conn),
		Ignores:     nthlayerv1.NewIgnoreServiceClient(conn),
		conn:        conn,
		retry:       o.retry,
	}, nil
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// bearer sends a token with every call.
type bearer struct {
	tokens    TokenSource
	plaintext bool
}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.tokens.Token(ctx)
	if err != nil {
		return nil, grpcfault.ToStatus(err).Err() // gRPC passes on nothing but statuses
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return !b.plaintext }
