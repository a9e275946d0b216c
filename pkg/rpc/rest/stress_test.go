package rest_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
)

// What was begun before the stop is answered whole, the listener is closed, and nothing runs on: also where the stop
// comes before the first request.
func TestServe_StartedAndStoppedManyTimes_AnswersWhatWasBegun(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for round := range 100 {
		begun, proceed := make(chan struct{}), make(chan struct{})
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-proceed
			_, _ = io.WriteString(w, "whole")
		})
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- rest.Serve(ctx, lis, handler, time.Minute, quiet) }()
		if round%2 == 0 {
			stop()
			require.NoError(t, <-served)
			_, err = lis.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
			continue
		}
		answered := make(chan string, 1)
		go func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := client.Get("http://" + lis.Addr().String())
			if err != nil {
				answered <- err.Error()
				return
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			answered <- string(body)
		}()
		<-begun
		stop()
		close(proceed)
		require.Equal(t, "whole", <-answered)
		require.NoError(t, <-served)
		_, err = lis.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	}
}
