package wire_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	cortexToken    = "c0rtex-s3cr3t/+key"
	pagerDutyToken = "p4gerduty-s3cr3t/+key"
)

// worker is a reconcile-worker at debug level, with all that it lives on, and all that it says.
type worker struct {
	testkit.Outside
	store     *store.Store
	password  string // of the database
	cortex    *cortex.Server
	pagerDuty *pagerduty.Server
	admin     string
	stop      func() (exit int)
	planner   internalv1.PlannerServiceClient
}

func start(t *testing.T) *worker {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // spans leave while it runs
	w := &worker{cortex: cortex.New(cortex.Options{Token: cortexToken}), pagerDuty: pagerduty.New(pagerduty.Options{Token: pagerDutyToken})}
	database := testkit.Postgres(t)
	parsed, err := url.Parse(database)
	require.NoError(t, err)
	w.password, _ = parsed.User.Password()
	w.store, err = store.Open(t.Context(), config.NewSecret(database), store.Options{})
	require.NoError(t, err)
	t.Cleanup(w.store.Close)
	require.NoError(t, w.cortex.LoadOrg(org.Example()))
	require.NoError(t, w.pagerDuty.LoadOrg(org.Example()))
	queues := sqs.New(sqs.Options{})
	t.Cleanup(queues.Close)
	serve := func(s *httptest.Server) string { t.Cleanup(s.Close); return s.URL }
	sqsURL := serve(httptest.NewServer(queues))
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: sqsURL})
	require.NoError(t, err)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo"))
	client.Close()

	certs := t.TempDir()
	require.NoError(t, devca.Ensure(certs, time.Now(), "reconcile-worker", "gateway"))
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	internal := free.Addr().String()
	require.NoError(t, free.Close())
	files := devca.FilesOf(certs, "reconcile-worker")
	ctx, cancel := context.WithCancel(context.Background())
	exit := make(chan int, 1)
	go func() {
		exit <- service.Run(ctx, service.Invocation{Name: "reconcile-worker", Stdout: w, Stderr: w, Environ: []string{
			"NTHLAYER_LOG_LEVEL=debug", "NTHLAYER_RETRY_AFTER=1ms", "NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_INTERNAL_ADDR=" + internal,
			"NTHLAYER_DATABASE_URL=" + database, "NTHLAYER_SQS_ENDPOINT=" + sqsURL, "NTHLAYER_REDIS_ADDR=" + miniredis.RunT(t).Addr(),
			"NTHLAYER_CORTEX_URL=" + serve(httptest.NewServer(w.cortex)), "NTHLAYER_CORTEX_TOKEN=" + cortexToken,
			"NTHLAYER_PAGERDUTY_URL=" + serve(httptest.NewServer(w.pagerDuty)), "NTHLAYER_PAGERDUTY_TOKEN=" + pagerDutyToken,
			"NTHLAYER_TLS_CA=" + files.CA, "NTHLAYER_TLS_CERT=" + files.Cert, "NTHLAYER_TLS_KEY=" + files.Key,
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + testkit.Collector(t, &w.Outside),
		}}, wire.Worker)
	}()
	ended := false
	w.stop = func() int { ended = true; cancel(); return <-exit }
	t.Cleanup(func() {
		if !ended {
			w.stop()
		}
	})
	w.admin = "http://" + w.Await(t, "output", `"service started".*"admin_addr":"([^"]+)"`)
	identity, err := mtls.Load(devca.FilesOf(certs, "gateway"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	conn, err := rpc.Dial(internal, identity.Client("reconcile-worker"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	w.planner = internalv1.NewPlannerServiceClient(conn)
	return w
}

// reconcile runs a job to the end of its attempt.
func (w *worker) reconcile(t *testing.T, team string) {
	jobID, _, err := w.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: team, Request: store.Request{Source: "cortex"}})
	require.NoError(t, err)
	w.Await(t, "output", `"msg":"run (?:ended|failed|dead-lettered)".*"`+jobID.String()+`"`)
}

// plan asks for a plan, and notes what a caller sees.
func (w *worker) plan(t *testing.T, team string) error {
	plan, err := w.planner.Plan(t.Context(), &nthlayerv1.PlanTeamRequest{TeamId: team, PolicyInput: true})
	w.Add("answers", plan.String())
	if err != nil {
		w.Add("answers", err.Error())
	}
	return err
}

// No secret and no address comes out of a worker, whatever happens to it: work well done, platforms that refuse its key
// and repeat it in their answers, that fail or drop connections, and a look inside at every moment.
func TestWorker_Secrets_StayInside(t *testing.T) {
	w := start(t)
	look := func() {
		for _, path := range []string{"/readyz", "/debug/config", "/debug/log-level", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline"} {
			w.Get(t, w.admin+path)
		}
	}
	w.reconcile(t, "lumen-payments")
	require.NoError(t, w.plan(t, "lumen-search"))
	require.Error(t, w.plan(t, "nobody-knows-this-team"))
	look()

	for _, answer := range []control.Fault{
		{Match: "* *", Status: 401, Body: []byte(`{"error":{"message":"Invalid Credentials","code":2006},"type":"UNAUTHORIZED","message":"Unauthorized"}`)},
		{Match: "* *", Status: 403},
		{Match: "* *", Status: 302, Headers: map[string]string{"Location": "http://127.0.0.1:1/elsewhere"}},
	} {
		require.NoError(t, w.pagerDuty.Control().Inject(answer))
		require.Error(t, w.plan(t, "lumen-search"))
		w.reconcile(t, "lumen-mobile")
		require.NoError(t, w.cortex.Control().Inject(answer))
		require.Error(t, w.plan(t, "lumen-search"))
		w.pagerDuty.Control().ClearFaults()
		w.cortex.Control().ClearFaults()
	}
	look()
	w.Await(t, "spans", "step fetch_source")
	require.Zero(t, w.stop())

	require.Contains(t, w.Said("output"), "upstream attempt", "it spoke at debug level")
	require.Contains(t, w.Said("/debug/config"), "NTHLAYER_PAGERDUTY_TOKEN=[redacted]")
	require.NotEmpty(t, w.Said("metrics"))
	for name, secret := range map[string]string{"Cortex": cortexToken, "PagerDuty": pagerDutyToken, "database": w.password} {
		require.NotEmpty(t, secret, name)
		require.Empty(t, w.Holding(secret), "the %s secret came out", name)
	}
	for _, place := range []string{"spans", "metrics", "/readyz"} {
		require.NotRegexp(t, address, w.Said(place), "an e-mail address stands in %s", place)
	}
	for line := range strings.Lines(w.Said("output")) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			require.NotRegexp(t, address, line, "an e-mail address above debug level")
		}
	}
}

