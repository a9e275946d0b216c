package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	colmetric "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T) *slog.Logger {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	shutdown, err := telemetry.Setup(t.Context(), config.Telemetry{}, "test", "v0", log)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, shutdown(context.Background())) })
	return log
}

func line(t *testing.T, b *bytes.Buffer) map[string]any {
	t.Helper()
	var got map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &got), b.String())
	b.Reset()
	return got
}

func TestLogger_ContextAttributesAndTrace_StandOnEveryLine(t *testing.T) {
	setup(t)
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelInfo)
	ctx, span := otel.Tracer("t").Start(t.Context(), "op")
	defer span.End()
	ctx = telemetry.With(ctx, slog.String("job_id", "1"), slog.String("team_id", "a"))
	inner := telemetry.With(ctx, slog.String("team_id", "b"))

	log.With("service", "x").InfoContext(inner, "m", "k", "v")
	got := line(t, &out)
	require.Equal(t, "1", got["job_id"])
	require.Equal(t, "b", got["team_id"])
	require.Equal(t, "v", got["k"])
	require.Equal(t, span.SpanContext().TraceID().String(), got["trace_id"])

	log.InfoContext(ctx, "m")
	require.Equal(t, "a", line(t, &out)["team_id"], "the outer context is as it was")

	log.Info("m")
	require.NotContains(t, line(t, &out), "trace_id")
}

func TestLogger_LevelVar_ChangesWhatIsLogged(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := telemetry.NewLogger(&out, level)
	log.Debug("no")
	require.Empty(t, out.String())
	level.Set(slog.LevelDebug)
	log.Debug("yes")
	require.Equal(t, "yes", line(t, &out)["msg"])
}

func TestLogger_Credentials_AreNeverWritten(t *testing.T) {
	const hidden = "s3cr3t-value"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://u:"+hidden+"@host/path?token="+hidden, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+hidden)
	for _, value := range []any{
		"Authorization: Bearer " + hidden,
		"Token token=" + hidden,
		`{"authorization":"Basic ` + hidden + `"}`,
		"connect to postgres://user:" + hidden + "@host/db failed",
		errors.New("header Bearer " + hidden + " refused"),
		config.NewSecret(hidden),
		struct{ Token config.Secret }{config.NewSecret(hidden)},
		request.Header, request, request.URL,
	} {
		var out bytes.Buffer
		log := telemetry.NewLogger(&out, slog.LevelInfo)
		log.With("kept", value).WithGroup("g").Info("m", "v", value)
		require.NotContains(t, out.String(), hidden)
	}
	var out bytes.Buffer
	telemetry.NewLogger(&out, slog.LevelInfo).Info("call with Bearer "+hidden, "Authorization", hidden, "token", hidden, "path", "/v1: x")
	require.NotContains(t, out.String(), hidden)
	require.Equal(t, "/v1: x", line(t, &out)["path"])
}

func TestTrace_InjectThenExtract_IsOneTrace(t *testing.T) {
	setup(t)
	ctx, first := otel.Tracer("t").Start(t.Context(), "accept")
	carried := telemetry.Inject(ctx)
	first.End()
	require.Contains(t, carried, "traceparent")
	require.Contains(t, carried, "X-Amzn-Trace-Id")

	for _, keys := range [][]string{{"traceparent"}, {"X-Amzn-Trace-Id"}, {"traceparent", "X-Amzn-Trace-Id"}} {
		some := map[string]string{}
		for _, k := range keys {
			some[k] = carried[k]
		}
		ctx, second := otel.Tracer("t").Start(telemetry.Extract(context.Background(), some), "work")
		second.End()
		require.Equal(t, first.SpanContext().TraceID(), trace.SpanContextFromContext(ctx).TraceID(), keys)
		require.NotEqual(t, first.SpanContext().SpanID(), second.SpanContext().SpanID())
	}
	require.False(t, trace.SpanContextFromContext(telemetry.Extract(context.Background(), nil)).IsValid())
}

func TestSetup_TraceIDs_SuitXRay(t *testing.T) {
	setup(t)
	before := time.Now().Unix()
	_, span := otel.Tracer("t").Start(t.Context(), "op")
	defer span.End()
	// X-Ray takes a trace only when the first eight digits of its id are the time in seconds.
	seconds, err := strconv.ParseInt(span.SpanContext().TraceID().String()[:8], 16, 64)
	require.NoError(t, err)
	require.InDelta(t, before, seconds, 2)
}

type traceServer struct {
	coltrace.UnimplementedTraceServiceServer
	got chan<- *coltrace.ExportTraceServiceRequest
}

func (c *traceServer) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.got <- r
	return &coltrace.ExportTraceServiceResponse{}, nil
}

type metricServer struct {
	colmetric.UnimplementedMetricsServiceServer
	got chan<- *colmetric.ExportMetricsServiceRequest
}

func (c *metricServer) Export(_ context.Context, r *colmetric.ExportMetricsServiceRequest) (*colmetric.ExportMetricsServiceResponse, error) {
	c.got <- r
	return &colmetric.ExportMetricsServiceResponse{}, nil
}

func TestSetup_WithEndpoint_ExportsWhatIsLeftAtShutdown(t *testing.T) {
	traces := make(chan *coltrace.ExportTraceServiceRequest, 10)
	metrics := make(chan *colmetric.ExportMetricsServiceRequest, 10)
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, &traceServer{got: traces})
	colmetric.RegisterMetricsServiceServer(server, &metricServer{got: metrics})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()

	log := slog.New(slog.DiscardHandler)
	shutdown, err := telemetry.Setup(t.Context(), config.Telemetry{Endpoint: "http://" + lis.Addr().String()}, "test", "v0", log)
	require.NoError(t, err)
	_, span := otel.Tracer("t").Start(t.Context(), "op")
	span.End()
	counter, err := otel.Meter("t").Int64Counter("things")
	require.NoError(t, err)
	counter.Add(t.Context(), 1)
	require.NoError(t, shutdown(t.Context()))

	got := (<-traces).ResourceSpans[0]
	require.Equal(t, "op", got.ScopeSpans[0].Spans[0].Name)
	require.Contains(t, got.Resource.String(), "service.name")
	require.Equal(t, "things", (<-metrics).ResourceMetrics[0].ScopeMetrics[0].Metrics[0].Name)
	server.Stop()
	require.NoError(t, <-served)
}
