package upstream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// observed collects what is exported during a test.
func observed(t *testing.T) (*tracetest.SpanRecorder, *metric.ManualReader) {
	spans := tracetest.NewSpanRecorder()
	reader := metric.NewManualReader()
	tracesBefore, metricsBefore := otel.GetTracerProvider(), otel.GetMeterProvider()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() {
		otel.SetTracerProvider(tracesBefore)
		otel.SetMeterProvider(metricsBefore)
	})
	return spans, reader
}

// metrics reads everything once.
func metrics(t *testing.T, reader *metric.ManualReader) map[string]metricdata.Metrics {
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &data))
	found := map[string]metricdata.Metrics{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

func TestTelemetry_EveryAttempt_IsASpanAndACountByRoute(t *testing.T) {
	spans, reader := observed(t)
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(500, ""), answer(200, "")}}
		_, err := send(upstream.WithRoute(t.Context(), "/teams/{id}"), transport(p), "GET", "")
		require.NoError(t, err)
	})

	require.Len(t, spans.Ended(), 2)
	for _, span := range spans.Ended() {
		require.Equal(t, "pagerduty GET /teams/{id}", span.Name())
		for _, a := range span.Attributes() {
			require.NotContains(t, a.Value.String(), "P1", "ids stay out of spans")
			require.NotContains(t, a.Value.String(), "example.org", "addresses stay out of spans")
		}
	}

	sum, ok := metrics(t, reader)["nthlayer.upstream.requests"].Data.(metricdata.Sum[int64])
	require.True(t, ok)
	classes := map[string]int64{}
	for _, point := range sum.DataPoints {
		class, _ := point.Attributes.Value("status_class")
		route, _ := point.Attributes.Value("route")
		require.Equal(t, "/teams/{id}", route.AsString())
		classes[class.AsString()] += point.Value
	}
	require.Equal(t, map[string]int64{"5xx": 1, "2xx": 1}, classes)
}

func TestTelemetry_BreakerAndQuota_AreGaugesUntilTheTransportIsClosed(t *testing.T) {
	_, reader := observed(t)
	gauge := func(t *testing.T, name string) []metricdata.DataPoint[int64] {
		g, _ := metrics(t, reader)[name].Data.(metricdata.Gauge[int64])
		return g.DataPoints
	}
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(200, "", "ratelimit-limit", "480"), answer(500, "")}}
		tr := transport(p, func(c *upstream.Config) {
			c.Limiter, c.Attempts, c.Breaker.Requests = upstream.NewLocal("pagerduty", 960), 1, 3
		})
		for range 3 {
			_, err := send(upstream.WithPriority(t.Context(), upstream.Bulk), tr, "GET", "")
			require.NoError(t, err)
		}
		for name, want := range map[string]int64{
			"nthlayer.upstream.breaker": 2, "nthlayer.upstream.limit": 480, "nthlayer.upstream.remaining": int64(tr.Status().Remaining),
		} {
			points := gauge(t, name)
			require.Len(t, points, 1, name)
			require.Equal(t, want, points[0].Value, name)
			platform, _ := points[0].Attributes.Value("platform")
			require.Equal(t, "pagerduty", platform.AsString())
		}
		time.Sleep(tr.Hold() + time.Millisecond)
		require.EqualValues(t, 1, gauge(t, "nthlayer.upstream.breaker")[0].Value)

		waits, ok := metrics(t, reader)["nthlayer.upstream.wait"].Data.(metricdata.Histogram[float64])
		require.True(t, ok)
		require.EqualValues(t, 3, waits.DataPoints[0].Count)
		priority, _ := waits.DataPoints[0].Attributes.Value("priority")
		require.Equal(t, "bulk", priority.AsString())

		require.NoError(t, tr.Close())
		require.Empty(t, gauge(t, "nthlayer.upstream.breaker"))
	})
}
