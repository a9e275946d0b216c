// Package settings is what the notifier reads from its environment.
package settings

import (
	"time"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Settings of the notifier.
type Settings struct {
	config.Process
	Database config.Database
	SQS      config.SQS
	Slack    config.Slack
	Buttons  Buttons
	Email    Email
	Internal config.Internal
	TLS      config.InternalTLS
	Delivery Delivery
}

// Buttons are the other half of the gateway's endpoint for interactions.
type Buttons struct {
	Shown bool `env:"NTHLAYER_SLACK_BUTTONS" envDefault:"false" doc:"whether messages that ask for an approval have buttons; set it where the Slack app sends interactions to the gateway, and the gateway has NTHLAYER_SLACK_SIGNING_SECRET"`
}

// Delivery is how hard is tried.
type Delivery struct {
	Attempts  int           `env:"NTHLAYER_DELIVERY_ATTEMPTS" envDefault:"8" doc:"failed attempts after which a delivery is given up; waits for Slack's quota are none"`
	SilentFor time.Duration `env:"NTHLAYER_DELIVERY_SILENT_FOR" envDefault:"15m" doc:"how long nothing may happen to a delivery before its message is taken for lost and sent again; longer than a full queue takes: a channel gets one message a second"`
}

// Validate checks the numbers.
func (d Delivery) Validate() error {
	if d.SilentFor < time.Second || d.SilentFor > 24*time.Hour {
		return fault.Field("NTHLAYER_DELIVERY_SILENT_FOR", "must be between 1s and 24h")
	}
	if d.Attempts < 1 || d.Attempts > 100 {
		return fault.Field("NTHLAYER_DELIVERY_ATTEMPTS", "must be between 1 and 100")
	}
	return nil
}
