// Package settings is what the audit-scheduler reads from its environment.
package settings

import (
	"errors"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Settings of the audit-scheduler.
type Settings struct {
	config.Process
	Internal config.Internal
	Database config.Database
	SQS      config.SQS
	TLS      config.InternalTLS
	Ticks    Ticks
}

// Ticks is what tells that it is time to look for schedules that are due.
type Ticks struct {
	Queue     string        `env:"NTHLAYER_TICK_QUEUE" doc:"the queue on which EventBridge Scheduler says that it is time to look for schedules that are due; empty: the service looks by itself"`
	Every     time.Duration `env:"NTHLAYER_TICK_EVERY" envDefault:"5s" doc:"how often the service looks by itself, where no queue tells it"`
	PublicURL string        `env:"NTHLAYER_PUBLIC_URL" doc:"where people reach the REST API, for links in what they are told; empty: no links"`
}

// Validate checks the times and addresses.
func (t Ticks) Validate() error {
	var errs []error
	if t.Every < 100*time.Millisecond || t.Every > time.Hour {
		errs = append(errs, fault.Field("NTHLAYER_TICK_EVERY", "must be between 100ms and 1h"))
	}
	if strings.ContainsAny(t.Queue, "/: ") {
		errs = append(errs, fault.Field("NTHLAYER_TICK_QUEUE", "must be the queue's name, not its URL or ARN"))
	}
	return errors.Join(append(errs, config.CheckURL("NTHLAYER_PUBLIC_URL", t.PublicURL))...)
}
