package rpc

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

const scope = "github.com/nthlayer/nthlayer/pkg/rpc"

// metrics counts calls by outcome. Durations by code come from otelgrpc; this adds what only we know, the reason.
func metrics() Link {
	meter := otel.Meter(scope)
	duration, _ := meter.Float64Histogram("nthlayer.rpc.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the first byte of a call to its end, by method and reason of failure"))
	active, _ := meter.Int64UpDownCounter("nthlayer.rpc.active", metric.WithDescription("Calls being served"))
	return Link{Name: "metrics", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		method := attribute.String("rpc.method", call.Method)
		active.Add(ctx, 1, metric.WithAttributes(method))
		defer active.Add(ctx, -1, metric.WithAttributes(method))
		start := time.Now()
		err := next(ctx)
		reason := "OK"
		if err != nil {
			reason = fault.ReasonOf(grpcfault.Classify(err))
		}
		duration.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(method, attribute.String("reason", reason)))
		return err
	}}
}
