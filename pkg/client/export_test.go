package client

import (
	"context"
	"time"
)

// WithSleep replaces waiting, and takes chance out of it.
func WithSleep(sleep func(context.Context, time.Duration) error) Option {
	return func(o *options) error {
		o.retry.sleep, o.retry.random = sleep, func() float64 { return 0 }
		return nil
	}
}

// Target is the address that the client was made for.
func (c *Client) Target() string { return c.conn.Target() }
