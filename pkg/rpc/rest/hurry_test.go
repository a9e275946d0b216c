package rest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deaf asks for something and reads nothing of the answer.
func deaf(t *testing.T, server *httptest.Server) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
}

func TestHurried_CallerStopsReading_IsLeft(t *testing.T) {
	left := make(chan error, 1)
	piece := []byte(strings.Repeat("x", 1<<20))
	server := httptest.NewServer(hurried(100*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for { // more than any buffer between here and there holds
			if _, err := w.Write(piece); err != nil {
				left <- err
				return
			}
			w.(http.Flusher).Flush()
		}
	})))
	defer server.Close()
	deaf(t, server)
	require.ErrorIs(t, <-left, os.ErrDeadlineExceeded)
}

// A stream that is quiet for longer than the time is not cut off: the time is for reading, not for waiting.
func TestHurried_QuietStream_GoesOn(t *testing.T) {
	server := httptest.NewServer(hurried(50*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = fmt.Fprintln(w, "event")
			w.(http.Flusher).Flush()
			quiet := time.NewTimer(120 * time.Millisecond)
			<-quiet.C
		}
	})))
	defer server.Close()
	for range 2 { // on one connection: the deadline of an answer does not hit the next
		answer, err := server.Client().Get(server.URL)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, "event\nevent\nevent\n", string(body))
	}
}
