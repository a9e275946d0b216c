package telemetry

import (
	"context"

	"go.opentelemetry.io/contrib/propagators/aws/xray"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
)

// propagator reads and writes all the forms in which a trace may travel. Of two that disagree the last one read wins:
// W3C, which is ours from end to end, where X-Ray's may be a load balancer's.
func propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(xray.Propagator{}, propagation.TraceContext{}, propagation.Baggage{})
}

// Inject gives the trace of ctx as a map, for what waits in the database or travels in a message.
func Inject(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	return carrier
}

// Extract goes on with the trace that Inject wrote down. A map without one leaves ctx as it is.
func Extract(ctx context.Context, from map[string]string) context.Context {
	return otel.GetTextMapPropagator().Extract(ctx, propagation.MapCarrier(from))
}
