// Package conduct moves audits along: it hands their teams out, and ends them when every part is done. What workers do is
// not its business. All it knows is in the database, and every move is one transaction, so it may be interrupted anywhere
// and run in several processes.
package conduct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// Store keeps the audits.
type Store interface {
	AuditSteps(ctx context.Context) ([]store.AuditStep, error)
	HandOut(ctx context.Context, auditID uuid.UUID, page, part int) (int, error)
	EndAudit(ctx context.Context, auditID uuid.UUID, tell store.Telling) (*store.Audit, error)
	AnnounceAuditJobs(ctx context.Context, pause time.Duration) (int, error)
	ExpireAcknowledgements(ctx context.Context) (int, error)
	PruneAudits(ctx context.Context, keep time.Duration) error
}

const (
	page = 1000 // teams that are handed out in one transaction
	part = 25   // teams of one part: few enough to be done in a moment, enough to be worth a message

	lookEvery   = time.Second      // where no news came
	choresEvery = 10 * time.Second //
	keepParts   = time.Hour        // after an audit's end
)

// Conductor moves audits along.
type Conductor struct {
	store     Store
	news      <-chan struct{} // some audit has gone on
	poke      func()          // the outbox has something to send
	publicURL string          // of the API, for links; empty: not known
	silentFor time.Duration   // a part that nobody works on is announced again after so long
	log       *slog.Logger
	took      metric.Float64Histogram
	calls     metric.Float64Histogram
}

// Config describes a Conductor.
type Config struct {
	Store     Store
	News      <-chan struct{}
	Poke      func()
	PublicURL string
	SilentFor time.Duration
	Log       *slog.Logger
}

// New makes a Conductor.
func New(cfg Config) *Conductor {
	meter := otel.Meter("github.com/nthlayer/nthlayer/services/audit-scheduler")
	took, _ := meter.Float64Histogram("nthlayer.audit.duration", metric.WithUnit("s"), metric.WithDescription("Time from an audit's begin to its end."),
		metric.WithExplicitBucketBoundaries(1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200))
	calls, _ := meter.Float64Histogram("nthlayer.audit.calls_per_team", metric.WithUnit("{call}"),
		metric.WithDescription("Calls to the target for each team of an audit."), metric.WithExplicitBucketBoundaries(0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.1, 1.25, 1.5, 2, 5))
	return &Conductor{
		store: cfg.Store, news: cfg.News, poke: cfg.Poke, publicURL: cfg.PublicURL, silentFor: cfg.SilentFor, log: cfg.Log, took: took, calls: calls,
	}
}

// Run works until the context ends.
func (c *Conductor) Run(ctx context.Context) error {
	look, chores := time.NewTicker(lookEvery), time.NewTicker(choresEvery)
	defer look.Stop()
	defer chores.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.news:
		case <-look.C:
		case <-chores.C:
			c.chores(ctx)
		}
		if err := c.Move(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "audits not moved along; trying again", "error", err)
		}
	}
}

// Move does what every audit waits for. One that cannot be moved does not hold up the others.
func (c *Conductor) Move(ctx context.Context) error {
	steps, err := c.store.AuditSteps(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, step := range steps {
		if step.Scan {
			err = c.scan(ctx, step.AuditID)
		} else {
			err = c.end(ctx, step.AuditID)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("move audit %s along: %w", step.AuditID, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Conductor) scan(ctx context.Context, auditID uuid.UUID) error {
	for {
		handed, err := c.store.HandOut(ctx, auditID, page, part)
		if err != nil {
			return err
		}
		c.poke()
		if handed < page {
			return nil
		}
	}
}

func (c *Conductor) end(ctx context.Context, auditID uuid.UUID) error {
	ended, err := c.store.EndAudit(ctx, auditID, c.tell)
	if err != nil || ended == nil {
		return err
	}
	c.poke()
	with := metric.WithAttributes(attribute.String("status", ended.Status), attribute.String("read", ended.Read))
	if ended.StartedAt != nil {
		c.took.Record(ctx, ended.FinishedAt.Sub(*ended.StartedAt).Seconds(), with)
	}
	if n := ended.Report.Counts.Teams; n > 0 {
		c.calls.Record(ctx, float64(ended.PagerDutyCalls)/float64(n), with)
	}
	c.log.InfoContext(ctx, "audit ended", "audit_id", auditID.String(), "schedule_id", ended.ScheduleID, "status", ended.Status, "summary", ended.Summary)
	return nil
}

// tell decides whom to tell of an ended audit.
func (c *Conductor) tell(a store.Audit, report notice.AuditFinished) ([]store.Delivery, error) {
	if tells, _ := audit.Tells(a.Request.Notify, report); !tells {
		return nil, nil
	}
	if c.publicURL != "" {
		report.URL = c.publicURL + "/v1/audits/" + a.AuditID.String()
	}
	payload, err := json.Marshal(report)
	if err != nil {
		return nil, fault.New(fault.Internal, "the notification cannot be written", err)
	}
	var deliveries []store.Delivery
	for _, to := range a.Request.Recipients() {
		deliveries = append(deliveries, store.Delivery{
			Key: notice.Key(a.AuditID.String(), to.Medium, to.Channel), Medium: to.Medium, Channel: to.Channel, Payload: payload,
		})
	}
	return deliveries, nil
}

// chores keep things in order that nobody waits for.
func (c *Conductor) chores(ctx context.Context) {
	announced, err := c.store.AnnounceAuditJobs(ctx, c.silentFor)
	if err == nil && announced > 0 {
		c.log.InfoContext(ctx, "silent parts of audits announced again", "count", announced)
		c.poke()
	}
	if err == nil {
		_, err = c.store.ExpireAcknowledgements(ctx)
	}
	if err == nil {
		err = c.store.PruneAudits(ctx, keepParts)
	}
	if err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "chores not done; trying again", "error", err)
	}
}
