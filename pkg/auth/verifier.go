package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	rememberFor  = 5 * time.Minute
	rememberMost = 10_000 // tokens; about 5 MB
)

// Config says whose tokens are taken. Issuer and Audiences are required.
type Config struct {
	Issuer    string   // the exact iss; for Cognito https://cognito-idp.<region>.amazonaws.com/<pool>
	KeySetURL string   // empty: Issuer + "/.well-known/jwks.json"
	Audiences []string // accepted values of aud or, as Cognito's access tokens have no aud, of client_id
	Client    *http.Client
	Now       func() time.Time
	Log       *slog.Logger
}

// Verifier checks bearer tokens. It is safe for concurrent use.
type Verifier struct {
	issuer    string
	audiences []string
	keys      *keySet
	verified  *recent
	now       func() time.Time
}

// NewVerifier makes a Verifier. It fetches nothing yet; see Ready.
func NewVerifier(c Config) (*Verifier, error) {
	if c.Issuer == "" || len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		return nil, fault.New(fault.Invalid, "tokens cannot be checked without an issuer and an audience: set both", nil)
	}
	if c.KeySetURL == "" {
		c.KeySetURL = strings.TrimSuffix(c.Issuer, "/") + "/.well-known/jwks.json"
	}
	if err := confidential(c.KeySetURL); err != nil {
		return nil, fault.New(fault.Invalid, "the address of the issuer's keys is not usable: "+err.Error(), err)
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: keySetTimeout}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Verifier{
		issuer:    c.Issuer,
		audiences: c.Audiences,
		keys:      &keySet{url: c.KeySetURL, client: c.Client, now: c.Now, log: c.Log},
		verified:  newRecent(rememberMost),
		now:       c.Now,
	}, nil
}

// confidential refuses addresses whose answer anybody on the way could replace: whoever writes the key set writes
// tokens.
func confidential(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return errors.New("it is not an absolute URL")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) {
		return nil
	}
	return errors.New("use https (http is taken on loopback only)")
}

// Ready reports whether tokens can be checked, fetching the keys where there are none.
func (v *Verifier) Ready(ctx context.Context) error {
	if _, _, age := v.keys.lookup(""); age < keySetUsable {
		return nil
	}
	if _, err := v.keys.find(ctx, ""); err != nil && !errors.Is(err, errUnknownKey) {
		return err
	}
	return nil
}

// Verify gives the principal of a token. The fault is Unauthenticated where the token is at fault, Unavailable where
// the issuer's keys cannot be had.
func (v *Verifier) Verify(ctx context.Context, token string) (Principal, error) {
	if len(token) > maxTokenBytes { // before hashing it
		return Principal{}, refuse(fmt.Sprintf("it has more than %d bytes", maxTokenBytes))
	}
	digest := sha256.Sum256([]byte(token))
	if hit, ok := v.verified.get(digest, v.now()); ok {
		if _, err := v.keys.find(ctx, hit.kid); err == nil {
			return hit.principal, nil
		}
	}
	h, err := parseHeader(token)
	if err != nil {
		return Principal{}, refuse(err.Error())
	}
	key, err := v.keys.find(ctx, h.KeyID)
	if errors.Is(err, errUnknownKey) {
		return Principal{}, refuse("the issuer did not sign it (unknown kid)")
	} else if err != nil {
		return Principal{}, err
	}
	if key.algorithm.String() != h.Algorithm {
		return Principal{}, refuse("its algorithm is not the one of its key")
	}
	payload, err := jws.VerifyCompactFast(key.key, []byte(token), key.algorithm)
	if err != nil {
		return Principal{}, refuse("its signature is wrong")
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Principal{}, refuse("its claims are not well-formed")
	}
	now := v.now()
	if problem := v.check(c, now); problem != "" {
		return Principal{}, refuse(problem)
	}
	principal := c.principal()
	until := now.Add(rememberFor)
	if expiry := c.ExpiresAt.Add(clockSkew); expiry.Before(until) {
		until = expiry
	}
	v.verified.put(digest, remembered{principal: principal, kid: h.KeyID, until: until})
	return principal, nil
}

// check says what is wrong with the claims of a signed token; empty: nothing.
func (v *Verifier) check(c claims, now time.Time) string {
	switch {
	case c.Issuer != v.issuer:
		return "it is from another issuer"
	case c.TokenUse != "access": // an ID token tells a program who logged in; it is not a key to this API
		return "it is not an access token (token_use)"
	case !v.meantForUs(c):
		return "it is for another audience"
	case c.Subject == "":
		return "it has no subject"
	case c.ExpiresAt == nil:
		return "it has no expiry"
	case !now.Before(c.ExpiresAt.Add(clockSkew)):
		return "it has expired; get a new one"
	case c.NotBefore != nil && now.Add(clockSkew).Before(c.NotBefore.Time),
		c.IssuedAt != nil && now.Add(clockSkew).Before(c.IssuedAt.Time):
		return "it is not valid yet"
	}
	return ""
}

// meantForUs: a token that names audiences must name ours. Only without any does client_id count.
func (v *Verifier) meantForUs(c claims) bool {
	if len(c.Audience) == 0 {
		return slices.Contains(v.audiences, c.ClientID)
	}
	return slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(v.audiences, a) })
}

func refuse(problem string) error {
	return fault.New(fault.Unauthenticated, "the token is refused: "+problem, nil).WithReason("TOKEN_REFUSED")
}
