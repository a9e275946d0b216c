package upstream

import "context"

// Priority says who goes first where a quota is short.
type Priority int

const (
	// Interactive calls are waited for by a person. They find a part of the burst that Bulk calls leave alone.
	Interactive Priority = iota
	// Bulk calls, such as those of a fleet audit, may use the whole steady rate as long as nobody else needs it.
	Bulk

	priorities = 2
)

func (p Priority) String() string { return [...]string{"interactive", "bulk"}[p] }

// WithPriority sets the priority of the calls under ctx. Without it they are Interactive.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey, p)
}

func priorityOf(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey).(Priority)
	return p
}
