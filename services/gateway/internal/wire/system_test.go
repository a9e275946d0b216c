package wire_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/auth/issuer"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/gateway/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// system is a gateway as it runs in production, with real PostgreSQL, an SQS endpoint, an issuer, and planner and
// notifier behind mutual TLS.
type system struct {
	t        *testing.T
	rest     string
	grpc     string
	http     *http.Client
	database string // its URL
	db       *store.Store
	queue    *sqs.Server
	issuer   *issuer.Issuer
	logs     *logs
}

// logs is what the gateway logged. The test waits in it for lines.
type logs struct {
	mu      sync.Mutex
	all     bytes.Buffer
	changed chan struct{}
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.all.Write(p)
}

func (l *logs) text() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String(), l.changed
}

// await gives the first line with this message.
func (l *logs) await(ctx context.Context, message string) map[string]any {
	for {
		text, changed := l.text()
		for line := range strings.Lines(text) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == message {
				return fields
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

type planner struct {
	internalv1.UnimplementedPlannerServiceServer
}

func (planner) Plan(ctx context.Context, r *nthlayerv1.PlanTeamRequest) (*nthlayerv1.Plan, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	return &nthlayerv1.Plan{
		TeamId: r.GetTeamId(), TeamName: who + " as " + strings.Join(rpc.RolesOfBehalf(ctx), ", "),
		SyncStatus: "in_sync", Hash: r.GetSource() + " for " + rpc.RequestID(ctx),
	}, nil
}

// peers answer for the other services; nil: an impostor for the scheduler, nobody for the notifier.
type peers struct{ scheduler, notifier func(grpc.ServiceRegistrar) }

// start runs a gateway with the usual environment and more.
func start(t *testing.T, more ...string) *system { return startAmong(t, peers{}, more...) }

// startAmong runs a gateway among these peers.
func startAmong(t *testing.T, among peers, more ...string) *system {
	s := &system{t: t, logs: &logs{changed: make(chan struct{})}, http: &http.Client{Transport: &http.Transport{}}, queue: sqs.New(sqs.Options{})}
	quiet := slog.New(slog.DiscardHandler)
	url := testkit.Postgres(t)
	s.database = url
	var err error
	s.db, err = store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(s.db.Close)

	endpoint := httptest.NewServer(s.queue)
	t.Cleanup(func() { s.queue.Close(); endpoint.Close() })
	queues, err := queue.Open(t.Context(), queue.Config{Endpoint: endpoint.URL})
	require.NoError(t, err)
	require.NoError(t, queues.Ensure(t.Context(), queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo"))
	queues.Close()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var tokens http.Handler
	issuing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tokens.ServeHTTP(w, r) }))
	t.Cleanup(issuing.Close)
	s.issuer, err = issuer.New(issuer.Config{URL: issuing.URL, Audience: "nthlayer", Key: key})
	require.NoError(t, err)
	tokens = s.issuer

	certs := t.TempDir()
	require.NoError(t, devca.Ensure(certs, time.Now(), "gateway", "reconcile-worker", "notifier", "audit-scheduler"))
	peer := func(role string, register func(grpc.ServiceRegistrar)) string {
		identity, err := mtls.Load(devca.FilesOf(certs, role), quiet)
		require.NoError(t, err)
		chain, err := rpc.Internal(quiet, "gateway")
		require.NoError(t, err)
		server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, TLS: identity.Server()}, register)
		require.NoError(t, err)
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		run(t, func(ctx context.Context) { require.NoError(t, server.Serve(ctx, lis)) })
		return lis.Addr().String()
	}
	worker := peer("reconcile-worker", func(r grpc.ServiceRegistrar) { internalv1.RegisterPlannerServiceServer(r, planner{}) })
	var scheduler, notifier string
	if among.scheduler != nil {
		scheduler = peer("audit-scheduler", among.scheduler)
	} else { // what answers where the scheduler should be has the notifier's certificate
		scheduler = peer("notifier", func(r grpc.ServiceRegistrar) {
			internalv1.RegisterSchedulerServiceServer(r, internalv1.UnimplementedSchedulerServiceServer{})
		})
	}
	if among.notifier != nil {
		notifier = peer("notifier", among.notifier)
	} else {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		notifier = free.Addr().String()
		require.NoError(t, free.Close())
	}

	files := devca.FilesOf(certs, "gateway")
	run(t, func(ctx context.Context) {
		code := service.Run(ctx, service.Invocation{Name: "gateway", Stdout: s.logs, Stderr: s.logs, Environ: append([]string{
			"NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_REST_ADDR=127.0.0.1:0", "NTHLAYER_GRPC_ADDR=127.0.0.1:0",
			"NTHLAYER_LOG_LEVEL=debug", "NTHLAYER_REDIS_ADDR=" + miniredis.RunT(t).Addr(), "NTHLAYER_RATE_PER_MINUTE=1000000",
			"NTHLAYER_DATABASE_URL=" + url, "NTHLAYER_SQS_ENDPOINT=" + endpoint.URL,
			"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			"NTHLAYER_PLANNER_ADDR=" + worker, "NTHLAYER_NOTIFIER_ADDR=" + notifier, "NTHLAYER_SCHEDULER_ADDR=" + scheduler,
			"NTHLAYER_JWT_ISSUER=" + s.issuer.URL(), "NTHLAYER_JWT_AUDIENCE=nthlayer",
		}, more...)}, wire.Gateway)
		require.Zero(t, code)
	})
	t.Cleanup(s.http.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	at := s.logs.await(ctx, "listening")
	text, _ := s.logs.text()
	require.NotNil(t, at, text)
	s.rest, s.grpc = "http://"+at["rest"].(string), at["grpc"].(string)
	return s
}

// run runs f beside the test until the test ends.
func run(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func (s *system) token(subject string, scopes ...string) string {
	token, err := s.issuer.Token(subject, scopes, time.Hour)
	require.NoError(s.t, err)
	return token
}

func (s *system) client(subject string, scopes ...string) *client.Client {
	c, err := client.New(s.grpc, client.WithPlaintext(), client.WithToken(client.StaticToken(s.token(subject, scopes...))))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// call makes a REST request and gives status and body.
func (s *system) call(t *testing.T, method, path, token, body string, headers ...string) (int, string, http.Header) {
	request, err := http.NewRequestWithContext(t.Context(), method, s.rest+path, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.http.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content), response.Header
}
