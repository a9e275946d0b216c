package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/telemetry"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// edge is the REST side as strangers meet it; what it logs is thrown away, but made.
func edge(f *testing.F) http.Handler {
	return newHandler(f, &api{events: make(chan *v1.RunEvent)}, telemetry.NewLogger(io.Discard, slog.LevelDebug),
		func(context.Context) error { return nil })
}

// FuzzBody: whatever is posted, it is accepted or the caller's mistake, and answered in JSON. What is accepted named a team
// in one JSON object.
func FuzzBody(f *testing.F) {
	handler := edge(f)
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `"x"`, `{"team_id":"payments"}`, `{"teamId":"payments"}`, `{"team_id":"payments"}{}`, `{"team_id":"payments","team_id":"x"}`,
		`{"team_id":"payments","desired":{"members":[{"email":"a@b.c","role":"manager","name":"\u0000"}]}}`, `{"team_id":"payments","desired":{"name":"\ud800"}}`,
		`{"team_id":"a","source":"cortex","dry_run":true}`, `{"team_id":"a","dry_run":"true"}`, "{\"team_id\":\"\xff\"}", `{"teem_id":1}`,
		strings.Repeat(`{"desired":`, 200), `{"team_id":"a","desired":{"members":[` + strings.Repeat(`{},`, 50) + `{}]}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/v1/teams/reconcile", "/v1/teams/payments:plan"} {
			answer := httptest.NewRecorder()
			request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
			request.Header.Set("Authorization", "Bearer operator")
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Idempotency-Key", "k")
			handler.ServeHTTP(answer, request)

			require.True(t, answer.Code/100 == 2 || answer.Code/100 == 4, "%s answered %d: %s", path, answer.Code, answer.Body)
			require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
			require.True(t, json.Valid(answer.Body.Bytes()), "%s", answer.Body)
			if answer.Code == http.StatusAccepted {
				var said map[string]any
				require.NoError(t, json.Unmarshal(body, &said))
				team, _ := said["team_id"].(string)
				if team == "" {
					team, _ = said["teamId"].(string)
				}
				var accepted map[string]string
				require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &accepted))
				require.Equal(t, "k/"+team, accepted["job_id"])
			}
		}
	})
}

// FuzzTarget: no path and no query makes the server fail, or answer with something that a browser would run.
func FuzzTarget(f *testing.F) {
	handler := edge(f)
	for _, target := range []string{
		"/", "//", "/v1/teams", "/v1/teams?page_size=5&query=pay", "/v1/teams?page_size=x", "/v1/teams?query=%ff", "/v1/teams?query=%00", "/v1/teams?a[b]=c",
		"/v1/teams/a%2Fb", "/v1/teams/%2e%2e", "/v1/teams/%zz", "/v1/teams/%ff", "/v1/teams/a:plan", "/v1/runs/x", "/docs", "/openapi.json", "/readyz?x", "/healthz/",
		"/v1/teams?page_token=AQ&page_token=AQ", "/v1/teams?;", "*", "http://elsewhere/v1/teams", "/v1/teams?page_token=%ff",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target) // net/http answers the rest with 400
		if err != nil || strings.Contains(u.Path, ":watch") {
			return // a stream waits for events, which here nobody sends
		}
		request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		request.URL, request.RequestURI = u, target
		request.Header.Set("Authorization", "Bearer viewer")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		// 501: what this test's server lacks.
		require.True(t, answer.Code < 500 || answer.Code == http.StatusNotImplemented, "%q answered %d: %s", target, answer.Code, answer.Body)
		require.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
		require.NotEmpty(t, answer.Header().Get("X-Request-Id"))
	})
}
