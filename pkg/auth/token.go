package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	maxTokenBytes = 8 << 10 // Cognito's are 1 to 2 kB, with many groups 4 kB
	maxKeyIDBytes = 256
	clockSkew     = 30 * time.Second
)

// header is what is read of a token's header. Everything else in it, keys above all, is left alone.
type header struct {
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Critical  json.RawMessage `json:"crit"`
}

// parseHeader reads the header of a compact JWS and checks the outer form of the rest.
func parseHeader(token string) (header, error) {
	if len(token) > maxTokenBytes {
		return header{}, fmt.Errorf("it has more than %d bytes", maxTokenBytes)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return header{}, errors.New("it does not have three parts")
	}
	var first []byte
	for i, part := range parts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 {
			return header{}, errors.New("its parts are not base64url")
		}
		if i == 0 {
			first = raw
		}
	}
	var h header
	if err := json.Unmarshal(first, &h); err != nil {
		return header{}, errors.New("its header is not a JSON object")
	}
	switch {
	case h.Algorithm != "RS256" && h.Algorithm != "ES256":
		return header{}, errors.New("its algorithm is neither RS256 nor ES256")
	case h.Critical != nil:
		return header{}, errors.New("its header demands extensions")
	case h.KeyID == "" || len(h.KeyID) > maxKeyIDBytes:
		return header{}, errors.New("it names no key (kid)")
	}
	return h, nil
}

// claims are those of a Cognito access token.
type claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  audience     `json:"aud"`
	ClientID  string       `json:"client_id"`
	TokenUse  string       `json:"token_use"`
	Scope     string       `json:"scope"`
	Groups    []string     `json:"cognito:groups"`
	Email     string       `json:"email"`
	Verified  any          `json:"email_verified"` // Cognito writes true and "true"
	ExpiresAt *numericDate `json:"exp"`
	NotBefore *numericDate `json:"nbf"`
	IssuedAt  *numericDate `json:"iat"`
}

// audience is a string or a list of strings (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// numericDate is seconds since 1970, perhaps with a fraction (RFC 7519 §2).
type numericDate struct{ time.Time }

func (d *numericDate) UnmarshalJSON(raw []byte) error {
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err != nil {
		return err
	}
	if seconds < 0 || seconds > 1<<40 { // the year 36812: nobody's clock, and far from overflowing time.Time
		return fmt.Errorf("%v is not a date", seconds)
	}
	whole, fraction := math.Modf(seconds)
	d.Time = time.Unix(int64(whole), int64(fraction*float64(time.Second)))
	return nil
}

func (c claims) principal() Principal {
	p := Principal{Subject: c.Subject, ClientID: c.ClientID, Scopes: strings.Fields(c.Scope), Groups: c.Groups}
	if c.Verified == true || c.Verified == "true" {
		p.Email = c.Email
	}
	return p
}
