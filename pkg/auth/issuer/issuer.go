// Package issuer is a token issuer for development and tests. It speaks the part of Amazon Cognito that NthLayer and
// its clients use (discovery, key set, client credentials), so that development needs no switch that turns
// authentication off: the services verify its tokens exactly as they verify Cognito's.
//
// Whoever can reach it and knows a client's secret gets a token: serve it on loopback only.
package issuer

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

const (
	tokenLifetime = time.Hour // Cognito's default
	maxFormBytes  = 16 << 10
)

// Client is a program that may ask for tokens with its own credentials.
type Client struct {
	Secret string
	Scopes []string // what it may ask for, and gets where it asks for nothing
}

// Config describes an issuer. Key is kept by the caller: as long as it is the same, tokens stay good over restarts.
type Config struct {
	URL      string            // the issuer's name in tokens and the base of its addresses
	Audience string            // the aud of every token, and the client_id of those made with Token
	Key      *ecdsa.PrivateKey // P-256
	Clients  map[string]Client // by client_id
	Now      func() time.Time
}

// Issuer signs tokens and, as an http.Handler, publishes its key.
type Issuer struct {
	url      string
	audience string
	clients  map[string]Client
	now      func() time.Time
	key      jwk.Key
	header   jws.Headers
	mux      *http.ServeMux
}

// New makes an Issuer.
func New(c Config) (*Issuer, error) {
	if c.URL == "" || c.Audience == "" || c.Key == nil {
		return nil, fmt.Errorf("issuer: URL, audience and key are needed")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	key, err := jwk.Import(c.Key)
	if err != nil {
		return nil, fmt.Errorf("issuer: import key: %w", err)
	}
	if err := jwk.AssignKeyID(key); err != nil { // the key's thumbprint: another key has another id
		return nil, fmt.Errorf("issuer: name key: %w", err)
	}
	if err := setAll(key, map[string]any{jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: "sig"}); err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("issuer: public key: %w", err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		return nil, fmt.Errorf("issuer: key set: %w", err)
	}
	kid, _ := key.KeyID()
	header := jws.NewHeaders()
	if err := setAll(header, map[string]any{jws.KeyIDKey: kid, jws.TypeKey: "JWT"}); err != nil {
		return nil, err
	}

	i := &Issuer{
		url: strings.TrimSuffix(c.URL, "/"), audience: c.Audience, clients: c.Clients, now: c.Now,
		key: key, header: header, mux: http.NewServeMux(),
	}
	i.mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"issuer":                                i.url,
			"jwks_uri":                              i.url + "/.well-known/jwks.json",
			"token_endpoint":                        i.url + "/oauth2/token",
			"grant_types_supported":                 []string{"client_credentials"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
			"response_types_supported":              []string{"token"},
			"subject_types_supported":               []string{"public"},
		})
	})
	i.mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, set) })
	i.mux.HandleFunc("POST /oauth2/token", i.clientCredentials)
	return i, nil
}

// URL is the issuer's name, as it stands in its tokens.
func (i *Issuer) URL() string { return i.url }

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

// Token makes an access token for a subject.
func (i *Issuer) Token(subject string, scopes []string, ttl time.Duration) (string, error) {
	return i.sign(subject, i.audience, scopes, ttl)
}

func (i *Issuer) sign(subject, clientID string, scopes []string, ttl time.Duration) (string, error) {
	now := i.now()
	payload, err := json.Marshal(map[string]any{
		"iss": i.url, "sub": subject, "client_id": clientID, "aud": i.audience, "token_use": "access", "version": 2,
		"scope": strings.Join(scopes, " "), "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(ttl).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("issuer: encode claims: %w", err)
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), i.key, jws.WithProtectedHeaders(i.header)))
	if err != nil {
		return "", fmt.Errorf("issuer: sign: %w", err)
	}
	return string(token), nil
}

// clientCredentials is RFC 6749 §4.4 as Cognito answers it.
func (i *Issuer) clientCredentials(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	client, known := i.clients[id]
	if !known || client.Secret == "" || !equal(client.Secret, secret) {
		refuse(w, http.StatusBadRequest, "invalid_client")
		return
	}
	scopes := strings.Fields(r.PostForm.Get("scope"))
	if len(scopes) == 0 {
		scopes = client.Scopes
	}
	if slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(client.Scopes, s) }) {
		refuse(w, http.StatusBadRequest, "invalid_scope")
		return
	}
	token, err := i.sign(id, id, scopes, tokenLifetime)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error")
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "expires_in": int(tokenLifetime.Seconds()), "token_type": "Bearer",
	})
}

// equal compares secrets of any length in constant time.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]string{"error": reason})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody is left to tell
}

func setAll(target interface{ Set(string, any) error }, values map[string]any) error {
	for name, value := range values {
		if err := target.Set(name, value); err != nil {
			return fmt.Errorf("issuer: set %s: %w", name, err)
		}
	}
	return nil
}
