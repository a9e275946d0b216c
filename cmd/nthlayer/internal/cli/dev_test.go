package cli_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/cli"
)

func TestDev_FlagOutOfRange_NamesFlagAndRangeAndStartsNothing(t *testing.T) {
	state := t.TempDir()
	for flag, want := range map[string]string{
		"--workers=0":       "--workers 0: must be from 1 to 16",
		"--workers=-1":      "--workers -1: must be from 1 to 16",
		"--workers=17":      "--workers 17: must be from 1 to 16",
		"--port-base=65533": "--port-base 65533: must be from 1 to 65518, because this system takes 18 ports",
		"--port-base=-1":    "--port-base -1: must be from 1 to 65518",
	} {
		var out, errs bytes.Buffer
		terminal := cli.Terminal{Out: &out, Err: &errs, Now: time.Now}
		require.Equal(t, 1, cli.Run(t.Context(), terminal, []string{"dev", "--state-dir", state, flag}), flag)
		require.Contains(t, errs.String(), want)
		require.Empty(t, out.String(), flag)
	}
}
