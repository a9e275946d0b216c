package upstream_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestTelemetry_EveryAttempt_IsASpanAndACountByRoute(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	reader := metric.NewManualReader()
	tracesBefore, metricsBefore := otel.GetTracerProvider(), otel.GetMeterProvider()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() {
		otel.SetTracerProvider(tracesBefore)
		otel.SetMeterProvider(metricsBefore)
	})

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

	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &data))
	classes := map[string]int64{}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if m.Name != "upstream_requests" {
			continue
		}
		sum, ok := m.Data.(metricdata.Sum[int64])
		require.True(t, ok)
		for _, point := range sum.DataPoints {
			class, _ := point.Attributes.Value("status_class")
			route, _ := point.Attributes.Value("route")
			require.Equal(t, "/teams/{id}", route.AsString())
			classes[class.AsString()] += point.Value
		}
	}
	require.Equal(t, map[string]int64{"5xx": 1, "2xx": 1}, classes)
}