// audit makes an audit up to its end, or until its first part was put back.
func (w *worker) audit(t *testing.T) {
	id, _, err := w.store.AcceptAudit(t.Context(), store.NewAudit{
		RequestedBy: "ann", Request: store.AuditRequest{Mode: "full", AutoReconcile: "enforce"},
	}, "", []byte("x"))
	require.NoError(t, err)
	deferred := regexp.MustCompile(`"part of an audit deferred".*` + id.String())
	require.Eventually(t, func() bool {
		_, err := w.store.HandOut(t.Context(), id, 1000, 5)
		require.NoError(t, err)
		a, err := w.store.Audit(t.Context(), id)
		require.NoError(t, err)
		return deferred.MatchString(w.Said("output")) || a.Phase == store.PhaseTeams && a.TeamsDone == a.TeamsTotal || a.Phase == store.PhaseSummary
	}, 30*time.Second, 10*time.Millisecond)
	_, err = w.store.EndAudit(t.Context(), id, func(store.Audit, notice.AuditFinished) ([]store.Delivery, error) { return nil, nil })
	require.NoError(t, err)
}

// The same of audits: a whole fleet looked at, refused, and out of reach.
func TestWorker_AuditsSecrets_StayInside(t *testing.T) {
	w := start(t)
	w.audit(t)
	require.Contains(t, w.Said("output"), `"part of an audit handled"`)
	found, err := w.store.AuditFindings(t.Context(), store.AuditFindingFilter{Limit: 1000})
	require.NoError(t, err)
	require.NotEmpty(t, found, "there was something to tell")
	for _, answer := range []control.Fault{
		{Match: "GET /teams/*/members", Status: 401, Body: []byte(`{"error":{"message":"Token token=` + pagerDutyToken + ` is not known","code":2006}}`)},
		{Match: "GET /users", Status: 403}, {Match: "GET /audit/records", Status: 402}, {Match: "GET /teams/*/members", Drop: true},
	} {
		require.NoError(t, w.pagerDuty.Control().Inject(answer))
		w.audit(t)
		w.pagerDuty.Control().ClearFaults()
	}
	require.NoError(t, w.cortex.Control().Inject(control.Fault{Match: "* *", Status: 401, Body: []byte(`{"type":"UNAUTHORIZED","message":"Bearer ` + cortexToken + `"}`)}))
	w.audit(t)
	for _, path := range []string{"/readyz", "/debug/config", "/debug/pprof/goroutine?debug=2"} {
		w.Get(t, w.admin+path)
	}
	require.Zero(t, w.stop())

	require.Contains(t, w.Said("output"), "team could not be read", "it spoke of failures")
	for name, secret := range map[string]string{"Cortex": cortexToken, "PagerDuty": pagerDutyToken, "database": w.password} {
		require.Empty(t, w.Holding(secret), "the %s secret came out", name)
	}
	for _, place := range []string{"spans", "metrics"} {
		require.NotRegexp(t, address, w.Said(place), "an e-mail address stands in %s", place)
	}
	for line := range strings.Lines(w.Said("output")) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			require.NotRegexp(t, address, line, "an e-mail address above debug level")
		}
	}
}

