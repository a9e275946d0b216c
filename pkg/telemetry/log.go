package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger makes the JSON logger. level may be a *slog.LevelVar, to change it while the service runs.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(contextHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact})})
}

type attrsKey struct{}

// With adds attributes to every line logged with the context. A key that is there already is replaced.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	before, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	all := make([]slog.Attr, 0, len(before)+len(attrs))
	for _, old := range before {
		if !slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == old.Key }) {
			all = append(all, old)
		}
	}
	return context.WithValue(ctx, attrsKey{}, append(all, attrs...))
}

// contextHandler adds what the context knows to every record.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	known, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	span := trace.SpanContextFromContext(ctx)
	if len(known) == 0 && !span.IsValid() {
		return h.Handler.Handle(ctx, r)
	}
	r = r.Clone()
	r.AddAttrs(known...)
	if span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
