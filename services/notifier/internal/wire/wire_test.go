package wire_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	token   = "xoxb-test"
	channel = "C0NTHLAYER"
	patient = 30 * time.Second
)

// around is what a notifier lives on: a database, queues and a Slack.
type around struct {
	url   string
	store *store.Store
	sqs   string
	slack string
	posts atomic.Int64 // calls of chat.postMessage
	down  atomic.Bool  // the channel is refused
	certs string
}

func newAround(t *testing.T) *around {
	a := &around{url: testkit.Postgres(t), certs: t.TempDir()}
	require.NoError(t, devca.Ensure(a.certs, time.Now(), "notifier", "gateway", "reconcile-worker"))
	var err error
	a.store, err = store.Open(t.Context(), config.NewSecret(a.url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(a.store.Close)

	queues := sqs.New(sqs.Options{})
	endpoint := httptest.NewServer(queues)
	t.Cleanup(func() { queues.Close(); endpoint.Close() })
	a.sqs = endpoint.URL
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: a.sqs})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo"))

	workspace := slack.New(slack.Options{Token: token})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/chat.postMessage" {
			a.posts.Add(1)
			if a.down.Load() {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"ok":false,"error":"is_archived"}`)
				return
			}
		}
		workspace.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	a.slack = web.URL + "/api/"
	return a
}

// ended makes a run that ended and is to be told; its delivery waits in the outbox.
func (a *around) ended(t *testing.T, team string) (key string) {
	jobID, _, err := a.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: team})
	require.NoError(t, err)
	claim, err := a.store.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	payload, err := json.Marshal(notice.RunFinished{JobID: jobID.String(), TeamID: team, Status: "succeeded", Summary: "1 member added"})
	require.NoError(t, err)
	key = notice.Key(jobID.String(), "slack", channel)
	require.NoError(t, claim.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync,
		Tell: []store.Delivery{{Key: key, Medium: "slack", Channel: channel, Payload: payload}},
	}))
	return key
}

// line is what the tests read of the service's log.
type line struct {
	Message  string `json:"msg"`
	Key      string `json:"delivery_key"`
	Internal string `json:"internal_grpc"`
	Admin    string `json:"admin_addr"`
}

// notifier is a service that runs until the test ends.
type notifier struct {
	lines           chan line
	internal, admin string
}

func (a *around) start(t *testing.T, more ...string) *notifier {
	n := &notifier{lines: make(chan line, 1000)}
	files := devca.FilesOf(a.certs, "notifier")
	logs, stderr := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		code := service.Run(ctx, service.Invocation{
			Name: "notifier", Stdout: io.Discard, Stderr: stderr,
			Environ: append([]string{
				"NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_INTERNAL_ADDR=127.0.0.1:0",
				"NTHLAYER_DATABASE_URL=" + a.url, "NTHLAYER_SQS_ENDPOINT=" + a.sqs,
				"NTHLAYER_SLACK_URL=" + a.slack, "NTHLAYER_SLACK_TOKEN=" + token,
				"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			}, more...),
		}, wire.Notifier)
		_ = stderr.Close()
		ended <- code
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			var l line
			if json.Unmarshal(lines.Bytes(), &l) == nil {
				n.lines <- l
			}
		}
		_, _ = io.Copy(io.Discard, logs)
		close(n.lines)
	}()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-ended)
		<-read
		http.DefaultClient.CloseIdleConnections()
	})
	n.internal = n.await(t, "listening", "").Internal
	n.admin = n.await(t, "service started", "").Admin
	return n
}

// await reads the log until it says so of the delivery.
func (n *notifier) await(t *testing.T, message, key string) line {
	t.Helper()
	timer := time.NewTimer(patient)
	defer timer.Stop()
	for {
		select {
		case l, ok := <-n.lines:
			require.True(t, ok, "the service ended before it said %q", message)
			if l.Message == message && l.Key == key {
				return l
			}
		case <-timer.C:
			require.FailNow(t, "the service did not say "+message)
		}
	}
}

// as is a client with the certificate of a role.
func (a *around) as(t *testing.T, role string, n *notifier) internalv1.NotifierServiceClient {
	identity, err := mtls.Load(devca.FilesOf(a.certs, role), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	conn, err := rpc.Dial(n.internal, identity.Client("notifier"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return internalv1.NewNotifierServiceClient(conn)
}

func TestNotifier_RunEnded_IsToldAndListed(t *testing.T) {
	a := newAround(t)
	n := a.start(t)
	answer, err := http.Get("http://" + n.admin + "/readyz")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)

	key := a.ended(t, "payments")
	n.await(t, "posted", key)
	page, err := a.as(t, "gateway", n).ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{Status: "delivered"})
	require.NoError(t, err)
	require.Len(t, page.GetDeliveries(), 1)
	require.Equal(t, key, page.GetDeliveries()[0].GetDeliveryKey())
	require.NotEmpty(t, page.GetDeliveries()[0].GetTs())
	require.EqualValues(t, 1, a.posts.Load())
}

func TestNotifier_ChannelArchivedThenBack_ResendTellsOnce(t *testing.T) {
	a := newAround(t)
	a.down.Store(true)
	n := a.start(t)
	gateway := a.as(t, "gateway", n)
	key := a.ended(t, "payments")
	n.await(t, "delivery failed; resend it when the cause is gone", key)
	page, err := gateway.ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{Status: "failed"})
	require.NoError(t, err)
	require.Len(t, page.GetDeliveries(), 1)
	require.Contains(t, page.GetDeliveries()[0].GetLastError(), "unarchive the channel")
	require.EqualValues(t, 1, a.posts.Load(), "what waiting does not mend is not tried again")

	a.down.Store(false)
	_, err = gateway.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: key})
	require.NoError(t, err)
	n.await(t, "posted", key)
	require.EqualValues(t, 2, a.posts.Load())
	_, err = gateway.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: key})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
}

func TestNotifier_OtherRole_IsRefused(t *testing.T) {
	a := newAround(t)
	_, err := a.as(t, "reconcile-worker", a.start(t)).ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{})
	require.Equal(t, fault.PermissionDenied, fault.KindOf(err))
}

func TestNotifier_TwoSideBySide_EachDeliveryIsToldOnce(t *testing.T) {
	a := newAround(t)
	one, other := a.start(t), a.start(t)
	keys := map[string]bool{}
	for _, team := range []string{"a", "b", "c", "d"} {
		keys[a.ended(t, team)] = true
	}
	timer := time.NewTimer(patient)
	defer timer.Stop()
	for len(keys) > 0 {
		var l line
		select {
		case l = <-one.lines:
		case l = <-other.lines:
		case <-timer.C:
			require.FailNow(t, "not everybody was told", "%v", keys)
		}
		if l.Message == "posted" {
			require.True(t, keys[l.Key], "told twice: %s", l.Key)
			delete(keys, l.Key)
		}
	}
	require.EqualValues(t, 4, a.posts.Load())
}
