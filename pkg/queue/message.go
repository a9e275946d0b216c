package queue

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
)

// Message is what a producer sends.
type Message struct {
	Queue      string            // the queue's name, for example reconcile.fifo
	Group      string            // messages of a group are handled one at a time, in order
	Dedup      string            // a second message with this id within five minutes is accepted and dropped
	Body       []byte            // UTF-8 text without control characters; body and attributes together at most 1 MiB
	Attributes map[string]string // at most ten; names of letters, digits, '_', '-' and '.'
}

// Received is what a handler gets.
type Received struct {
	ID           string
	Queue        string
	Group        string
	Dedup        string
	Body         []byte
	Attributes   map[string]string
	ReceiveCount int       // 1 at the first delivery
	SentAt       time.Time // by the queue's clock
}

// xrayHeader is the key of the X-Ray propagator. It travels as the system attribute AWSTraceHeader, where AWS looks for
// it; the W3C keys travel as ordinary attributes.
const xrayHeader = "X-Amzn-Trace-Id"

// WithTrace gives a copy of attributes that carries the trace of ctx. Use it where a message is written to the outbox, so
// that the trace goes on from there and not from the relay. Attributes that carry a trace already are returned as they are.
func WithTrace(ctx context.Context, attributes map[string]string) map[string]string {
	propagator := otel.GetTextMapPropagator()
	for _, key := range propagator.Fields() {
		if attributes[key] != "" {
			return attributes
		}
	}
	out := make(map[string]string, len(attributes)+2)
	for k, v := range attributes {
		out[k] = v
	}
	propagator.Inject(ctx, propagation.MapCarrier(out))
	return out
}

func traceOf(ctx context.Context, attributes map[string]string) context.Context {
	return otel.GetTextMapPropagator().Extract(ctx, propagation.MapCarrier(attributes))
}
