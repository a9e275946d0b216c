package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer   = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_TEST"
	testAudience = "nthlayer-app"
)

// world is an issuer's key set behind HTTP, a clock and a verifier that looks at both.
type world struct {
	t        *testing.T
	verifier *auth.Verifier

	mu      sync.Mutex
	now     time.Time
	keys    map[string]any // kid to private key
	answer  http.HandlerFunc
	fetches atomic.Int32
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), keys: map[string]any{}}
	w.addKey("ec-1", newEC(t, elliptic.P256()))
	server := httptest.NewServer(http.HandlerFunc(w.serveKeys))
	t.Cleanup(server.Close)
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	verifier, err := auth.NewVerifier(auth.Config{
		Issuer: testIssuer, KeySetURL: server.URL, Audiences: []string{testAudience}, Client: client,
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
		Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	w.verifier = verifier
	return w
}

func (w *world) serveKeys(rw http.ResponseWriter, r *http.Request) {
	w.fetches.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answer != nil {
		w.answer(rw, r)
		return
	}
	set := jwk.NewSet()
	for kid, private := range w.keys {
		key, err := jwk.PublicKeyOf(private)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = key.Set(jwk.KeyIDKey, kid)
		_ = set.AddKey(key)
	}
	_ = json.NewEncoder(rw).Encode(set)
}

func (w *world) addKey(kid string, key any) { w.mu.Lock(); defer w.mu.Unlock(); w.keys[kid] = key }
func (w *world) dropKey(kid string)         { w.mu.Lock(); defer w.mu.Unlock(); delete(w.keys, kid) }
func (w *world) advance(d time.Duration)    { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }
func (w *world) answerWith(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = h
}

func (w *world) claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": testIssuer, "sub": "alice", "client_id": testAudience, "token_use": "access",
		"scope": "nthlayer/viewer openid", "cognito:groups": []string{"nthlayer-operator"},
		"iat": w.now.Unix(), "exp": w.now.Add(time.Hour).Unix(),
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (w *world) token(kid string, changes map[string]any) string {
	return sign(w.t, kid, w.keys[kid], w.claims(changes))
}

func (w *world) verify(token string) (auth.Principal, error) {
	return w.verifier.Verify(w.t.Context(), token)
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

func sign(t testing.TB, kid string, key any, claims map[string]any) string {
	alg := jwa.ES256()
	switch key.(type) {
	case *rsa.PrivateKey:
		alg = jwa.RS256()
	case []byte:
		alg = jwa.HS256()
	}
	header := jws.NewHeaders()
	if kid != "" {
		require.NoError(t, header.Set(jws.KeyIDKey, kid))
	}
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	token, err := jws.Sign(payload, jws.WithKey(alg, key, jws.WithProtectedHeaders(header)))
	require.NoError(t, err)
	return string(token)
}

// rawToken joins any header and claims with any signature.
func rawToken(t testing.TB, header, claims map[string]any, signature string) string {
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return encode(header) + "." + encode(claims) + "." + signature
}

func TestVerify_GoodToken_GivesPrincipal(t *testing.T) {
	w := newWorld(t)
	w.addKey("rsa-1", newRSA(t, 2048))
	for _, kid := range []string{"ec-1", "rsa-1"} {
		p, err := w.verify(w.token(kid, nil))
		require.NoError(t, err)
		require.Equal(t, auth.Principal{
			Subject: "alice", ClientID: testAudience,
			Scopes: []string{"nthlayer/viewer", "openid"}, Groups: []string{"nthlayer-operator"},
		}, p)
	}
	for name, changes := range map[string]map[string]any{
		"audience in a list, not the client": {"aud": []string{"other", testAudience}, "client_id": "cli"},
		"audience as a string":               {"aud": testAudience, "client_id": "cli"},
		"expired within the skew":            {"exp": w.now.Add(-29 * time.Second).Unix()},
		"valid within the skew":              {"nbf": w.now.Add(29 * time.Second).Unix()},
		"no iat":                             {"iat": nil},
		"fraction in exp":                    {"exp": float64(w.now.Unix()) + 60.5},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify(w.token("ec-1", changes))
			require.NoError(t, err)
		})
	}
}

