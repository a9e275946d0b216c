package wire_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
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
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// started is a scheduler that runs until the test ends, over a real database and an SQS endpoint.
type started struct {
	testkit.Outside
	certs    string
	database string // its URL
	db       *store.Store
	queue    *sqs.Server
	queues   *queue.Client
	internal string
	admin    string
	stop     func()
}

func start(t *testing.T, more ...string) *started {
	s := &started{certs: t.TempDir(), database: testkit.Postgres(t), queue: sqs.New(sqs.Options{})}
	require.NoError(t, devca.Ensure(s.certs, time.Now(), "audit-scheduler", "gateway", "notifier"))
	var err error
	s.db, err = store.Open(t.Context(), config.NewSecret(s.database), store.Options{})
	require.NoError(t, err)
	t.Cleanup(s.db.Close)
	endpoint := httptest.NewServer(s.queue)
	t.Cleanup(func() { s.queue.Close(); endpoint.Close() })
	s.queues, err = queue.Open(t.Context(), queue.Config{Endpoint: endpoint.URL})
	require.NoError(t, err)
	t.Cleanup(s.queues.Close)
	require.NoError(t, s.queues.Ensure(t.Context(), queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo", "ticks.fifo"))

	files := devca.FilesOf(s.certs, "audit-scheduler")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- service.Run(ctx, service.Invocation{
			Name: "audit-scheduler", Stdout: s, Stderr: s,
			Environ: append([]string{
				"NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_INTERNAL_ADDR=127.0.0.1:0", "NTHLAYER_LOG_LEVEL=debug",
				"NTHLAYER_DATABASE_URL=" + s.database, "NTHLAYER_SQS_ENDPOINT=" + endpoint.URL, "NTHLAYER_TICK_EVERY=100ms",
				"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			}, more...),
		}, wire.Scheduler)
	}()
	s.stop = sync.OnceFunc(func() { cancel(); require.Zero(t, <-ended, s.Said("output")) })
	t.Cleanup(func() { s.stop(); http.DefaultClient.CloseIdleConnections() })
	s.internal = s.Await(t, "output", `"internal_grpc":"([^"]+)"`)
	s.admin = "http://" + s.Await(t, "output", `"service started".*"admin_addr":"([^"]+)"`)
	return s
}

// as is a client with the certificate of a role.
func (s *started) as(t *testing.T, role string) internalv1.SchedulerServiceClient {
	identity, err := mtls.Load(devca.FilesOf(s.certs, role), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	conn, err := rpc.Dial(s.internal, identity.Client("audit-scheduler"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return internalv1.NewSchedulerServiceClient(conn)
}

func TestScheduler_Started_IsHealthyAndReady(t *testing.T) {
	s := start(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		answer, err := http.Get(s.admin + path)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode, path)
	}
}

func TestListSchedules_None_ListIsEmpty(t *testing.T) {
	got, err := start(t).as(t, "gateway").ListSchedules(t.Context(), &nthlayerv1.ListSchedulesRequest{PageSize: 1})
	require.NoError(t, err)
	require.Empty(t, got.GetSchedules())
	require.Empty(t, got.GetNextPageToken())
}

func TestListSchedules_PageTokenOfNobody_IsRefusedByName(t *testing.T) {
	_, err := start(t).as(t, "gateway").ListSchedules(t.Context(), &nthlayerv1.ListSchedulesRequest{PageToken: "AQ"})
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, fault.Invalid, f.Kind)
	require.Equal(t, "page_token", f.Violations[0].Field)
}
