package cli_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
)

func TestMigrate_URLThatIsNone_SaysSoWithoutIt(t *testing.T) {
	var o, e bytes.Buffer
	terminal := cli.Terminal{Out: &o, Err: &e, Environ: []string{"NTHLAYER_DATABASE_URL=postgres://u:hunter2@[::1"}, Now: time.Now}
	require.Equal(t, 1, cli.Run(t.Context(), terminal, []string{"migrate"}))
	require.Contains(t, e.String(), "NTHLAYER_DATABASE_URL: is not a PostgreSQL URL")
	require.NotContains(t, e.String(), "hunter2")
	require.NotContains(t, e.String(), "--addr")
	require.Empty(t, o.String())
}

func TestMigrate_DatabaseAway_SaysNothingOfTheGateway(t *testing.T) {
	var o, e bytes.Buffer
	terminal := cli.Terminal{Out: &o, Err: &e, Environ: []string{"NTHLAYER_DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/n"}, Now: time.Now}
	require.Equal(t, 1, cli.Run(t.Context(), terminal, []string{"migrate"}))
	require.Contains(t, e.String(), "the database is away")
	require.NotContains(t, e.String(), "--addr")
	require.NotContains(t, e.String(), "hunter2")
}