// address is an e-mail address of the example organisation.
const address = `[a-z0-9._-]+@[a-z0-9-]+\.[a-z.]+`

// A platform that repeats the key in its refusal does not get it into our logs or answers.
func TestWorker_PlatformRepeatsTheKey_ItStaysInside(t *testing.T) {
	w := start(t)
	for _, body := range []string{
		`{"error":{"message":"Bearer ` + pagerDutyToken + ` is not known","code":2006}}`,
		`{"error":{"message":"Token token=` + pagerDutyToken + ` is not known","code":2006}}`,
	} {
		require.NoError(t, w.pagerDuty.Control().Inject(control.Fault{Match: "* *", Status: 401, Body: []byte(body)}))
		require.Error(t, w.plan(t, "lumen-search"))
		w.reconcile(t, "lumen-mobile")
		w.pagerDuty.Control().ClearFaults()
	}
	require.Zero(t, w.stop())
	require.Empty(t, w.Holding(pagerDutyToken))
}

// Whatever is wrong with the address of the database, the password in it is not told.
func TestWorker_DatabaseRefused_PasswordStaysInside(t *testing.T) {
	const password = "d4tabase-s3cr3t"
	certs := t.TempDir()
	for _, address := range []string{
		"postgres://u:" + password + "@127.0.0.1:1/db", "postgres://u:" + password + "@host.invalid/db", "postgres://u:" + password + "@[::1/db",
		"postgres://u:" + password + "%zz@h/db", "postgres://u:" + password + "@h:port/db?sslmode=x", "host=127.0.0.1 port=1 password=" + password,
		"host=h password='" + password, "user=u password = " + password + " port=x", password, "mysql://u:" + password + "@h/db",
	} {
		var w testkit.Outside
		exit := service.Run(t.Context(), service.Invocation{Name: "reconcile-worker", Stdout: &w, Stderr: &w, Environ: []string{
			"NTHLAYER_LOG_LEVEL=debug", "NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_DATABASE_URL=" + address, "NTHLAYER_REDIS_ADDR=127.0.0.1:1",
			"NTHLAYER_CORTEX_TOKEN=x", "NTHLAYER_PAGERDUTY_TOKEN=x", "NTHLAYER_TLS_CA=" + certs, "NTHLAYER_TLS_CERT=" + certs, "NTHLAYER_TLS_KEY=" + certs,
		}}, wire.Worker)
		require.Equal(t, 1, exit)
		require.Contains(t, w.Said("output"), "service failed", address)
		require.Empty(t, w.Holding(password), "%s: %s", address, w.Said("output"))
	}
}

// Control: the search finds a secret that does come out, in each form.
func TestControl_WithoutRedaction_TheSearchFindsTheSecret(t *testing.T) {
	secret := config.NewSecret(cortexToken)
	var w testkit.Outside
	telemetry.NewLogger(&w, slog.LevelDebug).Info("call", "token", secret, "header", "Bearer "+secret.Reveal())
	require.Empty(t, w.Holding(cortexToken))
	slog.New(slog.NewJSONHandler(&w, nil)).Info("call", "header", "Bearer "+secret.Reveal())
	require.Equal(t, []string{"output"}, w.Holding(cortexToken))
	w.Add("answers", "https://h/?token="+url.QueryEscape(secret.Reveal()))
	require.Equal(t, []string{"answers in a query", "output"}, w.Holding(cortexToken))
	_, _ = io.WriteString(&w, "ann@example.org")
	require.Regexp(t, address, w.Said("output"))
}
