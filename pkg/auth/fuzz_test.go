package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// published answers every request with a document, without a network.
type published []byte

func (p published) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(p)))}, nil
}

const fuzzIssuer = "https://issuer.example.org"

// holder is a verifier and the one who holds the key that it trusts.
type holder struct {
	verifier *Verifier
	key      *ecdsa.PrivateKey
}

func newHolder(f *testing.F) holder {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(f, err)
	public, err := jwk.PublicKeyOf(key)
	require.NoError(f, err)
	require.NoError(f, public.Set(jwk.KeyIDKey, "k"))
	set, err := json.Marshal(map[string]any{"keys": []any{public}})
	require.NoError(f, err)
	v, err := NewVerifier(Config{Issuer: fuzzIssuer, Audiences: []string{"ours"}, Client: &http.Client{Transport: published(set)}})
	require.NoError(f, err)
	return holder{v, key}
}

func (h holder) sign(t testing.TB, header map[string]any, payload []byte) string {
	headers := jws.NewHeaders()
	for name, value := range header {
		require.NoError(t, headers.Set(name, value))
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), h.key, jws.WithProtectedHeaders(headers)))
	require.NoError(t, err)
	return string(token)
}

// FuzzForged: whatever stands in header, payload and signature, nobody but the holder of the key makes a token.
func FuzzForged(f *testing.F) {
	h := newHolder(f)
	payload := []byte(`{"iss":"` + fuzzIssuer + `","sub":"alice","client_id":"ours","token_use":"access","exp":4102444800}`)
	good := h.sign(f, map[string]any{"kid": "k"}, payload)
	part := strings.Split(good, ".")
	signature, err := base64.RawURLEncoding.DecodeString(part[2])
	require.NoError(f, err)
	for _, header := range []string{
		`{"alg":"ES256","kid":"k"}`, `{"alg":"none","kid":"k"}`, `{"alg":"HS256","kid":"k"}`, `{"alg":"RS256","kid":"k"}`,
		`{"alg":"ES256","kid":"k","jwk":{"kty":"EC"}}`, `{"alg":"ES256","kid":"k","crit":["exp"]}`, `{"alg":["ES256"],"kid":"k"}`, `{"kid":{}}`,
	} {
		f.Add([]byte(header), payload, signature)
	}
	f.Add([]byte(`{"alg":"ES256","kid":"k"}`), payload, make([]byte, 64)) // r = s = 0
	f.Fuzz(func(t *testing.T, header, payload, signature []byte) {
		encode := base64.RawURLEncoding.EncodeToString
		token := encode(header) + "." + encode(payload) + "." + encode(signature)
		p, err := h.verifier.Verify(t.Context(), token)
		if err == nil {
			require.Equal(t, part[:2], strings.Split(token, ".")[:2], "somebody else signed")
			return
		}
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
		require.Zero(t, p)
	})
}

// FuzzClaims: a token that the issuer did sign gives a principal only where its claims say that it is an access token
// for us, from this issuer, and good today.
func FuzzClaims(f *testing.F) {
	h := newHolder(f)
	for _, claims := range []string{
		`{"iss":"` + fuzzIssuer + `","sub":"alice","client_id":"ours","token_use":"access","exp":4102444800}`,
		`{"iss":"` + fuzzIssuer + `","sub":"alice","aud":["x","ours"],"token_use":"access","exp":4102444800.5,"nbf":1,"iat":1,"scope":"a b","cognito:groups":["g"]}`,
		`{"iss":"` + fuzzIssuer + `","sub":"alice","aud":"theirs","client_id":"ours","token_use":"access","exp":4102444800}`,
		`{"iss":"` + fuzzIssuer + `","sub":"alice","client_id":"ours","token_use":"id","exp":4102444800}`,
		`{"iss":"` + fuzzIssuer + `","sub":"","client_id":"ours","token_use":"access","exp":1e300}`,
		`{"exp":-1}`, `{"exp":"soon"}`, `{"aud":{}}`, `{"aud":null}`, `null`, `[]`, ``, `{"iss":1}`,
	} {
		f.Add([]byte(claims))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := h.verifier.Verify(t.Context(), h.sign(t, map[string]any{"kid": "k"}, payload))
		if err != nil {
			require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
			require.Zero(t, p)
			return
		}
		var said struct {
			Iss      string          `json:"iss"`
			Sub      string          `json:"sub"`
			Use      string          `json:"token_use"`
			Exp      *float64        `json:"exp"`
			Aud      json.RawMessage `json:"aud"`
			ClientID string          `json:"client_id"`
		}
		require.NoError(t, json.Unmarshal(payload, &said))
		require.Equal(t, []string{fuzzIssuer, "access", p.Subject}, []string{said.Iss, said.Use, said.Sub})
		require.NotEmpty(t, p.Subject)
		require.Greater(t, *said.Exp, float64(time.Now().Add(-clockSkew).Unix())-1)
		require.True(t, said.ClientID == "ours" || strings.Contains(string(said.Aud), "ours"), "it is not for us")
	})
}

// FuzzKeySet: no document takes the good keys away without putting usable ones in their place, and none brings in a key
// that is weak, secret, or without a name.
func FuzzKeySet(f *testing.F) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(f, err)
	for _, document := range []string{
		``, `null`, `[]`, `{}`, `{"keys":null}`, `{"keys":[]}`, `{"keys":[null,1,"x",{}]}`, `{"keys":{"kty":"EC"}}`,
		`{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"AA","y":"AA"}]}`,
		`{"keys":[{"kty":"RSA","kid":"k","e":"AQAB","n":""}]}`, `{"keys":[{"kty":"RSA","kid":"k","e":"AA","n":"AQAB"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		good := map[string]verifyKey{"good": {jwa.ES256(), &ec.PublicKey}}
		s := &keySet{
			url: fuzzIssuer, client: &http.Client{Transport: published(document)}, now: time.Now,
			log: slog.New(slog.DiscardHandler), keys: maps.Clone(good),
		}
		<-s.refresh(t.Context())
		require.NotEmpty(t, s.keys)
		if _, kept := s.keys["good"]; kept && s.fetchedAt.IsZero() {
			require.Equal(t, good, s.keys)
			return
		}
		var set struct{ Keys []json.RawMessage }
		require.NoError(t, json.Unmarshal(document, &set))
		require.LessOrEqual(t, len(s.keys), len(set.Keys))
		for kid, key := range s.keys {
			require.NotEmpty(t, kid)
			switch public := key.key.(type) {
			case *ecdsa.PublicKey:
				require.Equal(t, jwa.ES256(), key.algorithm)
				require.Equal(t, elliptic.P256(), public.Curve)
			case *rsa.PublicKey:
				require.Equal(t, jwa.RS256(), key.algorithm)
				require.GreaterOrEqual(t, public.N.BitLen(), minRSABits)
			default:
				t.Fatalf("%T is no key for tokens", public)
			}
			_, err := s.find(context.Background(), kid)
			require.NoError(t, err)
			// Whatever the numbers of the key, checking a signature with it ends, and this one is not good.
			_, err = jws.VerifyCompactFast(key.key, []byte("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"), key.algorithm)
			require.Error(t, err)
		}
	})
}
