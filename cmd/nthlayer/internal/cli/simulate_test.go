package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
)

func TestSimulate_TeamsAndPeople_AreMadeUpForBothSides(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, write := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		terminal := cli.Terminal{Out: write, Err: &errs, Now: time.Now}
		ended <- cli.Run(ctx, terminal, []string{"simulate", "--cortex", "127.0.0.1:0", "--pagerduty", "127.0.0.1:0", "--teams", "200", "--people", "900"})
		_ = write.Close()
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, "%s", errs.String())
	var info system.SimulatorsInfo
	require.NoError(t, json.Unmarshal(line, &info))

	var source, target struct {
		Teams []struct{ Name string }
		Users []struct{ ID string }
	}
	state(t, info.Cortex, &source)
	state(t, info.PagerDuty, &target)
	require.Len(t, source.Teams, 200)
	require.Len(t, target.Teams, 200-2+2, "two of the ten that drift are absent, two are orphans")
	require.Len(t, target.Users, 900)

	cancel()
	require.Zero(t, <-ended, "%s", errs.String())
}

func state(t *testing.T, address string, into any) {
	t.Helper()
	response, err := http.Get(address + "/_control/state")
	require.NoError(t, err)
	defer response.Body.Close()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	require.NoError(t, json.NewDecoder(response.Body).Decode(into))
}
