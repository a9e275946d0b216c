package upstream

import "context"

type contextKey int

const (
	routeKey contextKey = iota
	repeatKey
	callsKey
	priorityKey
	permitKey
)

// WithRoute names the route of the calls under ctx, for example "/teams/{id}/members": spans and metrics use it in
// place of the path, which holds ids.
func WithRoute(ctx context.Context, route string) context.Context {
	return context.WithValue(ctx, routeKey, route)
}

func routeOf(ctx context.Context) string {
	if route, ok := ctx.Value(routeKey).(string); ok {
		return route
	}
	return "other"
}

// Repeat says when a call that may have taken effect is sent again.
type Repeat int

const (
	ByMethod Repeat = iota // when its method is idempotent
	Always                 // always: the call only reads, whatever its method
	Never                  // never, nor after a refusal: one attempt
)

// WithRepeat sets the rule for the calls under ctx.
func WithRepeat(ctx context.Context, repeat Repeat) context.Context {
	return context.WithValue(ctx, repeatKey, repeat)
}

func repeatOf(ctx context.Context) Repeat {
	repeat, _ := ctx.Value(repeatKey).(Repeat)
	return repeat
}
