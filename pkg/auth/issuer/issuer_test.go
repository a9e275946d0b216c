package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/auth/issuer"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) (*issuer.Issuer, *auth.Verifier, *http.Client) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	i, err := issuer.New(issuer.Config{
		URL: server.URL, Audience: "nthlayer", Key: key,
		Clients: map[string]issuer.Client{"cli": {Secret: "s3cret", Scopes: []string{"nthlayer/viewer", "nthlayer/operator"}}},
	})
	require.NoError(t, err)
	handler = i
	verifier, err := auth.NewVerifier(auth.Config{Issuer: i.URL(), Audiences: []string{"nthlayer"}, Client: server.Client()})
	require.NoError(t, err)
	t.Cleanup(server.Client().CloseIdleConnections)
	return i, verifier, server.Client()
}

func TestToken_IsVerifiedLikeCognitos(t *testing.T) {
	i, verifier, _ := start(t)
	token, err := i.Token("alice", []string{"nthlayer/admin"}, time.Minute)
	require.NoError(t, err)
	p, err := verifier.Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, auth.Principal{Subject: "alice", ClientID: "nthlayer", Scopes: []string{"nthlayer/admin"}}, p)

	expired, err := i.Token("alice", nil, -time.Minute)
	require.NoError(t, err)
	_, err = verifier.Verify(t.Context(), expired)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
}

func TestClientCredentials(t *testing.T) {
	i, verifier, client := start(t)
	post := func(form url.Values, basic ...string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL()+"/oauth2/token", strings.NewReader(form.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if len(basic) == 2 {
			req.SetBasicAuth(basic[0], basic[1])
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var body map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		return resp.StatusCode, body
	}
	grant := url.Values{"grant_type": {"client_credentials"}}

	status, body := post(grant, "cli", "s3cret")
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 3600, body["expires_in"])
	p, err := verifier.Verify(t.Context(), body["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, auth.Principal{Subject: "cli", ClientID: "cli", Scopes: []string{"nthlayer/viewer", "nthlayer/operator"}}, p)

	status, body = post(url.Values{"grant_type": {"client_credentials"}, "client_id": {"cli"}, "client_secret": {"s3cret"}, "scope": {"nthlayer/viewer"}})
	require.Equal(t, http.StatusOK, status)
	p, err = verifier.Verify(t.Context(), body["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, []string{"nthlayer/viewer"}, p.Scopes)

	for name, tc := range map[string]struct {
		form   url.Values
		basic  []string
		reason string
	}{
		"wrong secret":   {grant, []string{"cli", "guess"}, "invalid_client"},
		"unknown client": {grant, []string{"root", "s3cret"}, "invalid_client"},
		"no client":      {grant, nil, "invalid_client"},
		"other grant":    {url.Values{"grant_type": {"password"}}, []string{"cli", "s3cret"}, "unsupported_grant_type"},
		"foreign scope":  {url.Values{"grant_type": {"client_credentials"}, "scope": {"nthlayer/admin"}}, []string{"cli", "s3cret"}, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := post(tc.form, tc.basic...)
			require.Equal(t, http.StatusBadRequest, status)
			require.Equal(t, tc.reason, body["error"])
		})
	}
}
