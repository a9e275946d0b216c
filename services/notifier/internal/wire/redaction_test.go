package wire_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/services/notifier/internal/wire"
)

// The bot token and the database's password stay inside, whatever Slack says to the token.
func TestNotifier_Secrets_StayInside(t *testing.T) {
	const botToken = "xoxb-n0tifier-s3cr3t"
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // spans leave while it runs
	a := newAround(t)
	parsed, err := url.Parse(a.url)
	require.NoError(t, err)
	password, _ := parsed.User.Password()
	var sent atomic.Bool // Slack got the token
	slack := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent.Store(sent.Load() || strings.Contains(string(body)+r.Header.Get("Authorization"), botToken))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":false,"error":"invalid_auth"}`)
	}))
	defer slack.Close()

	var out testkit.Outside
	files := devca.FilesOf(a.certs, "notifier")
	ctx, stop := context.WithCancel(t.Context())
	exit := make(chan int, 1)
	go func() {
		exit <- service.Run(ctx, service.Invocation{Name: "notifier", Stdout: &out, Stderr: &out, Environ: []string{
			"NTHLAYER_LOG_LEVEL=debug", "NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_INTERNAL_ADDR=127.0.0.1:0",
			"NTHLAYER_DATABASE_URL=" + a.url, "NTHLAYER_SQS_ENDPOINT=" + a.sqs, "NTHLAYER_SLACK_URL=" + slack.URL + "/api/", "NTHLAYER_SLACK_TOKEN=" + botToken,
			"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + testkit.Collector(t, &out),
		}}, wire.Notifier)
	}()
	admin := "http://" + out.Await(t, "output", `"service started".*"admin_addr":"([^"]+)"`)
	out.Await(t, "output", "delivery failed.*"+a.ended(t, "payments"))
	for _, path := range []string{"/readyz", "/debug/config", "/debug/pprof/goroutine?debug=2"} {
		out.Get(t, admin+path)
	}
	out.Await(t, "spans", "slack POST")
	stop()
	require.Zero(t, <-exit)

	require.True(t, sent.Load(), "the token was used")
	require.Contains(t, out.Said("output"), "upstream attempt", "it spoke at debug level")
	require.NotEmpty(t, password)
	require.Empty(t, out.Holding(botToken))
	require.Empty(t, out.Holding(password))
}
