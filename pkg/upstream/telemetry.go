package upstream

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/nthlayer/nthlayer/pkg/upstream"

// telemetry makes one span, one count and one debug line of every attempt. No context is sent along: trace ids and
// baggage are not for third parties.
type telemetry struct {
	platform string
	log      *slog.Logger
	tracer   trace.Tracer
	requests metric.Int64Counter
	duration metric.Float64Histogram
	wait     metric.Float64Histogram
	watching metric.Registration
}

func newTelemetry(platform string, log *slog.Logger) telemetry {
	meter := otel.Meter(scope)
	requests, _ := meter.Int64Counter("nthlayer.upstream.requests",
		metric.WithDescription("Attempts to call a platform, by route and class of status"))
	duration, _ := meter.Float64Histogram("nthlayer.upstream.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one attempt with its body"))
	wait, _ := meter.Float64Histogram("nthlayer.upstream.wait", metric.WithUnit("s"),
		metric.WithDescription("Time in which an attempt waited for the quota, by platform and priority"))
	return telemetry{
		platform: platform, log: log, tracer: otel.Tracer(scope), requests: requests, duration: duration, wait: wait,
	}
}

// watch shows what status says whenever the gauges are read, until close.
func (t *telemetry) watch(status func() Status) {
	meter := otel.Meter(scope)
	breaker, _ := meter.Int64ObservableGauge("nthlayer.upstream.breaker",
		metric.WithDescription("State of a platform's breaker: 0 closed, 1 half open, 2 open"))
	limit, _ := meter.Int64ObservableGauge("nthlayer.upstream.limit",
		metric.WithDescription("Calls a minute that a platform allows, as configured or as it says"))
	remaining, _ := meter.Int64ObservableGauge("nthlayer.upstream.remaining",
		metric.WithDescription("Calls that could be made at once"))
	watching, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := status()
		platform := metric.WithAttributes(attribute.String("platform", now.Platform))
		o.ObserveInt64(breaker, breakerGauge(now.Breaker), platform)
		if now.Limiter != LimiterNone {
			o.ObserveInt64(limit, int64(now.Limit), platform)
			o.ObserveInt64(remaining, int64(now.Remaining), platform)
		}
		return nil
	}, breaker, limit, remaining)
	if err != nil {
		otel.Handle(err)
		return
	}
	t.watching = watching
}

func breakerGauge(state string) int64 {
	switch state {
	case BreakerIsOpen:
		return 2
	case BreakerIsHalfOpen:
		return 1
	default:
		return 0
	}
}

func (t *telemetry) close() error {
	if t.watching == nil {
		return nil
	}
	return t.watching.Unregister()
}

// waited notes how long an attempt waited for the quota.
func (t *telemetry) waited(ctx context.Context, wait time.Duration) {
	t.wait.Record(ctx, wait.Seconds(), metric.WithAttributes(
		attribute.String("platform", t.platform), attribute.String("priority", priorityOf(ctx).String())))
}

// start begins an attempt's span; the returned function ends it.
func (t *telemetry) start(ctx context.Context, req *http.Request, attempt int) (context.Context, func(outcome)) {
	route := routeOf(ctx)
	ctx, span := t.tracer.Start(ctx, t.platform+" "+req.Method+" "+route,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("peer.service", t.platform),
			attribute.String("http.request.method", req.Method),
			attribute.String("http.route", route),
			attribute.String("server.address", req.URL.Hostname()),
			attribute.Int("http.request.resend_count", attempt-1),
		))
	began := time.Now()
	return ctx, func(o outcome) {
		took := time.Since(began)
		status := 0
		if o.response != nil {
			status = o.response.StatusCode
			span.SetAttributes(attribute.Int("http.response.status_code", status))
		}
		span.SetAttributes(attribute.String("upstream.class", o.class.String()))
		if o.class != OK {
			span.SetStatus(codes.Error, o.class.String())
		}
		span.End()
		t.count(ctx, req, statusClass(status))
		t.duration.Record(ctx, took.Seconds(), metric.WithAttributes(t.attributes(req, route)...))
		t.log.DebugContext(ctx, "upstream attempt", "platform", t.platform, "method", req.Method, "path", req.URL.Path,
			"query", redact(req.URL.Query()), "status", status, "class", o.class.String(), "attempt", attempt,
			"took_ms", took.Milliseconds())
	}
}

// refused counts an attempt that was not sent.
func (t *telemetry) refused(ctx context.Context, req *http.Request, why Class) {
	t.count(ctx, req, why.String())
}

func (t *telemetry) count(ctx context.Context, req *http.Request, status string) {
	t.requests.Add(ctx, 1, metric.WithAttributes(
		append(t.attributes(req, routeOf(ctx)), attribute.String("status_class", status))...))
}

func (t *telemetry) attributes(req *http.Request, route string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("platform", t.platform),
		attribute.String("method", req.Method),
		attribute.String("route", route),
	}
}

func statusClass(status int) string {
	switch {
	case status == 0:
		return "no_answer"
	case status == http.StatusTooManyRequests:
		return "429"
	default:
		return string(rune('0'+status/100)) + "xx"
	}
}

// redact shows which parameters a query has, not their values: they may be people's addresses.
func redact(query url.Values) string {
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
