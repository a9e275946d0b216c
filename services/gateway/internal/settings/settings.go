// Package settings is what the gateway reads from its environment.
package settings

import (
	"errors"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Settings of the gateway.
type Settings struct {
	config.Process
	Listen   Listen
	Load     Load
	Database config.Database
	Redis    config.Redis
	SQS      config.SQS
	TLS      config.InternalTLS
	Peers    config.Peers
	JWT      config.JWT
	Slack    Slack
	Roles    config.Roles
}

// Slack is how it proves that a request is its own.
type Slack struct {
	SigningSecret         config.Secret `env:"NTHLAYER_SLACK_SIGNING_SECRET" doc:"the signing secret of the Slack app; set: POST /slack/interactions takes what people press in its messages"`
	PreviousSigningSecret config.Secret `env:"NTHLAYER_SLACK_SIGNING_SECRET_PREVIOUS" doc:"the signing secret before, accepted too while the app's secret is replaced"`
}

// Enabled reports whether interactions are taken.
func (s Slack) Enabled() bool { return !s.SigningSecret.Empty() }

// Secrets are those with which Slack may sign.
func (s Slack) Secrets() []config.Secret {
	return []config.Secret{s.SigningSecret, s.PreviousSigningSecret}
}

// Validate checks that nobody can guess the secrets, and that they can be used.
func (s Slack) Validate() error {
	if !s.Enabled() && !s.PreviousSigningSecret.Empty() {
		return fault.Field("NTHLAYER_SLACK_SIGNING_SECRET", "is not set, though the one before is")
	}
	return errors.Join(
		longEnough("NTHLAYER_SLACK_SIGNING_SECRET", s.SigningSecret),
		longEnough("NTHLAYER_SLACK_SIGNING_SECRET_PREVIOUS", s.PreviousSigningSecret),
	)
}

// longEnough takes half of what Slack gives, which is 32 hexadecimal digits.
func longEnough(variable string, secret config.Secret) error {
	if n := len(secret.Reveal()); n > 0 && n < 16 {
		return fault.Field(variable, "is too short to be a signing secret; it stands under Basic Information of the Slack app")
	}
	return nil
}

// Listen is where the public API is served. TLS ends at the load balancer.
type Listen struct {
	REST string `env:"NTHLAYER_REST_ADDR" envDefault:":8080" doc:"where the public REST API is served"`
	GRPC string `env:"NTHLAYER_GRPC_ADDR" envDefault:":9000" doc:"where the public gRPC API is served"`
}

// Validate checks the addresses.
func (l Listen) Validate() error {
	return errors.Join(config.CheckAddr("NTHLAYER_REST_ADDR", l.REST), config.CheckAddr("NTHLAYER_GRPC_ADDR", l.GRPC))
}

// Load is how much the gateway takes on.
type Load struct {
	PerMinute int `env:"NTHLAYER_RATE_PER_MINUTE" envDefault:"6000" doc:"calls a minute that each principal may make, over all gateways; a tenth of them at once"`
	Calls     int `env:"NTHLAYER_MAX_CALLS" envDefault:"512" doc:"calls that one gateway serves at a time; more are refused with 429"`
	Streams   int `env:"NTHLAYER_MAX_WATCHERS" envDefault:"2000" doc:"watchers that one gateway serves at a time; more are refused with 429"`
}

// Validate wants bounds that let something through.
func (l Load) Validate() error {
	positive := func(variable string, value int) error {
		if value < 1 || value > 10_000_000 {
			return fault.Field(variable, "must be between 1 and 10000000")
		}
		return nil
	}
	return errors.Join(positive("NTHLAYER_RATE_PER_MINUTE", l.PerMinute), positive("NTHLAYER_MAX_CALLS", l.Calls),
		positive("NTHLAYER_MAX_WATCHERS", l.Streams))
}
