package upstream

import "context"

// WithPermit has every attempt under ctx ask first, at the last moment before it is handed to the network: after the
// waits for quota, breaker and back-off, in which a process may have been frozen and have lost what it works on. When ask
// returns an error nothing is sent and the call ends with that error, at once and without a word about the platform.
func WithPermit(ctx context.Context, ask func() error) context.Context {
	return context.WithValue(ctx, permitKey, ask)
}

func permit(ctx context.Context) error {
	if ask, ok := ctx.Value(permitKey).(func() error); ok {
		return ask()
	}
	return nil
}
