package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// counted counts how often a credential is read again.
type counted struct {
	upstream.Credentials
	refetches atomic.Int64
	takes     time.Duration
	fails     error
}

func (c *counted) Refetch(ctx context.Context) error {
	c.refetches.Add(1)
	time.Sleep(c.takes) // virtual time
	if c.fails != nil {
		return c.fails
	}
	return c.Credentials.Refetch(ctx)
}

// tokenFile is a file with a token, and the credential that reads it.
func tokenFile(t *testing.T, token string) (path string, credential *counted) {
	path = filepath.Join(t.TempDir(), "token")
	rotate(t, path, token)
	read, err := config.FromFile(t.Context(), path)
	require.NoError(t, err)
	return path, &counted{Credentials: read}
}

func rotate(t *testing.T, path, token string) {
	require.NoError(t, os.WriteFile(path+".new", []byte(token+"\n"), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// takes answers 200 to the token and 401 to every other one, each after a second.
func takes(token *atomic.Value) step {
	return func(req *http.Request) (*http.Response, error) {
		status := http.StatusUnauthorized
		if req.Header.Get("Authorization") == "Token token="+token.Load().(string) {
			status = http.StatusOK
		}
		select {
		case <-time.After(time.Second):
			return answer(status, "")(req)
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
}

func rotating(p *platform, credential upstream.Credentials, adjust ...func(*upstream.Config)) *upstream.Transport {
	return transport(p, append(adjust, func(c *upstream.Config) {
		c.Credentials, c.Scheme = credential, "Token token="
	})...)
}

func TestCredentials_TokenReplacedUnderARunningClient_ManyCallsAtOnceRefetchItOnce(t *testing.T) {
	path, credential := tokenFile(t, "old")
	synctest.Test(t, func(t *testing.T) {
		var valid atomic.Value
		valid.Store("old")
		p := &platform{steps: []step{takes(&valid)}}
		tr := rotating(p, credential)
		got, err := send(t.Context(), tr, "GET", "")
		require.NoError(t, err)
		require.Equal(t, 200, got.Status)
		require.Zero(t, credential.refetches.Load())

		valid.Store("new")
		rotate(t, path, "new")
		credential.takes = 500 * time.Millisecond
		var calls sync.WaitGroup
		for i := range 20 {
			calls.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // before, during and after the refetch
				got, err := send(t.Context(), tr, "POST", "{}")
				if err != nil || got.Status != 200 {
					t.Errorf("HTTP %d, %v", got.Status, err)
				}
			})
		}
		calls.Wait()
		require.EqualValues(t, 1, credential.refetches.Load())
	})
}

// The control: without a source of credentials the token that a client was made with stays, and so does the 401.
func TestControl_FixedToken_StaysRefusedAfterTheRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var valid atomic.Value
		valid.Store("new")
		p := &platform{steps: []step{takes(&valid)}}
		for range 3 {
			got, err := send(t.Context(), rotating(p, config.Fixed(config.NewSecret("old"))), "GET", "")
			require.NoError(t, err)
			require.Equal(t, 401, got.Status)
		}
	})
}

func TestCredentials_RefusedAndUnchanged_The401StandsWithoutARepetition(t *testing.T) {
	for name, fails := range map[string]error{"the same again": nil, "cannot be read": errors.New("no such file")} {
		t.Run(name, func(t *testing.T) {
			_, credential := tokenFile(t, "old")
			credential.fails = fails
			synctest.Test(t, func(t *testing.T) {
				p := &platform{steps: []step{answer(401, "")}}
				got, err := send(t.Context(), rotating(p, credential), "GET", "")
				require.NoError(t, err)
				require.Equal(t, 401, got.Status)
				require.Equal(t, 1, p.calls())
				require.EqualValues(t, 1, credential.refetches.Load())
			})
		})
	}
}

