package rpc

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// logging writes one line a call, at its end. It holds no bodies and no text made from them: of a wrong request only the
// names of the fields. The request id and the trace id come from the context (package telemetry).
func logging(log *slog.Logger) Link {
	return Link{Name: "log", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		start := time.Now()
		err := next(context.WithValue(ctx, callKey{}, call))
		attrs := []slog.Attr{
			slog.String("method", call.Method),
			slog.String("code", grpcfault.ToStatus(err).Code().String()),
			slog.Float64("duration_ms", float64(time.Since(start).Microseconds())/1000),
			slog.String("principal", call.Principal.Subject),
		}
		if call.Resource != "" {
			attrs = append(attrs, slog.String("resource", call.Resource))
		}
		attrs = append(attrs, call.noted...)
		level := slog.LevelInfo
		if exempt(call.Method) {
			level = slog.LevelDebug
		}
		if err != nil {
			f := grpcfault.Classify(err)
			level = max(level, severity(f.Kind))
			attrs = append(attrs, slog.String("reason", fault.ReasonOf(f)))
			attrs = append(attrs, particulars(f, err)...)
		}
		log.LogAttrs(ctx, level, "rpc", attrs...)
		return err
	}}
}

func severity(kind fault.Kind) slog.Level {
	switch kind {
	case fault.Internal:
		return slog.LevelError
	case fault.Unavailable, fault.Incomplete, fault.Deadline:
		return slog.LevelWarn
	default:
		return slog.LevelDebug // the caller's doing: does not raise the line
	}
}

// particulars are the fields of a wrong request, or the whole error where it is ours.
func particulars(f *fault.Error, err error) []slog.Attr {
	if f.Kind == fault.Invalid {
		fields := make([]string, 0, len(f.Violations))
		for _, v := range f.Violations {
			fields = append(fields, FieldForLog(v.Field))
		}
		return []slog.Attr{slog.Any("fields", fields)}
	}
	return []slog.Attr{slog.String("error", err.Error())}
}

var fieldName = regexp.MustCompile(`^[A-Za-z0-9_.\[\]-]{1,100}$`)

// FieldForLog is a field's name as it may stand in a log. Callers invent names, too: an unknown field may be anything, an
// address for example.
func FieldForLog(name string) string {
	if fieldName.MatchString(name) {
		return name
	}
	return "(no field's name)"
}