func TestVerify_ForgedOrWrongToken_IsRefused(t *testing.T) {
	w := newWorld(t)
	w.addKey("rsa-1", newRSA(t, 2048))
	good := w.token("ec-1", nil)
	parts := strings.Split(good, ".")
	foreign := newEC(t, elliptic.P256())
	rsaDER, err := x509.MarshalPKIXPublicKey(&w.keys["rsa-1"].(*rsa.PrivateKey).PublicKey)
	require.NoError(t, err)
	embedded, err := jwk.PublicKeyOf(foreign)
	require.NoError(t, err)
	at := func(d time.Duration) int64 { return w.now.Add(d).Unix() }

	withEmbedded := func(kid string) string {
		header := jws.NewHeaders()
		require.NoError(t, header.Set(jws.KeyIDKey, kid))
		require.NoError(t, header.Set(jws.JWKKey, embedded))
		payload, err := json.Marshal(w.claims(nil))
		require.NoError(t, err)
		token, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), foreign, jws.WithProtectedHeaders(header)))
		require.NoError(t, err)
		return string(token)
	}

	for name, token := range map[string]string{
		"empty":                         "",
		"not a token":                   "hello",
		"two parts":                     parts[0] + "." + parts[1],
		"five parts (encrypted)":        good + ".a.b",
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"padded":                        parts[0] + "." + parts[1] + "." + parts[2] + "==",
		"newline inside":                parts[0] + ".\n" + parts[1] + "." + parts[2],
		"huge":                          good + strings.Repeat("A", 1<<20),
		"alg none":                      rawToken(t, map[string]any{"alg": "none", "kid": "ec-1"}, w.claims(nil), ""),
		"alg none with a signature":     rawToken(t, map[string]any{"alg": "none", "kid": "ec-1"}, w.claims(nil), parts[2]),
		"alg nOnE":                      rawToken(t, map[string]any{"alg": "nOnE", "kid": "ec-1"}, w.claims(nil), parts[2]),
		"HS256 with the RSA public key": sign(t, "rsa-1", rsaDER, w.claims(nil)),
		"HS256 with the kid":            sign(t, "ec-1", []byte("ec-1"), w.claims(nil)),
		"RS256 claimed for an EC key":   rawToken(t, map[string]any{"alg": "RS256", "kid": "ec-1"}, w.claims(nil), parts[2]),
		"ES256 claimed for an RSA key":  rawToken(t, map[string]any{"alg": "ES256", "kid": "rsa-1"}, w.claims(nil), parts[2]),
		"ES384":                         rawToken(t, map[string]any{"alg": "ES384", "kid": "ec-1"}, w.claims(nil), parts[2]),
		"no kid":                        sign(t, "", w.keys["ec-1"], w.claims(nil)),
		"kid of another key":            sign(t, "rsa-1", w.keys["ec-1"], w.claims(nil)),
		"kid unknown":                   sign(t, "ec-9", w.keys["ec-1"], w.claims(nil)),
		"kid as a path":                 sign(t, "../../../dev/null", foreign, w.claims(nil)),
		"kid as SQL":                    sign(t, "ec-1' OR '1'='1", foreign, w.claims(nil)),
		"kid too long":                  sign(t, strings.Repeat("k", 300), w.keys["ec-1"], w.claims(nil)),
		"kid not a string":              rawToken(t, map[string]any{"alg": "ES256", "kid": []int{1}}, w.claims(nil), parts[2]),
		"foreign key with a known kid":  sign(t, "ec-1", foreign, w.claims(nil)),
		"key embedded in the header":    withEmbedded("ec-1"),
		"crit":                          rawToken(t, map[string]any{"alg": "ES256", "kid": "ec-1", "crit": []string{"b64"}, "b64": false}, w.claims(nil), parts[2]),
		"tampered payload":              rawToken(t, map[string]any{"alg": "ES256", "kid": "ec-1"}, w.claims(map[string]any{"sub": "root"}), parts[2]),
		"other issuer":                  w.token("ec-1", map[string]any{"iss": testIssuer + "2"}),
		"issuer with a slash":           w.token("ec-1", map[string]any{"iss": testIssuer + "/"}),
		"no issuer":                     w.token("ec-1", map[string]any{"iss": nil}),
		"expired":                       w.token("ec-1", map[string]any{"exp": at(-31 * time.Second)}),
		"no expiry":                     w.token("ec-1", map[string]any{"exp": nil}),
		"expiry as text":                w.token("ec-1", map[string]any{"exp": "tomorrow"}),
		"expiry beyond all clocks":      w.token("ec-1", map[string]any{"exp": 1e300}),
		"not yet valid":                 w.token("ec-1", map[string]any{"nbf": at(31 * time.Second)}),
		"issued in the future":          w.token("ec-1", map[string]any{"iat": at(31 * time.Second)}),
		"other client":                  w.token("ec-1", map[string]any{"client_id": "other"}),
		"other audience":                w.token("ec-1", map[string]any{"aud": "other"}),
		"no audience at all":            w.token("ec-1", map[string]any{"client_id": nil}),
		"audience a number":             w.token("ec-1", map[string]any{"aud": 7}),
		"ID token":                      w.token("ec-1", map[string]any{"token_use": "id", "aud": testAudience}),
		"no token_use":                  w.token("ec-1", map[string]any{"token_use": nil}),
		"no subject":                    w.token("ec-1", map[string]any{"sub": nil}),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := w.verify(token)
			require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
			require.Zero(t, p)
			require.NotContains(t, err.Error(), parts[2], "a refusal must not repeat the token")
		})
	}
	_, err = w.verify(good)
	require.NoError(t, err, "control: the good token is accepted")
}

