package upstream

import (
	"context"
	"time"
)

// WithPermit is here until the limiter's branch is merged.
func WithPermit(ctx context.Context, _ func() error) context.Context { return ctx }

// Quota and Status are here until then too.
type Quota struct {
	Limiter     string
	Limit       int
	Remaining   int
	PausedUntil time.Time
}

// Status as above.
type Status struct {
	Platform, Breaker string
	BreakerUntil      time.Time
	Quota
	LastError   string
	LastErrorAt time.Time
}
