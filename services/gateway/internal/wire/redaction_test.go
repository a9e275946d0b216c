package wire_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// No token, no password and no address comes out of a gateway, whether calls succeed or fail and wherever they fail.
func TestGateway_Secrets_StayInside(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // spans leave while it runs
	var out testkit.Outside
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+testkit.Collector(t, &out))
	parsed, err := url.Parse(s.database)
	require.NoError(t, err)
	password, _ := parsed.User.Password()
	good := s.token("alice", "nthlayer/admin")
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	tokens := map[string]string{
		"good": good, "without scopes": s.token("bob"), "not signed by the issuer": header + "." + payload + "." + signature[:len(signature)-4] + "AAAA",
		"no token at all": "n0-t0ken-s3cr3t",
	}
	bodies := []string{
		`{"team_id":"payments","desired":{"members":[{"email":"ann@example.org","role":"manager","name":"Ann"}]}}`,
		`{"team_id":"payments","desired":{"members":[{"email":"ann@example.org;","role":"manager"}]}}`,
		`{"team_id":"payments","ann@example.org":1}`, `{"team_id":"ann@example.org"}`, `{"ann@example.org`,
	}
	for name, token := range tokens {
		for _, path := range []string{"/v1/teams/reconcile", "/v1/teams/payments:plan"} {
			for _, body := range bodies {
				status, answer, headers := s.call(t, "POST", path, token, body)
				require.Less(t, status, 500, answer)
				if strings.Contains(body, `"payments","desired"`) && strings.Contains(body, `org",`) {
					require.Equal(t, name == "good", status < 300, "%s: %s", name, answer)
				}
				out.Add("answers of "+name, answer+fmt.Sprint(headers))
			}
		}
		for _, path := range []string{"/v1/teams", "/v1/teams/payments", "/v1/schedules", "/v1/deliveries", "/v1/nothing?token=" + token} {
			_, answer, headers := s.call(t, "GET", path, token, "")
			out.Add("answers of "+name, answer+fmt.Sprint(headers))
		}
		c, err := client.New(s.grpc, client.WithPlaintext(), client.WithToken(client.StaticToken(token)))
		require.NoError(t, err)
		_, err = c.Teams.GetTeam(t.Context(), &nthlayerv1.GetTeamRequest{TeamId: "payments"})
		require.Error(t, err)
		out.Add("answers of "+name, err.Error())
		_, err = c.Schedules.ListSchedules(t.Context(), &nthlayerv1.ListSchedulesRequest{}) // what answers there is an impostor
		require.Error(t, err)
		out.Add("answers of "+name, err.Error())
		require.NoError(t, c.Close())
	}
	for _, path := range []string{"/readyz", "/openapi.json", "/docs"} {
		out.Get(t, s.rest+path)
	}
	started := s.logs.await(t.Context(), "service started")
	for _, path := range []string{"/readyz", "/debug/config", "/debug/log-level", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		out.Get(t, "http://"+started["admin_addr"].(string)+path)
	}
	out.Await(t, "spans", "nthlayer.v1.TeamService")

	text, _ := s.logs.text()
	out.Add("log", text)
	require.Contains(t, out.Said("/debug/log-level"), `"is":"debug"`)
	require.Contains(t, out.Said("/debug/config"), "NTHLAYER_DATABASE_URL=[redacted]")
	require.NotEmpty(t, password)
	require.Empty(t, out.Holding(password))
	for name, token := range tokens {
		if name != "no token at all" {
			token = token[strings.LastIndex(token, ".")+1:] // the signature: without it a token is worth nothing
		}
		require.Empty(t, out.Holding(token), "the token %q came out", name)
	}
	for line := range strings.Lines(text) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			require.NotContains(t, line, "example.org", "an e-mail address above debug level")
		}
	}
	require.NotContains(t, out.Said("spans"), "ann@example.org")

	// Control: a handler that logged the header without the logger's redaction would be found.
	out.Add("control", http.Header{"Authorization": {"Bearer " + good}}.Get("Authorization"))
	require.Equal(t, []string{"control"}, out.Holding(signature))
}
