package queue

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/nthlayer/nthlayer/pkg/queue"

// Outcomes of a message, in the metric nthlayer.queue.messages and on its span.
const (
	outcomeDone        = "done"        // handled and deleted
	outcomeRetry       = "retry"       // the handler asked for it again with Retry
	outcomeFailed      = "failed"      // the handler failed
	outcomePanicked    = "panicked"    // the handler panicked
	outcomeInterrupted = "interrupted" // the drain timeout ended the handler; given back at once
	outcomeLost        = "lost"        // its visibility ended while the handler ran; somebody else may have it
)

type instruments struct {
	tracer   trace.Tracer
	handled  metric.Int64Counter
	age      metric.Float64Histogram
	inFlight metric.Int64UpDownCounter
}

// newInstruments cannot fail: the names are constants, and the API gives no-op instruments beside an error.
func newInstruments() instruments {
	meter := otel.Meter(scope)
	handled, _ := meter.Int64Counter("nthlayer.queue.messages",
		metric.WithDescription("Messages handled, by queue and outcome."))
	age, _ := meter.Float64Histogram("nthlayer.queue.age", metric.WithUnit("s"),
		metric.WithDescription("Time from the send of a message to the start of its handler."),
		metric.WithExplicitBucketBoundaries(.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200))
	inFlight, _ := meter.Int64UpDownCounter("nthlayer.queue.in_flight",
		metric.WithDescription("Messages whose handler is running."))
	return instruments{otel.Tracer(scope), handled, age, inFlight}
}

// observe starts the span and the metrics of one message; the function it gives ends them.
func (i instruments) observe(ctx context.Context, m Received) (context.Context, func(outcome string, err error)) {
	queue := metric.WithAttributes(attribute.String("queue", m.Queue))
	i.age.Record(ctx, max(0, time.Since(m.SentAt).Seconds()), queue)
	i.inFlight.Add(ctx, 1, queue)
	ctx, span := i.tracer.Start(ctx, "process "+m.Queue, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "aws_sqs"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", m.Queue),
		attribute.String("messaging.message.id", m.ID),
		attribute.String("messaging.aws_sqs.message_group", m.Group),
		attribute.Int("messaging.message.delivery_count", m.ReceiveCount),
	))
	return ctx, func(outcome string, err error) {
		i.inFlight.Add(ctx, -1, queue)
		i.handled.Add(ctx, 1, queue, metric.WithAttributes(attribute.String("outcome", outcome)))
		span.SetAttributes(attribute.String("nthlayer.outcome", outcome))
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, outcome)
		}
		span.End()
	}
}
