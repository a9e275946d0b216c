// Package settings is what the notifier reads from its environment.
package settings

import (
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Settings of the notifier.
type Settings struct {
	config.Process
	Database config.Database
	SQS      config.SQS
	Slack    config.Slack
	Internal config.Internal
	TLS      config.InternalTLS
	Delivery Delivery
}

// Delivery is how hard is tried.
type Delivery struct {
	Attempts int `env:"NTHLAYER_DELIVERY_ATTEMPTS" envDefault:"8" doc:"failed attempts after which a delivery is given up; waits for Slack's quota are none"`
}

// Validate checks the number.
func (d Delivery) Validate() error {
	if d.Attempts < 1 || d.Attempts > 100 {
		return fault.Field("NTHLAYER_DELIVERY_ATTEMPTS", "must be between 1 and 100")
	}
	return nil
}
