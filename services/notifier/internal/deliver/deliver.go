// Package deliver tells each delivery once.
//
// Slack has no key that makes posting idempotent, so the row in Postgres and the metadata of the message stand in for one:
//
//	mark the attempt → post, with the delivery key in the metadata → mark it delivered
//
// A crash or a lost answer in between leaves a mark without an outcome. The next attempt waits until the one before
// cannot act any more, then looks on Slack for the key, and posts only what is not there. Long details are replies in
// the message's thread, each under a key of its own, so an interrupted thread goes on where it stopped.
//
// A message may have something else to tell later, as one that asks for an approval does. Then it is changed, not posted
// again: each attempt tells what the row holds when it begins, and one that has told less than that does not end the
// delivery. So whatever order the queue's messages come in, the newest stands there in the end.
//
// What nobody can mend by waiting fails at once, with a reason for people; the rest is tried again through the outbox,
// and given up after a number of attempts. Waiting for a quota or an open breaker is not an attempt.
//
// E-mail has neither a key nor a history to look at: a message whose answer was lost is sent again, under the same
// Message-ID (docs/adr/0015).
package deliver

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
)

// Slack is what is needed of it.
type Slack interface {
	Post(ctx context.Context, m slack.Message) (slack.Posted, error)
	Update(ctx context.Context, p slack.Posted, m slack.Message) error
	FindByMetadata(ctx context.Context, channel, key string, since time.Time) (slack.Posted, bool, error)
	Replies(ctx context.Context, parent slack.Posted) (map[string]bool, error)
}

// Medium is a way to tell people.
type Medium interface {
	// Tell sends what is not there yet, and notes in a where the message is. uncertain says that the next attempt has to
	// look before it sends anything: only a medium that can look ends so.
	Tell(ctx context.Context, a *store.DeliveryAttempt, n notice.Notice) (uncertain bool, err error)
}

// Options tune a Deliverer; the zero value is right for most.
type Options struct {
	Mail        Mailer        // nil: e-mails cannot be sent, and their deliveries fail
	Buttons     bool          // messages that ask for an answer have buttons: Slack sends what is pressed to the gateway
	MaxAttempts int           // 8
	Within      time.Duration // one attempt, with all its messages; 25 s
	Settled     time.Duration // after its begin an attempt surely has no effect any more; Within and 10 s
}

// Deliverer handles the messages of the notifications queue.
type Deliverer struct {
	store  *store.Store
	media  map[string]Medium
	log    *slog.Logger
	opts   Options
	ending metric.Int64Counter
}

// New makes a Deliverer.
func New(s *store.Store, to Slack, log *slog.Logger, opts Options) *Deliverer {
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = 8
	}
	if opts.Within == 0 {
		opts.Within = 25 * time.Second
	}
	if opts.Settled == 0 {
		opts.Settled = opts.Within + 10*time.Second
	}
	ending, _ := otel.Meter("github.com/nthlayer/nthlayer/services/notifier").Int64Counter("nthlayer.delivery.attempts",
		metric.WithDescription("Attempts to deliver, by what came of them."))
	media := map[string]Medium{"slack": bySlack{to, opts.MaxAttempts, opts.Buttons}, "email": byEmail{opts.Mail, opts.MaxAttempts}}
	return &Deliverer{store: s, media: media, log: log, opts: opts, ending: ending}
}

// Handle is the queue.Handler. An error leaves the message in the queue; a message that cannot be read ends among the
// dead letters, where somebody sees it.
func (d *Deliverer) Handle(ctx context.Context, m queue.Received) error {
	key, err := keyOf(m)
	if err != nil {
		return d.bury(ctx, m, err)
	}
	err = d.deliver(telemetry.With(ctx, slog.String("delivery_key", key)), key)
	if fault.Is(err, fault.NotFound) {
		return d.bury(ctx, m, err)
	}
	return err
}

// HandleDead takes what the queue itself gave up on. A delivery that it names is not lost by that: it is announced again
// for as long as it is pending. Only a message that names none is kept.
func (d *Deliverer) HandleDead(ctx context.Context, m queue.Received) error {
	key, err := keyOf(m)
	if err != nil {
		return d.bury(ctx, m, err)
	}
	d.log.WarnContext(ctx, "the queue gave up a message; its delivery is announced again", "delivery_key", key, "message_id", m.ID)
	return nil
}

