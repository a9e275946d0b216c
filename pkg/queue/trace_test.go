package queue_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/propagators/aws/xray"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/nthlayer/nthlayer/pkg/queue"
)

func TestTrace_FromAccept_ThroughQueue_ToHandler(t *testing.T) {
	for name, propagator := range map[string]propagation.TextMapPropagator{
		"W3C": propagation.TraceContext{}, "X-Ray": xray.Propagator{},
	} {
		t.Run(name, func(t *testing.T) {
			before := otel.GetTextMapPropagator()
			otel.SetTextMapPropagator(propagator)
			t.Cleanup(func() { otel.SetTextMapPropagator(before) })
			accepted := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled})

			r := newRig(t)
			got := make(chan trace.SpanContext, 1)
			r.run(t, queue.ConsumerOptions{}, func(ctx context.Context, _ queue.Received) error {
				got <- trace.SpanContextFromContext(ctx)
				return nil
			})
			m := text(jobs, "g", "x")
			m.Attributes = queue.WithTrace(trace.ContextWithSpanContext(t.Context(), accepted), nil)
			r.send(t, m) // by somebody with no trace: the outbox relay
			require.Equal(t, accepted.TraceID(), await(t, got).TraceID())
		})
	}
}
