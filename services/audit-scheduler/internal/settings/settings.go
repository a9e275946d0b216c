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
	Trail    Trail
	S3       config.S3
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

// Trail is how long the trail stays in the database, and where it goes then.
type Trail struct {
	Keep    time.Duration `env:"NTHLAYER_TRAIL_KEEP" doc:"how long entries of the trail stay in the database before they are moved to archives, such as 9600h for 400 days; empty: for ever"`
	Archive string        `env:"NTHLAYER_TRAIL_ARCHIVE" doc:"where old entries of the trail go, s3://bucket/prefix or file:///directory; must be set with NTHLAYER_TRAIL_KEEP. No two systems may share it"`
}

// leastKeep spares runs that are waiting or lie in the dead letters, and audits that look back.
const leastKeep = 24 * time.Hour

// Validate checks that there is a place where there is a time.
func (t Trail) Validate() error {
	if t.Keep == 0 && t.Archive == "" {
		return nil
	}
	var errs []error
	if t.Keep < leastKeep {
		errs = append(errs, fault.Field("NTHLAYER_TRAIL_KEEP", "must be 24h or longer; leave it and NTHLAYER_TRAIL_ARCHIVE out to keep everything"))
	}
	return errors.Join(append(errs, objects.Check("NTHLAYER_TRAIL_ARCHIVE", t.Archive))...)
}
