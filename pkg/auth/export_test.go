package auth

import "time"

// Advance lets time pass for an Authorizer.
func Advance(a *Authorizer, d time.Duration) {
	now := a.now
	a.now = func() time.Time { return now().Add(d) }
}
