// Package settings is what the audit-scheduler reads from its environment.
package settings

import (
	"errors"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
)

// Settings of the audit-scheduler.
type Settings struct {
	config.Process
	Internal config.Internal
	Database config.Database
	SQS      config.SQS
	TLS      config.InternalTLS
	Ticks    Ticks
	S3       config.S3
	Trail    Trail
}

// Trail is for how long the audit trail stays in the database.
type Trail struct {
	Keep    time.Duration `env:"NTHLAYER_TRAIL_KEEP" envDefault:"0s" doc:"after how long parts of the audit trail are moved to NTHLAYER_TRAIL_ARCHIVE, in hours; 0: never"`
	Archive string        `env:"NTHLAYER_TRAIL_ARCHIVE" doc:"where old parts of the audit trail are kept: s3://bucket/prefix or file:///directory"`
}

// Validate wants to know where, where something is to be moved.
func (t Trail) Validate() error {
	if t.Keep == 0 && t.Archive == "" {
		return nil
	}
	if t.Keep < 24*time.Hour {
		return fault.Field("NTHLAYER_TRAIL_KEEP", "must be at least 24h, or 0 where nothing is moved")
	}
	return objects.Check("NTHLAYER_TRAIL_ARCHIVE", t.Archive)
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
