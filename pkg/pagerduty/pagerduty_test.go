package pagerduty_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestClient_TokenReplacedInItsFile_NextCallGoesThrough(t *testing.T) {
	valid := "old"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Token token="+valid {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"abilities":["teams"]}`))
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o600))
	credential, err := config.FromFile(t.Context(), path)
	require.NoError(t, err)
	way := upstream.New(pagerduty.Upstream(upstream.Config{Credentials: credential, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(func() { require.NoError(t, way.Close()) })
	c := pagerduty.New(pagerduty.Config{BaseURL: server.URL, HTTP: way.Client()})
	require.NoError(t, c.Probe(t.Context()))

	valid = "new"
	require.Equal(t, fault.Precondition, fault.KindOf(c.Probe(t.Context())), "the file still holds the old one")
	require.NoError(t, os.WriteFile(path, []byte("new\n"), 0o600))
	require.NoError(t, c.Probe(t.Context()))
}