// keyOf reads which delivery a message names.
func keyOf(m queue.Received) (string, error) {
	var body struct {
		Key string `json:"delivery_key"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil || !notice.IsKey(body.Key) {
		return "", fault.New(fault.Invalid, "the message names no delivery", err).WithReason("MESSAGE_UNREADABLE")
	}
	return body.Key, nil
}

func (d *Deliverer) bury(ctx context.Context, m queue.Received, cause error) error {
	d.log.ErrorContext(ctx, "message dead-lettered", "message_id", m.ID, "queue", m.Queue, "error", cause)
	return d.store.Bury(ctx, store.NotificationsQueue, m, cause)
}

func (d *Deliverer) deliver(ctx context.Context, key string) error {
	within, cancel := context.WithTimeout(ctx, d.opts.Within)
	defer cancel()
	attempt, err := d.store.BeginDelivery(within, key, d.opts.Settled)
	if err != nil {
		switch f, _ := fault.As(err); fault.ReasonOf(err) {
		case "DELIVERY_ENDED":
			return nil // the queue delivers at least once
		case "DELIVERY_BUSY":
			return queue.Retry(f.RetryAfter, err)
		default:
			return err
		}
	}
	medium, n, err := d.read(attempt)
	ctx = telemetry.With(ctx, append(about(attempt, n), slog.Int("attempt", attempt.Attempts))...)
	uncertain := false
	if err == nil {
		uncertain, err = medium.Tell(within, attempt, n)
	}
	return d.settle(ctx, attempt, uncertain, err)
}

// read is what an attempt is to tell, and how.
func (d *Deliverer) read(a *store.DeliveryAttempt) (Medium, notice.Notice, error) {
	medium, known := d.media[a.Medium]
	if !known {
		return nil, notice.Notice{}, fault.New(fault.Invalid, "this program cannot deliver by "+a.Medium, nil)
	}
	n, err := notice.Decode(a.Payload)
	if err != nil {
		return nil, notice.Notice{}, fault.New(fault.Invalid, "the notice cannot be read", err)
	}
	return medium, n, nil
}

// about says in the log of what is told.
func about(a *store.DeliveryAttempt, n notice.Notice) []slog.Attr {
	switch {
	case n.Audit != nil:
		return []slog.Attr{slog.String("audit_id", n.Audit.AuditID)}
	case n.Approval != nil:
		return []slog.Attr{slog.String("job_id", a.JobID.String()), slog.String("team_id", n.Approval.TeamID), slog.Int("revision", a.Revision)}
	case n.Run != nil:
		return []slog.Attr{slog.String("job_id", a.JobID.String()), slog.String("team_id", n.Run.TeamID)}
	default:
		return []slog.Attr{slog.String("job_id", a.JobID.String())}
	}
}

// settleWithin bounds writing down what came of an attempt, also when the attempt used up its own time.
const settleWithin = 5 * time.Second

func (d *Deliverer) settle(ctx context.Context, a *store.DeliveryAttempt, uncertain bool, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	var outcome string
	var err error
	next := verdict(a.Attempts, d.opts, uncertain, cause)
	switch {
	case cause == nil:
		outcome, err = "delivered", a.Done(ctx, a.PostedTo, a.TS)
		d.log.InfoContext(ctx, "posted", "medium", a.Medium, "ts", a.TS)
	case next.giveUp:
		outcome, err = "failed", a.Fail(ctx, next.why, uncertain)
		d.log.ErrorContext(ctx, "delivery failed; resend it when the cause is gone", "error", cause)
	default:
		outcome = "deferred"
		err = a.Again(ctx, store.Deferral{
			Delay: next.delay, Counted: next.counted, Uncertain: uncertain, Why: next.why, Trace: telemetry.Inject(ctx),
		})
		d.log.WarnContext(ctx, "delivery deferred", "error", cause, "delay", next.delay, "uncertain", uncertain)
	}
	d.ending.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	return err
}
