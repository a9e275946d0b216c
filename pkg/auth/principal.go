package auth

import "context"

// Principal is whoever asks: a person, or a program under its own name.
type Principal struct {
	Subject  string // the issuer's id of the person or program
	ClientID string // the program through which they ask
	Scopes   []string
	Groups   []string
	Email    string // as the issuer has verified it; empty: the token does not say
}

type principalKey struct{}

// WithPrincipal gives ctx the principal on whose behalf work is done.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom is the principal in ctx; false where nobody was authenticated.
func PrincipalFrom(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
