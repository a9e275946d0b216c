// Package settings is what the reconcile-worker reads from its environment.
package settings

import (
	"errors"
	"time"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
)

// Settings of the reconcile-worker.
type Settings struct {
	config.Process
	Internal  config.Internal
	Database  config.Database
	Redis     config.Redis
	SQS       config.SQS
	S3        config.S3
	TLS       config.InternalTLS
	Cortex    config.Cortex
	PagerDuty config.PagerDuty
	Slack     config.SlackChannel
	Quota     Quota
	Work      Work
	Audit     Audit
	Roles     config.Roles
	Rules     Rules
}

// Quota is how much of the platforms' quotas may be used by all workers together.
type Quota struct {
	Cortex    int `env:"NTHLAYER_CORTEX_PER_MINUTE" envDefault:"1000" doc:"requests a minute to Cortex, by all workers together"`
	PagerDuty int `env:"NTHLAYER_PAGERDUTY_PER_MINUTE" envDefault:"960" doc:"requests a minute to PagerDuty, by all workers together, until its answers state another limit"`
}

// Validate checks the numbers.
func (q Quota) Validate() error {
	var errs []error
	for name, n := range map[string]int{"NTHLAYER_CORTEX_PER_MINUTE": q.Cortex, "NTHLAYER_PAGERDUTY_PER_MINUTE": q.PagerDuty} {
		if n < 1 || n > 1_000_000 {
			errs = append(errs, fault.Field(name, "must be between 1 and 1000000"))
		}
	}
	return errors.Join(errs...)
}

// Work is how runs are worked on.
type Work struct {
	Concurrency   int           `env:"NTHLAYER_CONCURRENCY" envDefault:"8" doc:"runs at the same time in one worker"`
	Lease         time.Duration `env:"NTHLAYER_LEASE" envDefault:"30s" doc:"how long a run stays with a worker that gives no sign of life; whole seconds"`
	MaxAttempts   int           `env:"NTHLAYER_MAX_ATTEMPTS" envDefault:"3" doc:"failed attempts after which a run is dead-lettered"`
	Backoff       time.Duration `env:"NTHLAYER_RETRY_AFTER" envDefault:"2s" doc:"the wait after the first failed attempt; it triples with each"`
	Patience      time.Duration `env:"NTHLAYER_PATIENCE" envDefault:"1h" doc:"how long a run may wait for a platform that is down or whose quota is used up before it is dead-lettered"`
	Attempt       time.Duration `env:"NTHLAYER_ATTEMPT_TIMEOUT" envDefault:"15m" doc:"how long one attempt at a run may take"`
	PlanGoodFor   time.Duration `env:"NTHLAYER_PLAN_GOOD_FOR" envDefault:"15m" doc:"how old the plan of an interrupted run may be to be applied further; an older one is made anew"`
	ApproveWithin time.Duration `env:"NTHLAYER_APPROVE_WITHIN" envDefault:"24h" doc:"how long a plan that needs approval waits for it before its run ends with nothing changed"`
	Catalogue     time.Duration `env:"NTHLAYER_CATALOGUE_EVERY" envDefault:"1m" doc:"how often the list of declared teams is read"`
}

