package system

import (
	"log/slog"
	"path/filepath"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// Config says what to run and where.
type Config struct {
	StateDir string // everything the system keeps
	BinDir   string // the service binaries, as `make build` leaves them
	PortBase int    // the first of the ports to use; 0 takes free ones
	OrgFile  string // the organisation the simulators start with; empty: the example organisation
	Outside  Outside
	Fresh    bool // forget what an earlier system on the state directory kept
	Log      *slog.Logger

	// How many processes of a service there are; 0 means 1. The second is called gateway-2, and so on.
	Gateways, Workers, Notifiers int

	// PostgresSettings are for tests, which need no fsync.
	PostgresSettings map[string]string
	// ServiceEnv gives variables ("NAME=value") that are added to the environment of the process of that name; nil: none.
	ServiceEnv func(name string) []string
}

// Outside names parts that are not started because there is one elsewhere. The variables are those of the services. A
// platform without an address is simulated: it takes the token that is given here, and no file.
type Outside struct {
	CortexURL          string        `env:"NTHLAYER_CORTEX_URL"`
	CortexToken        config.Secret `env:"NTHLAYER_CORTEX_TOKEN"`
	CortexTokenFile    string        `env:"NTHLAYER_CORTEX_TOKEN_FILE"`
	PagerDutyURL       string        `env:"NTHLAYER_PAGERDUTY_URL"`
	PagerDutyToken     config.Secret `env:"NTHLAYER_PAGERDUTY_TOKEN"`
	PagerDutyTokenFile string        `env:"NTHLAYER_PAGERDUTY_TOKEN_FILE"`
	SlackURL           string        `env:"NTHLAYER_SLACK_URL"`
	SlackToken         config.Secret `env:"NTHLAYER_SLACK_TOKEN"`
	SlackTokenFile     string        `env:"NTHLAYER_SLACK_TOKEN_FILE"`
	SlackSigningSecret config.Secret `env:"NTHLAYER_SLACK_SIGNING_SECRET"`
	SMTPAddr           string        `env:"NTHLAYER_SMTP_ADDR"` // this or SESRegion: e-mails are really sent
	SESRegion          string        `env:"NTHLAYER_SES_REGION"`
	SQSEndpoint        string        `env:"NTHLAYER_SQS_ENDPOINT"`
	DatabaseURL        config.Secret `env:"NTHLAYER_DATABASE_URL"`
	RedisAddr          string        `env:"NTHLAYER_REDIS_ADDR"`
}

// InfoFile is where a running system describes itself.
func InfoFile(stateDir string) string { return filepath.Join(stateDir, "dev.json") }

// Info is how to reach a running system; dev.json holds it.
type Info struct {
	Ready     bool           `json:"ready"`
	REST      string         `json:"rest"` // of the first gateway
	GRPC      string         `json:"grpc"`
	Gateways  []GatewayInfo  `json:"gateways"`
	Cortex    string         `json:"cortex"`
	PagerDuty string         `json:"pagerduty"`
	Slack     string         `json:"slack"`
	SMTP      string         `json:"smtp,omitempty"` // where the notifier sends e-mails, as host:port
	Mail      string         `json:"mail,omitempty"` // shows them, under /_control/; empty: they are really sent
	SQS       string         `json:"sqs"`
	Postgres  string         `json:"postgres"`
	Redis     string         `json:"redis"`
	Issuer    string         `json:"issuer"`
	Token     string         `json:"token"`
	Tokens    PlatformTokens `json:"tokens"`
	PIDs      map[string]int `json:"pids"`
}

// GatewayInfo is how to reach one gateway of several.
type GatewayInfo struct {
	REST string `json:"rest"`
	GRPC string `json:"grpc"`
}

// PlatformTokens are what the simulators, or the platforms outside, take as credentials; empty where a file holds it.
type PlatformTokens struct {
	Cortex    string `json:"cortex"`
	PagerDuty string `json:"pagerduty"`
	Slack     string `json:"slack"`
}
