package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// everything is every fragment that there is, and fields of each kind.
type everything struct {
	example
	Redis    config.Redis
	Pager    config.PagerDuty
	Slack    config.Slack
	Channel  config.SlackChannel
	TLS      config.InternalTLS
	Internal config.Internal
	Peers    config.Peers
	JWT      config.JWT
	Share    float64 `env:"NTHLAYER_SHARE" envDefault:"0.25" doc:"a share"`
	Many     int     `env:"NTHLAYER_MANY" doc:"a number"`
	On       bool    `env:"NTHLAYER_ON" doc:"a switch"`
}

// secrets of the variables of everything.
var secrets = []string{"NTHLAYER_DATABASE_URL", "NTHLAYER_CORTEX_TOKEN", "NTHLAYER_PAGERDUTY_TOKEN", "NTHLAYER_SLACK_TOKEN"}

// FuzzLoad: an environment gives a configuration that can be printed and read again as the same one, or a fault that
// names the variables to mend; and no secret is ever told, whatever stands around it.
func FuzzLoad(f *testing.F) {
	usable := strings.Join([]string{
		"NTHLAYER_REDIS_ADDR=r:1", "NTHLAYER_TLS_CA=a", "NTHLAYER_TLS_CERT=b", "NTHLAYER_TLS_KEY=c", "NTHLAYER_PLANNER_ADDR=p:1",
		"NTHLAYER_NOTIFIER_ADDR=n:1", "NTHLAYER_SCHEDULER_ADDR=s:1", "NTHLAYER_JWT_ISSUER=https://i.example.org", "NTHLAYER_JWT_AUDIENCE=a,b",
	}, "\n")
	f.Add("", "", "")
	f.Add(usable, "postgres://u:", "@h/db")
	f.Add(usable+"\nNTHLAYER_ROLES=a:b,c:d\nNTHLAYER_NAMES=x,,y\nNTHLAYER_SHARE=1e-3\nNTHLAYER_MANY=-7\nNTHLAYER_ON=T", "\x00", "%zz")
	f.Add("NTHLAYER_LOG_LEVEL=loud\nNTHLAYER_PATIENCE=soon\nNTHLAYER_CORTEX_URL=cortex\nNTHLAYER_SHARE=NaN\nNTHLAYER_ROLES=a", "", "")
	f.Add("=\n==\nNTHLAYER_ON\nNTHLAYER_ON=\nNTHLAYER_CORTEX_TOKNE=x\nNTHLAYER_LOG_LEVEL=debug+3", "\n", "\n")
	names := map[string]bool{"configuration": true}
	for _, v := range config.Describe[everything]() {
		names[v.Name] = true
	}
	f.Fuzz(func(t *testing.T, lines, before, after string) {
		environ := strings.Split(lines, "\n")
		for _, name := range secrets {
			environ = append(environ, name+"="+before+hidden+after)
		}
		cfg, err := config.Load[everything](environ)
		for _, typo := range config.Typos[everything](environ) {
			require.NotContains(t, typo, hidden)
		}
		if err != nil {
			wrong, ok := fault.As(err)
			require.True(t, ok && wrong.Kind == fault.Invalid, "%v", err)
			require.NotEmpty(t, wrong.Violations)
			for _, v := range wrong.Violations {
				require.True(t, names[v.Field], "%q is no variable", v.Field)
				require.Contains(t, err.Error(), v.Field)
			}
			require.NotContains(t, err.Error(), hidden)
			return
		}
		require.Equal(t, before+hidden+after, cfg.Slack.Token.Reveal())
		var first, second bytes.Buffer
		require.NoError(t, config.Write(&first, cfg))
		require.NotContains(t, first.String(), hidden)
		again, err := config.Load[everything](append(strings.Split(first.String(), "\n"), environ[len(environ)-len(secrets):]...))
		require.NoError(t, err)
		require.NoError(t, config.Write(&second, again))
		require.Equal(t, first.String(), second.String())
	})
}
