package settings_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/services/gateway/internal/settings"
)

func TestSlack_Validate(t *testing.T) {
	good := strings.Repeat("0a", 16)
	for _, c := range []struct {
		now, before string
		enabled     bool
		refused     string
	}{
		{"", "", false, ""},
		{good, "", true, ""},
		{good, good, true, ""},
		{"", good, false, "NTHLAYER_SLACK_SIGNING_SECRET"},
		{"changeme", "", true, "NTHLAYER_SLACK_SIGNING_SECRET"},
		{good, "changeme", true, "NTHLAYER_SLACK_SIGNING_SECRET_PREVIOUS"},
	} {
		s := settings.Slack{SigningSecret: config.NewSecret(c.now), PreviousSigningSecret: config.NewSecret(c.before)}
		require.Equal(t, c.enabled, s.Enabled())
		err := s.Validate()
		if c.refused == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.refused)
		require.NotContains(t, err.Error(), "changeme")
	}
}
