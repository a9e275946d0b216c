package wire_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started is a scheduler that runs until the test ends.
type started struct {
	certs string
	line  struct {
		Message  string `json:"msg"`
		Internal string `json:"internal_grpc"`
		Admin    string `json:"admin_addr"`
	}
}

func start(t *testing.T) *started {
	s := &started{certs: t.TempDir()}
	require.NoError(t, devca.Ensure(s.certs, time.Now(), "audit-scheduler", "gateway", "notifier"))
	files := devca.FilesOf(s.certs, "audit-scheduler")
	logs, stderr := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		code := service.Run(ctx, service.Invocation{
			Name: "audit-scheduler", Stdout: io.Discard, Stderr: stderr,
			Environ: []string{
				"NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_INTERNAL_ADDR=127.0.0.1:0",
				"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			},
		}, wire.Scheduler)
		_ = stderr.Close()
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-ended)
		http.DefaultClient.CloseIdleConnections()
	})
	lines := bufio.NewScanner(logs)
	for s.line.Message != "service started" {
		require.True(t, lines.Scan(), "the service ended before it had started")
		require.NoError(t, json.Unmarshal(lines.Bytes(), &s.line), lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, logs) }()
	return s
}

// as is a client with the certificate of a role.
func (s *started) as(t *testing.T, role string) internalv1.SchedulerServiceClient {
	identity, err := mtls.Load(devca.FilesOf(s.certs, role), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	conn, err := rpc.Dial(s.line.Internal, identity.Client("audit-scheduler"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return internalv1.NewSchedulerServiceClient(conn)
}

func TestScheduler_Started_IsHealthyAndReady(t *testing.T) {
	s := start(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		answer, err := http.Get("http://" + s.line.Admin + path)
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

func TestListSchedules_OtherRole_IsRefused(t *testing.T) {
	_, err := start(t).as(t, "notifier").ListSchedules(t.Context(), &nthlayerv1.ListSchedulesRequest{})
	require.Equal(t, fault.PermissionDenied, fault.KindOf(err))
}
