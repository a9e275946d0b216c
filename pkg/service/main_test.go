package service_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/service"
)

type exampleConfig struct {
	config.Process
	Slack config.Slack
}

var environ = []string{"NTHLAYER_ADMIN_ADDR=127.0.0.1:0", "NTHLAYER_SLACK_TOKEN=s3cr3t"}

func nothing(context.Context, *service.Service, exampleConfig) error { return nil }

func run(ctx context.Context, wire service.Wire[exampleConfig], environ []string, args ...string) (code int, stdout, stderr string) {
	var out, logged bytes.Buffer
	code = service.Run(ctx, service.Invocation{Name: "example", Args: args, Environ: environ, Stdout: &out, Stderr: &logged}, wire)
	return code, out.String(), logged.String()
}

func TestCheckConfig_Usable_PrintsItWithoutSecrets(t *testing.T) {
	code, out, _ := run(t.Context(), nil, environ, "--check-config")
	require.Zero(t, code)
	require.Contains(t, out, "NTHLAYER_SLACK_TOKEN=[redacted]\n")
	require.NotContains(t, out, "s3cr3t")
}

func TestCheckConfig_NotUsable_SaysWhatToDo(t *testing.T) {
	code, _, stderr := run(t.Context(), nil, []string{"NTHLAYER_LOG_LEVEL=loud"}, "--check-config")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "NTHLAYER_SLACK_TOKEN is not set")
	require.Contains(t, stderr, "NTHLAYER_LOG_LEVEL cannot be read")
}

func TestConfigDoc_DescribesTheVariables(t *testing.T) {
	code, out, _ := run(t.Context(), nil, nil, "--config-doc")
	require.Zero(t, code)
	var variables []config.Variable
	require.NoError(t, json.Unmarshal([]byte(out), &variables))
	require.Len(t, variables, 6)
}

func TestArguments_Unknown_AreAUsageError(t *testing.T) {
	code, _, stderr := run(t.Context(), nil, environ, "serve")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "takes no arguments")
	code, _, _ = run(t.Context(), nil, environ, "--port=1")
	require.Equal(t, 2, code)
}

func TestRun_WiringFails_ClosesWhatWasBuiltAndExitsOne(t *testing.T) {
	closed := false
	code, _, stderr := run(t.Context(), func(_ context.Context, s *service.Service, _ exampleConfig) error {
		s.Close("database", func(context.Context) error { closed = true; return nil })
		s.Go("relay", func(context.Context) error { panic("nothing runs before the wiring is done") })
		return errors.New("no database")
	}, environ)
	require.Equal(t, 1, code)
	require.True(t, closed)
	require.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %s", stderr)
	require.Contains(t, stderr, "no database")
}

func TestRun_AdminAddressTaken_SaysSo(t *testing.T) {
	code, _, stderr := run(t.Context(), nothing, []string{"NTHLAYER_ADMIN_ADDR=256.0.0.1:1", "NTHLAYER_SLACK_TOKEN=x"})
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "NTHLAYER_ADMIN_ADDR")
}

// TestRun_Readiness_FollowsTheLife asks a running service what it says of itself, before, in and after its work.
func TestRun_Readiness_FollowsTheLife(t *testing.T) {
	logs, logsIn := io.Pipe()
	lines := bufio.NewScanner(logs)
	ctx, stop := context.WithCancel(t.Context())
	databaseAway := make(chan bool, 1)
	draining, drained := make(chan struct{}), make(chan struct{})
	code := make(chan int, 1)
	go func() {
		code <- service.Run(ctx, service.Invocation{Name: "example", Environ: environ, Stdout: io.Discard, Stderr: logsIn},
			func(_ context.Context, s *service.Service, _ exampleConfig) error {
				s.Ready("database", func(context.Context) error {
					if <-databaseAway {
						return fault.New(fault.Unavailable, "the database is away", errors.New("10.0.0.1 refused"))
					}
					return nil
				})
				s.Serve("consumer", func(ctx context.Context) error {
					<-ctx.Done()
					close(draining)
					<-drained
					return nil
				})
				return nil
			})
		logsIn.Close()
	}()

	require.True(t, lines.Scan())
	var line struct {
		Msg, Service string
		Addr         string `json:"admin_addr"`
	}
	require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
	require.Equal(t, "service started", line.Msg)
	require.Equal(t, "example", line.Service)
	go func() { // the rest of the log
		for lines.Scan() {
		}
	}()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		resp, err := client.Get("http://" + line.Addr + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	databaseAway <- false
	status, body := get("/readyz")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"ready":true,"state":"running","checks":{"database":"ok"}}`, body)

	databaseAway <- true
	status, body = get("/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"ready":false,"state":"running","checks":{"database":"the database is away"}}`, body)

	stop()
	<-draining
	status, body = get("/readyz")
	require.Equal(t, 503, status)
	require.JSONEq(t, `{"ready":false,"state":"stopping"}`, body)
	status, _ = get("/healthz")
	require.Equal(t, 200, status, "a draining service is alive")
	close(drained)
	require.Zero(t, <-code)
}
