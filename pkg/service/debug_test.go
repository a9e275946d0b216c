package service_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/service"
)

// running is a service with its admin address, and its log lines as they come.
type running struct {
	t     *testing.T
	admin string
	log   *slog.Logger
	lines <-chan string
}

func startService(t *testing.T) *running {
	logs, stderr := io.Pipe()
	lines := make(chan string, 100)
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	r := &running{t: t, lines: lines}
	wired := make(chan struct{})
	go func() {
		code <- service.Run(ctx, service.Invocation{Name: "example", Environ: environ, Stdout: io.Discard, Stderr: stderr},
			func(_ context.Context, s *service.Service, _ exampleConfig) error {
				r.log = s.Log
				close(wired)
				return nil
			})
		_ = stderr.Close()
	}()
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(logs); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-code)
		for range lines { // until the reader has ended
		}
	})
	<-wired
	var started struct {
		Addr string `json:"admin_addr"`
	}
	require.NoError(t, json.Unmarshal([]byte(<-lines), &started))
	r.admin = started.Addr
	return r
}

func (r *running) call(method, path, body string) (int, string) {
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.admin+path, strings.NewReader(body))
	require.NoError(r.t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(r.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, string(answer)
}

func TestDebugConfig_IsWhatCheckConfigPrints_WithoutSecrets(t *testing.T) {
	_, printed, _ := run(t.Context(), nil, environ, "--check-config")
	status, shown := startService(t).call("GET", "/debug/config", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, printed, shown)
	require.Contains(t, shown, "NTHLAYER_SLACK_TOKEN=[redacted]\n")
	require.NotContains(t, shown, "s3cr3t")
}

func TestDebugLogLevel_Put_ChangesWhatIsLoggedFromNowOn(t *testing.T) {
	r := startService(t)
	r.log.Debug("too quiet to be heard")
	status, answer := r.call("PUT", "/debug/log-level", " Debug\n")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"was":"info","is":"debug"}`, answer)
	require.Contains(t, <-r.lines, "log level changed", "what was logged before stays unheard, and the change is heard")
	r.log.Debug("heard")
	require.Contains(t, <-r.lines, "heard")

	status, answer = r.call("GET", "/debug/log-level", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"is":"debug"}`, answer)
}

func TestDebugLogLevel_BadInput_SaysWhatIsTakenAndChangesNothing(t *testing.T) {
	r := startService(t)
	for _, body := range []string{"", "loud", "debug info", "info+2", "-4", strings.Repeat(" ", 1<<20) + "debug"} {
		status, answer := r.call("PUT", "/debug/log-level", body)
		require.Equal(t, http.StatusBadRequest, status, "%.20q", body)
		require.Contains(t, answer, "one of debug, info, warn, error")
	}
	_, answer := r.call("GET", "/debug/log-level", "")
	require.JSONEq(t, `{"is":"info"}`, answer)
	status, _ := r.call("POST", "/debug/log-level", "debug")
	require.Equal(t, http.StatusMethodNotAllowed, status)
}

func TestDebugPprof_ShowsProfilesButNotTheCommandLine(t *testing.T) {
	r := startService(t)
	for _, path := range []string{"", "goroutine?debug=1", "heap", "allocs", "symbol"} {
		status, answer := r.call("GET", "/debug/pprof/"+path, "")
		require.Equal(t, http.StatusOK, status, path)
		require.NotEmpty(t, answer, path)
	}
	status, trace := r.call("GET", "/debug/pprof/trace?seconds=1", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, trace[:16], "trace")
	for _, path := range []string{"cmdline", "nothing"} {
		status, _ := r.call("GET", "/debug/pprof/"+path, "")
		require.Equal(t, http.StatusNotFound, status, path)
	}
	for _, path := range []string{"profile?seconds=x", "profile?seconds=0", "trace?seconds=121", "trace?seconds=-1"} {
		status, answer := r.call("GET", "/debug/pprof/"+path, "")
		require.Equal(t, http.StatusBadRequest, status, path)
		require.Contains(t, answer, "between 1 and 120", path)
	}
}
