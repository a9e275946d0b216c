package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// endpoint is the issuer's key set on a bubble's clock.
type endpoint struct {
	set   string
	away  atomic.Bool
	asked atomic.Int32
}

func (e *endpoint) RoundTrip(*http.Request) (*http.Response, error) {
	e.asked.Add(1)
	if e.away.Load() {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(e.set))}, nil
}

// bubble is a verifier on the bubble's clock, its issuer, and the maker of its tokens.
func bubble(t *testing.T) (*endpoint, *Verifier, func(kid string, lifetime time.Duration) string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := jwk.PublicKeyOf(key)
	require.NoError(t, err)
	require.NoError(t, public.Set(jwk.KeyIDKey, "k"))
	set, err := json.Marshal(map[string]any{"keys": []any{public}})
	require.NoError(t, err)
	e := &endpoint{set: string(set)}
	v, err := NewVerifier(Config{Issuer: fuzzIssuer, Audiences: []string{"ours"}, Client: &http.Client{Transport: e}})
	require.NoError(t, err)
	return e, v, func(kid string, lifetime time.Duration) string {
		header := jws.NewHeaders()
		require.NoError(t, header.Set(jws.KeyIDKey, kid))
		payload := fmt.Sprintf(`{"iss":%q,"sub":"alice","client_id":"ours","token_use":"access","exp":%d}`, fuzzIssuer, time.Now().Add(lifetime).Unix())
		token, err := jws.Sign([]byte(payload), jws.WithKey(jwa.ES256(), key, jws.WithProtectedHeaders(header)))
		require.NoError(t, err)
		return string(token)
	}
}

func TestKeySet_ADayOfUse_IsFetchedFourTimesAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, v, token := bubble(t)
		one := token("k", 25*time.Hour)
		for range 24 * 60 {
			_, err := v.Verify(t.Context(), one)
			require.NoError(t, err)
			synctest.Wait() // a fetch in the background ends
			time.Sleep(time.Minute)
		}
		require.EqualValues(t, 24*4, e.asked.Load())
	})
}

func TestKeySet_FloodOfUnknownKeys_IsOneFetchInHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, v, token := bubble(t)
		foreign := token("unknown", time.Hour)
		for range 600 { // ten minutes, one a second
			_, err := v.Verify(t.Context(), foreign)
			require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
			time.Sleep(time.Second)
		}
		require.EqualValues(t, 20, e.asked.Load())
	})
}

func TestKeySet_EndpointAwayForTwoDays_LastSetIsGoodForOneAndComesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, v, token := bubble(t)
		check := func() error {
			_, err := v.Verify(t.Context(), token("k", time.Hour))
			synctest.Wait()
			return err
		}
		require.NoError(t, check())
		e.away.Store(true)
		time.Sleep(keySetUsable - time.Second)
		require.NoError(t, check())
		time.Sleep(time.Second)
		before := e.asked.Load()
		for range 60 {
			require.Equal(t, fault.Unavailable, fault.KindOf(check()))
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, e.asked.Load()-before, int32(2), "a dead endpoint is asked twice a minute")
		e.away.Store(false)
		time.Sleep(keySetInterval)
		require.NoError(t, check())
	})
}

func TestRecent_Token_IsRememberedForFiveMinutesAndNeverPastItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, token := bubble(t)
		for lifetime, remembered := range map[time.Duration]time.Duration{
			time.Hour: rememberFor, time.Minute: time.Minute + clockSkew, rememberFor: rememberFor,
		} {
			one := token("k", lifetime)
			_, err := v.Verify(t.Context(), one)
			require.NoError(t, err)
			known := func() bool {
				_, ok := v.verified.get(sha256.Sum256([]byte(one)), time.Now())
				return ok
			}
			time.Sleep(remembered - time.Nanosecond)
			require.True(t, known(), lifetime)
			_, err = v.Verify(t.Context(), one)
			require.NoError(t, err, "being asked for it does not make it be remembered longer")
			time.Sleep(time.Nanosecond)
			require.False(t, known(), lifetime)
		}
	})
}
