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
}

func newTelemetry(platform string, log *slog.Logger) telemetry {
	meter := otel.Meter(scope)
	requests, err := meter.Int64Counter("upstream_requests",
		metric.WithDescription("attempts to call a platform, by route and class of status"))
	if err != nil {
		otel.Handle(err)
	}
	duration, err := meter.Float64Histogram("upstream_request_duration", metric.WithUnit("s"),
		metric.WithDescription("time of one attempt with its body"))
	if err != nil {
		otel.Handle(err)
	}
	return telemetry{platform: platform, log: log, tracer: otel.Tracer(scope), requests: requests, duration: duration}
}

// start begins an attempt's span; the returned function ends it.
func (t telemetry) start(ctx context.Context, req *http.Request, attempt int) (context.Context, func(outcome)) {
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

// refused counts an attempt that the breaker stopped.
func (t telemetry) refused(ctx context.Context, req *http.Request) {
	t.count(ctx, req, BreakerOpen.String())
}

func (t telemetry) count(ctx context.Context, req *http.Request, status string) {
	t.requests.Add(ctx, 1, metric.WithAttributes(
		append(t.attributes(req, routeOf(ctx)), attribute.String("status_class", status))...))
}

func (t telemetry) attributes(req *http.Request, route string) []attribute.KeyValue {
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
