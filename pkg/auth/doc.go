// Package auth says who asks and what they may do.
//
// A Verifier turns a bearer token into a Principal; Authorize decides whether a Principal may take an action. Both are
// closed by default: a token is refused unless everything about it is right, an action is refused unless a scope or a
// group grants it, and nothing here can be switched off. Development runs its own issuer (package auth/issuer) and
// takes the same way.
//
// Guarantees of the Verifier:
//
//   - RS256 and ES256 only, and the algorithm must be the one of the key that the token names. Keys come from the
//     issuer's key set alone; keys or addresses inside a token (jwk, jku, x5c, x5u) are never looked at.
//   - Issuer, audience, token_use and the times are checked, with 30 s for clocks that differ.
//   - An unknown key id makes the set be fetched again, at most once in 30 s whatever the number of such tokens. A
//     failing endpoint does not take the service down: the last good set stays in use for up to 24 h.
//   - A token that was verified is remembered for at most 5 minutes, never past its expiry, and only while the key set
//     still holds its key: removing a key at the issuer takes effect with the next fetch.
package auth