func TestVerify_WeakOrPrivateOrSharedKeysInSet_AreNotUsed(t *testing.T) {
	w := newWorld(t)
	encode := base64.RawURLEncoding.EncodeToString
	private, err := jwk.Import(newEC(t, elliptic.P256()))
	require.NoError(t, err)
	require.NoError(t, private.Set(jwk.KeyIDKey, "private"))
	good, err := jwk.PublicKeyOf(w.keys["ec-1"])
	require.NoError(t, err)
	require.NoError(t, good.Set(jwk.KeyIDKey, "ec-1"))
	p384, err := jwk.PublicKeyOf(newEC(t, elliptic.P384()))
	require.NoError(t, err)
	require.NoError(t, p384.Set(jwk.KeyIDKey, "p384"))
	encryption, err := good.Clone()
	require.NoError(t, err)
	require.NoError(t, encryption.Set(jwk.KeyIDKey, "encryption"))
	require.NoError(t, encryption.Set(jwk.KeyUsageKey, "enc"))
	set := map[string]any{"keys": []any{
		"not a key", map[string]string{"kty": "new", "kid": "strange"},
		map[string]string{"kty": "oct", "kid": "shared", "k": encode([]byte("secretsecretsecretsecretsecretse"))},
		map[string]string{"kty": "RSA", "kid": "weak", "e": "AQAB", "n": encode(newRSA(t, 1024).N.Bytes())},
		private, p384, encryption, good,
	}}
	w.answerWith(func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(set) })
	for _, kid := range []string{"strange", "shared", "weak", "private", "p384", "encryption", ""} {
		_, err := w.verify(sign(t, kid, w.keys["ec-1"], w.claims(nil)))
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), kid)
	}
	_, err = w.verify(sign(t, "shared", []byte("secretsecretsecretsecretsecretse"), w.claims(nil)))
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	_, err = w.verify(w.token("ec-1", nil))
	require.NoError(t, err, "the good key beside them is used")
}

func TestVerify_KeyRotation_NewKeyIsFoundAndOldOneEnds(t *testing.T) {
	w := newWorld(t)
	old := w.token("ec-1", map[string]any{"exp": w.now.Add(24 * time.Hour).Unix()})
	_, err := w.verify(old)
	require.NoError(t, err)
	require.EqualValues(t, 1, w.fetches.Load())

	w.addKey("ec-2", newEC(t, elliptic.P256()))
	w.advance(time.Minute)
	_, err = w.verify(w.token("ec-2", nil))
	require.NoError(t, err, "an unknown kid makes the set be fetched")
	require.EqualValues(t, 2, w.fetches.Load())

	w.dropKey("ec-1")
	w.addKey("ec-3", newEC(t, elliptic.P256()))
	w.advance(time.Minute)
	_, err = w.verify(old)
	require.NoError(t, err, "nobody has seen the removal yet")
	_, err = w.verify(w.token("ec-3", nil))
	require.NoError(t, err)
	_, err = w.verify(old)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "a remembered token ends with its key")
}

func TestVerify_RemovedKey_EndsWithoutAnyUnknownKid(t *testing.T) {
	w := newWorld(t)
	old := w.token("ec-1", map[string]any{"exp": w.now.Add(24 * time.Hour).Unix()})
	_, err := w.verify(old)
	require.NoError(t, err)
	w.addKey("ec-2", newEC(t, elliptic.P256()))
	w.dropKey("ec-1")
	w.advance(16 * time.Minute) // the set is stale: the next use fetches it in the background
	require.Eventually(t, func() bool {
		_, err := w.verify(old)
		return fault.Is(err, fault.Unauthenticated)
	}, 5*time.Second, time.Millisecond)
}

func TestVerify_FloodOfUnknownKids_CostsOneFetchPerInterval(t *testing.T) {
	w := newWorld(t)
	foreign := newEC(t, elliptic.P256())
	_, err := w.verify(w.token("ec-1", nil))
	require.NoError(t, err)
	for round := range 3 {
		w.advance(31 * time.Second)
		before := w.fetches.Load()
		var wg sync.WaitGroup
		for i := range 100 {
			token := sign(t, fmt.Sprintf("kid-%d-%d", round, i), foreign, w.claims(nil))
			wg.Go(func() { _, _ = w.verify(token) })
		}
		wg.Wait()
		require.EqualValues(t, before+1, w.fetches.Load())
	}
}

func TestVerify_ConcurrentFirstUse_FetchesOnce(t *testing.T) {
	w := newWorld(t)
	token := w.token("ec-1", nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := w.verify(token)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, w.fetches.Load())
}

