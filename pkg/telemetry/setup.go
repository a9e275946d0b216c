package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/contrib/propagators/aws/xray"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// metricsEvery is how often metrics are exported: fast enough for an alarm on queue age.
const metricsEvery = 15 * time.Second

// Setup sets OpenTelemetry's globals, once a process, before anything is built that takes a tracer or a meter. shutdown
// exports what is left, within the deadline of its context. Trouble with the exporter is logged and stops nothing.
func Setup(ctx context.Context, cfg config.Telemetry, service, version string, log *slog.Logger) (shutdown func(context.Context) error, err error) {
	describe, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithFromEnv(), // OTEL_RESOURCE_ATTRIBUTES, for example deployment.environment.name
	)
	if err != nil {
		return nil, fault.New(fault.Invalid, "OTEL_RESOURCE_ATTRIBUTES cannot be read", err)
	}
	traceOptions := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(describe), sdktrace.WithIDGenerator(xray.NewIDGenerator()),
	}
	metricOptions := []sdkmetric.Option{sdkmetric.WithResource(describe)}
	if cfg.Endpoint != "" {
		spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(cfg.Endpoint))
		if err != nil {
			return nil, fmt.Errorf("export traces: %w", err)
		}
		metrics, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(cfg.Endpoint))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("export metrics: %w", err), spans.Shutdown(ctx))
		}
		traceOptions = append(traceOptions, sdktrace.WithBatcher(spans))
		var reading []sdkmetric.PeriodicReaderOption
		if os.Getenv("OTEL_METRIC_EXPORT_INTERVAL") == "" { // else the SDK takes what that says
			reading = append(reading, sdkmetric.WithInterval(metricsEvery))
		}
		metricOptions = append(metricOptions, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, reading...)))
	}
	tracing := sdktrace.NewTracerProvider(traceOptions...)
	metering := sdkmetric.NewMeterProvider(metricOptions...)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry not exported", "error", err) }))
	otel.SetTextMapPropagator(propagator())
	otel.SetTracerProvider(tracing)
	otel.SetMeterProvider(metering)
	return func(ctx context.Context) error {
		return errors.Join(tracing.Shutdown(ctx), metering.Shutdown(ctx))
	}, nil
}
