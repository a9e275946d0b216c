package config_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

func secretFile(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestLoad_TokenOrItsFile_ExactlyOneMustBeSet(t *testing.T) {
	type platforms struct {
		Cortex    config.Cortex
		PagerDuty config.PagerDuty
		Slack     config.Slack
	}
	_, err := config.Load[platforms]([]string{
		"NTHLAYER_PAGERDUTY_TOKEN=" + hidden, "NTHLAYER_PAGERDUTY_TOKEN_FILE=/run/secrets/pagerduty",
		"NTHLAYER_SLACK_TOKEN_FILE=/run/secrets/slack",
	})
	require.True(t, fault.Is(err, fault.Invalid))
	require.ErrorContains(t, err, "NTHLAYER_CORTEX_TOKEN is not set; set it to the token, or NTHLAYER_CORTEX_TOKEN_FILE to a file")
	require.ErrorContains(t, err, "NTHLAYER_PAGERDUTY_TOKEN and NTHLAYER_PAGERDUTY_TOKEN_FILE are both set; set one of them")
	require.NotContains(t, err.Error(), "NTHLAYER_SLACK")
	require.NotContains(t, err.Error(), hidden)
}

func TestCredential_OfAFragment_IsTheTokenOrWhatTheFileHolds(t *testing.T) {
	c, err := config.Cortex{Token: config.NewSecret(hidden)}.Credential(t.Context())
	require.NoError(t, err)
	require.Equal(t, hidden, c.Current().Reveal())
	require.NoError(t, c.Refetch(t.Context()))
	require.Equal(t, hidden, c.Current().Reveal())

	path := secretFile(t, " "+hidden+"\r\n")
	c, err = config.PagerDuty{TokenFile: path}.Credential(t.Context())
	require.NoError(t, err)
	require.Equal(t, hidden, c.Current().Reveal())
	require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))
	require.Equal(t, hidden, c.Current().Reveal(), "until it is read again")
	require.NoError(t, c.Refetch(t.Context()))
	require.Equal(t, "another", c.Current().Reveal())
}

func TestCredential_FileOfNoUse_IsAnErrorAndTheSecretStays(t *testing.T) {
	path := secretFile(t, hidden)
	c, err := config.FromFile(t.Context(), path)
	require.NoError(t, err)
	for name, content := range map[string]string{
		"empty": "", "blank": " \n", "two lines": hidden + "\nX-Header: 1", "two words": hidden + " x", "not ASCII": hidden + "é",
		"too long": strings.Repeat(hidden, 10_000),
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		err := c.Refetch(t.Context())
		require.Equal(t, fault.Precondition, fault.KindOf(err), name)
		require.ErrorContains(t, err, path, name)
		require.NotContains(t, err.Error(), hidden, name)
	}
	require.NoError(t, os.Remove(path))
	require.Error(t, c.Refetch(t.Context()))
	require.Equal(t, hidden, c.Current().Reveal())

	_, err = config.FromFile(t.Context(), path)
	require.ErrorContains(t, err, path)
}

func TestCredential_IsNeverPrinted(t *testing.T) {
	c, err := config.FromFile(t.Context(), secretFile(t, hidden))
	require.NoError(t, err)
	var out bytes.Buffer
	for _, v := range []any{c, struct{ C *config.Credential }{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	}
	require.NotContains(t, out.String(), hidden)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", hidden))

	// The control: the value is there to be printed.
	fmt.Fprint(&out, c.Current().Reveal())
	require.Contains(t, out.String(), hidden)
}

func TestSecret_Equal_ComparesValues(t *testing.T) {
	require.True(t, config.NewSecret("a").Equal(config.NewSecret("a")))
	require.False(t, config.NewSecret("a").Equal(config.NewSecret("b")))
	require.True(t, config.Secret{}.Equal(config.NewSecret("")))
}
