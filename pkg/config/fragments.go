package config

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Process is what every service needs. Embed it: package service reads it through Base.
type Process struct {
	Log       Log
	Admin     Admin
	Telemetry Telemetry
}

// Base gives the part that every service has.
func (p Process) Base() Process { return p }

// Log is what is logged.
type Log struct {
	Level slog.Level `env:"NTHLAYER_LOG_LEVEL" envDefault:"info" doc:"the lowest level that is logged: debug, info, warn or error"`
}

// Admin is the internal HTTP listener.
type Admin struct {
	Addr string `env:"NTHLAYER_ADMIN_ADDR" envDefault:":9090" doc:"where /healthz and /readyz are served; not for the outside"`
}

// Validate checks the address.
func (a Admin) Validate() error { return CheckAddr("NTHLAYER_ADMIN_ADDR", a.Addr) }

// Telemetry is where traces and metrics go.
type Telemetry struct {
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"the OpenTelemetry collector (OTLP over gRPC), for example http://127.0.0.1:4317; empty: traces and metrics are not exported"`
}

// Validate checks the endpoint.
func (t Telemetry) Validate() error { return CheckURL("OTEL_EXPORTER_OTLP_ENDPOINT", t.Endpoint) }

// Database is the PostgreSQL database.
type Database struct {
	URL      Secret `env:"NTHLAYER_DATABASE_URL,required" doc:"the PostgreSQL database, for example postgres://user:password@host:5432/nthlayer"`
	MaxConns int32  `env:"NTHLAYER_DATABASE_MAX_CONNS" envDefault:"10" doc:"connections to the database, at most"`
}

// Validate checks the number of connections. The URL is checked where it is used: its parts must not be printed.
func (d Database) Validate() error {
	if d.MaxConns < 2 || d.MaxConns > 1000 {
		return fault.Field("NTHLAYER_DATABASE_MAX_CONNS", "must be between 2 and 1000")
	}
	return nil
}

// Redis is the store of the quotas that all workers share.
type Redis struct {
	Addr string `env:"NTHLAYER_REDIS_ADDR,required" doc:"the Redis server that keeps the quotas shared by all workers, as host:port"`
}

// Validate checks the address.
func (r Redis) Validate() error { return CheckAddr("NTHLAYER_REDIS_ADDR", r.Addr) }

// SQS is where the queues are. It converts to queue.Config.
type SQS struct {
	Endpoint           string `env:"NTHLAYER_SQS_ENDPOINT" doc:"the SQS endpoint; empty: AWS, with region and credentials as the AWS SDK finds them (AWS_REGION, task role)"`
	ReconcileQueue     string `env:"NTHLAYER_RECONCILE_QUEUE" envDefault:"reconcile.fifo" doc:"the queue of runs"`
	NotificationsQueue string `env:"NTHLAYER_NOTIFICATIONS_QUEUE" envDefault:"notifications.fifo" doc:"the queue of notifications"`
	AuditQueue         string `env:"NTHLAYER_AUDIT_QUEUE" envDefault:"audit.fifo" doc:"the queue of the parts of audits"`
}

// Validate checks the endpoint and that the queues keep order.
func (s SQS) Validate() error {
	return errors.Join(
		CheckURL("NTHLAYER_SQS_ENDPOINT", s.Endpoint),
		checkFIFO("NTHLAYER_RECONCILE_QUEUE", s.ReconcileQueue),
		checkFIFO("NTHLAYER_NOTIFICATIONS_QUEUE", s.NotificationsQueue),
		checkFIFO("NTHLAYER_AUDIT_QUEUE", s.AuditQueue),
	)
}

func checkFIFO(variable, name string) error {
	if !strings.HasSuffix(name, ".fifo") {
		return fault.Field(variable, "must name a FIFO queue, which ends in .fifo")
	}
	return nil
}

// S3 is where objects in buckets are. Its Endpoint goes into objects.Config.
type S3 struct {
	Endpoint string `env:"NTHLAYER_S3_ENDPOINT" doc:"the S3 endpoint; empty: AWS, with region and credentials as the AWS SDK finds them (AWS_REGION, task role)"`
}

// Validate checks the endpoint.
func (s S3) Validate() error { return CheckURL("NTHLAYER_S3_ENDPOINT", s.Endpoint) }

// Roles is what the source's words for roles mean.
type Roles struct {
	Map ownership.RoleMap `env:"NTHLAYER_ROLE_MAP" envDefault:"manager=manager,*=responder" doc:"target role for each role word of the source; * stands for all others and for none"`
}

// Cortex is the source of ownership.
type Cortex struct {
	URL       string `env:"NTHLAYER_CORTEX_URL" envDefault:"https://api.getcortexapp.com" doc:"the Cortex API"`
	Token     Secret `env:"NTHLAYER_CORTEX_TOKEN" doc:"the API key for Cortex, with the right to read teams; this variable or NTHLAYER_CORTEX_TOKEN_FILE must be set"`
	TokenFile string `env:"NTHLAYER_CORTEX_TOKEN_FILE" doc:"a file with the token for Cortex, in place of NTHLAYER_CORTEX_TOKEN; it is read again when Cortex refuses the token, so a new one needs no restart"`
}

// Validate checks the address and that there is one token.
func (c Cortex) Validate() error {
	return errors.Join(
		CheckURL("NTHLAYER_CORTEX_URL", c.URL),
		checkOne("NTHLAYER_CORTEX_TOKEN", c.Token, c.TokenFile),
	)
}

// Credential is the token, wherever it stands.
func (c Cortex) Credential(ctx context.Context) (*Credential, error) {
	return credential(ctx, c.Token, c.TokenFile)
}

// PagerDuty is the target of ownership.
type PagerDuty struct {
	URL       string `env:"NTHLAYER_PAGERDUTY_URL" envDefault:"https://api.pagerduty.com" doc:"the PagerDuty REST API; https://api.eu.pagerduty.com for accounts in the EU"`
	Token     Secret `env:"NTHLAYER_PAGERDUTY_TOKEN" doc:"the REST API key for PagerDuty, with the right to change teams; this variable or NTHLAYER_PAGERDUTY_TOKEN_FILE must be set"`
	TokenFile string `env:"NTHLAYER_PAGERDUTY_TOKEN_FILE" doc:"a file with the token for PagerDuty, in place of NTHLAYER_PAGERDUTY_TOKEN; it is read again when PagerDuty refuses the token, so a new one needs no restart"`
}

// Validate checks the address and that there is one token.
func (p PagerDuty) Validate() error {
	return errors.Join(
		CheckURL("NTHLAYER_PAGERDUTY_URL", p.URL),
		checkOne("NTHLAYER_PAGERDUTY_TOKEN", p.Token, p.TokenFile),
	)
}

// Credential is the token, wherever it stands.
func (p PagerDuty) Credential(ctx context.Context) (*Credential, error) {
	return credential(ctx, p.Token, p.TokenFile)
}

// Slack is who posts messages.
type Slack struct {
	URL       string `env:"NTHLAYER_SLACK_URL" envDefault:"https://slack.com/api/" doc:"the Slack Web API; ends in /api/"`
	Token     Secret `env:"NTHLAYER_SLACK_TOKEN" doc:"the bot token for Slack (xoxb-…), with the scopes chat:write and channels:history, and for buttons users:read and users:read.email; this variable or NTHLAYER_SLACK_TOKEN_FILE must be set"`
	TokenFile string `env:"NTHLAYER_SLACK_TOKEN_FILE" doc:"a file with the token for Slack, in place of NTHLAYER_SLACK_TOKEN; it is read again when Slack refuses the token, so a new one needs no restart"`
}

// Validate checks the address and that there is one token.
func (s Slack) Validate() error {
	return errors.Join(
		CheckURL("NTHLAYER_SLACK_URL", s.URL),
		checkOne("NTHLAYER_SLACK_TOKEN", s.Token, s.TokenFile),
	)
}

// Credential is the token, wherever it stands.
func (s Slack) Credential(ctx context.Context) (*Credential, error) {
	return credential(ctx, s.Token, s.TokenFile)
}

// SlackChannel is where the outcomes of runs are told.
type SlackChannel struct {
	ID string `env:"NTHLAYER_SLACK_CHANNEL" doc:"the id of the Slack channel that is told how runs ended (C…); empty: nobody is told"`
}

// InternalTLS is the service's identity towards the other services. It converts to mtls.Files.
type InternalTLS struct {
	CA   string `env:"NTHLAYER_TLS_CA,required" doc:"file with the certificates (PEM) of the CA that the services trust"`
	Cert string `env:"NTHLAYER_TLS_CERT,required" doc:"file with this service's certificate (PEM); its URI is spiffe://nthlayer/<service>"`
	Key  string `env:"NTHLAYER_TLS_KEY,required" doc:"file with the key (PEM) of this service's certificate"`
}

// Internal is the internal gRPC listener.
type Internal struct {
	Addr string `env:"NTHLAYER_INTERNAL_ADDR" envDefault:":9443" doc:"where the internal gRPC API is served, over mutual TLS"`
}

// Validate checks the address.
func (i Internal) Validate() error { return CheckAddr("NTHLAYER_INTERNAL_ADDR", i.Addr) }

// Peers are the internal gRPC servers that the gateway calls.
type Peers struct {
	Planner   string `env:"NTHLAYER_PLANNER_ADDR,required" doc:"the internal gRPC address of the reconcile-worker"`
	Notifier  string `env:"NTHLAYER_NOTIFIER_ADDR,required" doc:"the internal gRPC address of the notifier"`
	Scheduler string `env:"NTHLAYER_SCHEDULER_ADDR,required" doc:"the internal gRPC address of the audit-scheduler"`
}

// JWT is whose tokens are accepted.
type JWT struct {
	Issuer    string   `env:"NTHLAYER_JWT_ISSUER,required" doc:"the issuer of accepted tokens, for example https://cognito-idp.eu-west-1.amazonaws.com/<pool>"`
	KeySetURL string   `env:"NTHLAYER_JWKS_URL" doc:"the issuer's key set; empty: the issuer with /.well-known/jwks.json"`
	Audience  []string `env:"NTHLAYER_JWT_AUDIENCE,required" doc:"accepted audiences or, as in Cognito's access tokens, client ids; separated by commas"`
}

// Validate checks the addresses.
func (j JWT) Validate() error {
	return errors.Join(CheckURL("NTHLAYER_JWT_ISSUER", j.Issuer), CheckURL("NTHLAYER_JWKS_URL", j.KeySetURL))
}

// CheckURL refuses what is not an absolute http or https URL. Empty is accepted.
func CheckURL(variable, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fault.Field(variable, "must be an absolute URL such as https://host/path")
	}
	if u.User != nil {
		return fault.Field(variable, "must not contain a user or password; there is a variable for the token")
	}
	return nil
}

// CheckAddr refuses what is not host:port, or :port. Empty is accepted.
func CheckAddr(variable, value string) error {
	if value == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fault.Field(variable, "must be host:port, or :port for all addresses of this machine")
	}
	return nil
}