// Validate checks the numbers.
func (w Work) Validate() error {
	var errs []error
	bounded := func(name string, ok bool, text string) {
		if !ok {
			errs = append(errs, fault.Field(name, text))
		}
	}
	bounded("NTHLAYER_CONCURRENCY", w.Concurrency >= 1 && w.Concurrency <= 256, "must be between 1 and 256")
	bounded("NTHLAYER_LEASE", w.Lease >= time.Second && w.Lease <= time.Hour && w.Lease%time.Second == 0, "must be whole seconds between 1s and 1h")
	bounded("NTHLAYER_MAX_ATTEMPTS", w.MaxAttempts >= 1 && w.MaxAttempts <= 100, "must be between 1 and 100")
	bounded("NTHLAYER_RETRY_AFTER", w.Backoff >= time.Millisecond && w.Backoff <= time.Hour, "must be between 1ms and 1h")
	bounded("NTHLAYER_PATIENCE", w.Patience >= time.Second && w.Patience <= 7*24*time.Hour, "must be between 1s and 168h")
	bounded("NTHLAYER_ATTEMPT_TIMEOUT", w.Attempt >= time.Second && w.Attempt <= time.Hour, "must be between 1s and 1h")
	bounded("NTHLAYER_PLAN_GOOD_FOR", w.PlanGoodFor >= time.Second && w.PlanGoodFor <= 24*time.Hour, "must be between 1s and 24h")
	bounded("NTHLAYER_APPROVE_WITHIN", w.ApproveWithin >= time.Minute && w.ApproveWithin <= 30*24*time.Hour, "must be between 1m and 720h")
	bounded("NTHLAYER_CATALOGUE_EVERY", w.Catalogue >= time.Second && w.Catalogue <= 24*time.Hour, "must be between 1s and 24h")
	return errors.Join(errs...)
}

// Audit is how audits are worked on.
type Audit struct {
	Concurrency int           `env:"NTHLAYER_AUDIT_CONCURRENCY" envDefault:"4" doc:"parts of audits at the same time in one worker"`
	Patience    time.Duration `env:"NTHLAYER_AUDIT_PATIENCE" envDefault:"5m" doc:"how long a platform may keep an audit from going on before the teams it has not read are unknown"`
	Settle      time.Duration `env:"NTHLAYER_AUDIT_SETTLE" envDefault:"2m" doc:"how long a change in PagerDuty may take to show in its lists and records; an audit reads what changed in so long before the last one again"`
	Shrink      float64       `env:"NTHLAYER_AUDIT_SHRINK" envDefault:"0.2" doc:"the share of its teams or members that the source may lose from one audit to the next and still be believed"`
}

// Validate checks the numbers.
func (a Audit) Validate() error {
	var errs []error
	if a.Concurrency < 1 || a.Concurrency > 64 {
		errs = append(errs, fault.Field("NTHLAYER_AUDIT_CONCURRENCY", "must be between 1 and 64"))
	}
	if a.Patience < time.Second || a.Patience > 24*time.Hour {
		errs = append(errs, fault.Field("NTHLAYER_AUDIT_PATIENCE", "must be between 1s and 24h"))
	}
	if a.Settle < 0 || a.Settle > time.Hour {
		errs = append(errs, fault.Field("NTHLAYER_AUDIT_SETTLE", "must be between 0s and 1h"))
	}
	if a.Shrink < 0 || a.Shrink > 1 {
		errs = append(errs, fault.Field("NTHLAYER_AUDIT_SHRINK", "must be between 0 and 1"))
	}
	return errors.Join(errs...)
}

// Rules are what a company decides about reconciling.
type Rules struct {
	CreateTeams  bool          `env:"NTHLAYER_CREATE_TEAMS" envDefault:"false" doc:"whether a team that PagerDuty lacks is created"`
	Policy       string        `env:"NTHLAYER_POLICY_DIR" doc:"where the company's rules and parameters are: a directory, or s3://bucket/prefix; empty: the shipped ones alone"`
	VerifyWithin time.Duration `env:"NTHLAYER_VERIFY_WITHIN" envDefault:"30s" doc:"how long PagerDuty may take to show a change"`
}

// Validate checks the numbers.
func (r Rules) Validate() error {
	var errs []error
	if r.VerifyWithin < time.Second || r.VerifyWithin > 4*time.Minute {
		errs = append(errs, fault.Field("NTHLAYER_VERIFY_WITHIN", "must be between 1s and 4m"))
	}
	if r.Policy != "" {
		errs = append(errs, objects.Check("NTHLAYER_POLICY_DIR", r.Policy))
	}
	return errors.Join(errs...)
}