func TestVerify_KeySetEndpointFails_LastGoodSetStays(t *testing.T) {
	w := newWorld(t)
	_, err := w.verify(w.token("ec-1", nil))
	require.NoError(t, err)
	for name, answer := range map[string]http.HandlerFunc{
		"error":     func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
		"no JSON":   func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") },
		"empty set": func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"keys":[]}`) },
		"too large": func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, strings.Repeat(" ", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			w.answerWith(answer)
			w.advance(time.Minute)
			before := w.fetches.Load()
			_, err := w.verify(sign(t, "unknown-"+name, newEC(t, elliptic.P256()), w.claims(nil)))
			require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
			require.Equal(t, before+1, w.fetches.Load())
			_, err = w.verify(w.token("ec-1", nil))
			require.NoError(t, err)
		})
	}
	w.advance(25 * time.Hour)
	_, err = w.verify(w.token("ec-1", nil))
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "but not for ever: %v", err)
}

func TestVerify_NoKeysYet_IsUnavailableNotUnauthenticated(t *testing.T) {
	w := newWorld(t)
	w.answerWith(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	_, err := w.verify(w.token("ec-1", nil))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Error(t, w.verifier.Ready(t.Context()))
	w.answerWith(nil)
	w.advance(time.Second)
	require.NoError(t, w.verifier.Ready(t.Context()))
	_, err = w.verify(w.token("ec-1", nil))
	require.NoError(t, err)
}

func TestVerify_CallerGoesAway_FetchGoesOnForOthers(t *testing.T) {
	w := newWorld(t)
	asked, proceed := make(chan struct{}), make(chan struct{})
	var keys http.HandlerFunc = func(rw http.ResponseWriter, r *http.Request) {
		key, _ := jwk.PublicKeyOf(w.keys["ec-1"])
		_ = key.Set(jwk.KeyIDKey, "ec-1")
		set := jwk.NewSet()
		_ = set.AddKey(key)
		_ = json.NewEncoder(rw).Encode(set)
	}
	w.answerWith(func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-proceed
		keys(rw, r)
	})
	token := sign(t, "ec-1", w.keys["ec-1"], w.claims(nil))
	verifier := w.verifier
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := verifier.Verify(ctx, token); left <- err }()
	<-asked
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	close(proceed)
	_, err := w.verify(token)
	require.NoError(t, err)
	require.EqualValues(t, 1, w.fetches.Load())
}

func TestVerify_RememberedToken_ExpiresOnTime(t *testing.T) {
	w := newWorld(t)
	token := w.token("ec-1", map[string]any{"exp": w.now.Add(time.Minute).Unix()})
	_, err := w.verify(token)
	require.NoError(t, err)
	w.advance(time.Minute + 29*time.Second)
	_, err = w.verify(token)
	require.NoError(t, err)
	w.advance(time.Second)
	_, err = w.verify(token)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
}

func TestNewVerifier_IncompleteOrUnsafeConfig_IsRefused(t *testing.T) {
	for name, c := range map[string]auth.Config{
		"nothing":            {},
		"no audience":        {Issuer: testIssuer},
		"empty audience":     {Issuer: testIssuer, Audiences: []string{""}},
		"no issuer":          {Audiences: []string{"a"}},
		"keys over http":     {Issuer: "http://issuer.example.org", Audiences: []string{"a"}},
		"keys from a file":   {Issuer: testIssuer, KeySetURL: "file:///etc/keys.json", Audiences: []string{"a"}},
		"keys from anything": {Issuer: testIssuer, KeySetURL: "::", Audiences: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.NewVerifier(c)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
}

func FuzzVerify(f *testing.F) {
	key := newEC(f, elliptic.P256())
	public, err := jwk.PublicKeyOf(key)
	require.NoError(f, err)
	require.NoError(f, public.Set(jwk.KeyIDKey, "k"))
	set := jwk.NewSet()
	require.NoError(f, set.AddKey(public))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) }))
	f.Cleanup(server.Close)
	client := server.Client()
	f.Cleanup(client.CloseIdleConnections)
	verifier, err := auth.NewVerifier(auth.Config{Issuer: testIssuer, KeySetURL: server.URL, Audiences: []string{testAudience}, Client: client})
	require.NoError(f, err)
	good := sign(f, "k", key, map[string]any{"iss": testIssuer, "sub": "a", "client_id": testAudience, "token_use": "access", "exp": time.Now().Add(time.Hour).Unix()})
	f.Add(good)
	f.Add("")
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(strings.ToUpper(good))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := verifier.Verify(t.Context(), token)
		if token == good {
			require.NoError(t, err)
			return
		}
		// Only the holder of the key makes tokens; a token is one string, so even another spelling of it is refused.
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%q", token)
		require.Zero(t, p)
	})
}