func TestCredentials_NewOneIsRefusedAsWell_CallEndsAfterOneRepetition(t *testing.T) {
	path, credential := tokenFile(t, "old")
	rotate(t, path, "new")
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(401, "")}}
		got, err := send(t.Context(), rotating(p, credential), "GET", "")
		require.NoError(t, err)
		require.Equal(t, 401, got.Status)
		require.Equal(t, 2, p.calls())
	})
}

func TestCredentials_OneAttemptAllowed_RotationIsStillRepeatedOnce(t *testing.T) {
	path, credential := tokenFile(t, "old")
	rotate(t, path, "new")
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(401, ""), answer(200, "")}}
		got, err := send(t.Context(), rotating(p, credential, func(c *upstream.Config) { c.Attempts = 1 }), "PUT", `{"role":"manager"}`)
		require.NoError(t, err)
		require.Equal(t, 200, got.Status)
		require.Equal(t, `{"role":"manager"}`, p.bodies[1], "with its body")
	})
}

func TestCredentials_CallThatMayNotBeRepeated_RefetchesForTheNext(t *testing.T) {
	path, credential := tokenFile(t, "old")
	rotate(t, path, "new")
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(401, ""), answer(200, "")}}
		tr := rotating(p, credential)
		got, err := send(upstream.WithRepeat(t.Context(), upstream.Never), tr, "GET", "")
		require.NoError(t, err)
		require.Equal(t, 401, got.Status)
		require.Equal(t, "new", credential.Current().Reveal())
	})
}

func TestCredentials_CallerGivesUpDuringTheRefetch_OthersGetTheNewOne(t *testing.T) {
	path, credential := tokenFile(t, "old")
	rotate(t, path, "new")
	credential.takes = 5 * time.Second
	synctest.Test(t, func(t *testing.T) {
		var valid atomic.Value
		valid.Store("new")
		tr := rotating(&platform{steps: []step{takes(&valid)}}, credential)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _ = send(ctx, tr, "GET", "")
		require.Equal(t, "old", credential.Current().Reveal())
		got, err := send(t.Context(), tr, "GET", "")
		require.NoError(t, err)
		require.Equal(t, 200, got.Status)
		require.EqualValues(t, 1, credential.refetches.Load())
	})
}

func TestCredentials_NothingShowsThem(t *testing.T) {
	const secret = "s3cret-t0ken"
	_, credential := tokenFile(t, secret)
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(401, ""), broken(errReset), broken(errReset)}}
		tr := rotating(p, credential, func(c *upstream.Config) { c.Log = log })
		ctx, calls := upstream.Record(t.Context())
		_, _ = send(ctx, tr, "GET", "")
		_, err := send(ctx, tr, "PUT", "")
		require.Error(t, err)
		fmt.Fprintf(&out, "%v %+v %#v %+v %+v %+v", err, err, err, tr.Status(), calls.List(), credential)
		log.Info("status", "status", tr.Status(), "credential", credential.Credentials)
	})
	require.Contains(t, out.String(), "refuses the credential")
	require.NotContains(t, out.String(), secret)

	// The control: the value is there to be shown.
	fmt.Fprint(&out, credential.Current().Reveal())
	require.Contains(t, out.String(), secret)
}

// A platform may repeat what it refuses, whole and without the word before it.
func TestCredentials_PlatformRepeatsTheKey_ItStaysInside(t *testing.T) {
	const secret = "k3y-that-nobody-may-see"
	for _, status := range []int{400, 401, 422, 500} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"message":"the key `+secret+` is unknown"}}`)
		}))
		way := upstream.New(upstream.Config{
			Platform: "pagerduty", Attempts: 1, Scheme: "Token token=", Credentials: config.Fixed(config.NewSecret(secret)),
		})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		answer, err := upstream.Read(way.Client().Do(request))
		require.NoError(t, err)
		require.NotContains(t, string(answer.Body), secret)
		require.Contains(t, string(answer.Body), "is unknown")
		require.NoError(t, way.Close())
		server.Close()
	}
}
