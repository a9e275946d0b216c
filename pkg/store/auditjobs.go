package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// SnapshotJob is the number of the part of an audit that reads the lists of both platforms. All others are teams.
const SnapshotJob = 0

// AuditJob is the right to work on a part of an audit, until its lease ends. What it writes after somebody else has
// claimed the part, or the audit has ended, changes nothing: it gets fault.Fenced.
type AuditJob struct {
	Audit      Audit
	No         int
	Fence      int64
	Attempts   int           // claims in a row that came to no end, with this one
	FailingFor time.Duration // how long a platform has kept the part from going on
	store      *Store
	lease      time.Duration
	readFrom   time.Time // by the database's clock: what is read of the teams that it gave last is not older
}

// ClaimAuditJob takes a part for its owner. It fails with NotFound where there is no such part, with Precondition where
// it is over or not due, and with Conflict where somebody is at it; RetryAfter says when to come back.
func (s *Store) ClaimAuditJob(ctx context.Context, auditID uuid.UUID, no int, owner string, lease time.Duration) (*AuditJob, error) {
	row, err := s.q.ClaimAuditJob(ctx, db.ClaimAuditJobParams{AuditID: auditID, JobNo: int32(no), Owner: owner, Lease: lease})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, s.whyNoAuditJob(ctx, auditID, no)
	}
	if err != nil {
		return nil, wrap(err, "claim a part of an audit")
	}
	a, err := auditFrom(row.Audit)
	if err != nil {
		return nil, err
	}
	if a.StartedAt == nil {
		if a.StartedAt, err = s.q.StartAudit(ctx, auditID); err != nil {
			return nil, wrap(err, "start an audit")
		}
	}
	return &AuditJob{Audit: a, No: no, Fence: row.Fence, Attempts: int(row.Attempts), FailingFor: row.FailingFor, store: s, lease: lease}, nil
}

func (s *Store) whyNoAuditJob(ctx context.Context, auditID uuid.UUID, no int) error {
	row, err := s.q.AuditJobObstacle(ctx, db.AuditJobObstacleParams{AuditID: auditID, JobNo: int32(no)})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if _, err := s.Audit(ctx, auditID); err != nil {
			return err
		}
		return fault.New(fault.Precondition, "the audit has ended and its parts are forgotten", nil).WithReason("AUDIT_ENDED")
	case err != nil:
		return wrap(err, "claim a part of an audit")
	case row.Over:
		return fault.New(fault.Precondition, "the part of the audit is over", nil).WithReason("AUDIT_JOB_ENDED")
	case row.NotDueFor > 0:
		return fault.New(fault.Precondition, "the part of the audit is not due yet", nil).WithReason("AUDIT_JOB_NOT_DUE")
	}
	return fault.New(fault.Conflict, "the part of the audit is being worked on", nil).WithReason("AUDIT_JOB_BUSY").
		WithRetryAfter(max(row.BusyFor, 0))
}

// Renew makes the lease last from now again; it is Fenced where the part is not ours any more or the audit is to end.
func (j *AuditJob) Renew(ctx context.Context) error {
	_, err := j.store.q.RenewAuditJob(ctx, db.RenewAuditJobParams{Lease: j.lease, AuditID: j.Audit.AuditID, JobNo: int32(j.No), Fence: j.Fence})
	if errors.Is(err, pgx.ErrNoRows) {
		return j.fenced()
	}
	return wrap(err, "renew the lease of a part of an audit")
}

// AuditDelay is why and for how long a part is put back.
type AuditDelay struct {
	Delay   time.Duration
	Failing bool // a platform keeps it from going on
	WentOn  bool // but it did go on a bit
	Failed  bool // it came to no end for a reason of our own
	Calls   Calls
}

// Defer puts the part back: it waits and is announced again. One round trip.
func (j *AuditJob) Defer(ctx context.Context, d AuditDelay) error {
	return wrap(j.store.q.DeferAuditJob(ctx, db.DeferAuditJobParams{
		AuditID: j.Audit.AuditID, JobNo: int32(j.No), Fence: j.Fence, Delay: d.Delay, Failing: d.Failing, WentOn: d.WentOn, Failed: d.Failed, Queue: AuditQueue,
		Cortex: int32(d.Calls.Cortex), Pagerduty: int32(d.Calls.PagerDuty),
	}), "put back a part of an audit")
}

// Abandon gives up what is left of a part of teams: they are unknown. One transaction.
func (j *AuditJob) Abandon(ctx context.Context, reason, message string) error {
	return j.tx(ctx, "give up a part of an audit", func(q *db.Queries) error {
		n, err := q.AbandonTeams(ctx, db.AbandonTeamsParams{
			AuditID: j.Audit.AuditID, JobNo: int32(j.No), Reason: reason, Message: text(message),
		})
		if err != nil {
			return err
		}
		if _, err := q.CountAuditProgress(ctx, db.CountAuditProgressParams{AuditID: j.Audit.AuditID, Teams: int32(n)}); err != nil {
			return err
		}
		return j.end(ctx, q)
	})
}

// tx runs f in a transaction in which the part is provably ours.
func (j *AuditJob) tx(ctx context.Context, what string, f func(*db.Queries) error) error {
	return j.store.tx(ctx, what, func(q *db.Queries) error {
		_, err := q.HoldAuditJob(ctx, db.HoldAuditJobParams{AuditID: j.Audit.AuditID, JobNo: int32(j.No), Fence: j.Fence})
		if errors.Is(err, pgx.ErrNoRows) {
			return j.fenced()
		}
		if err != nil {
			return err
		}
		return f(q)
	})
}

// end marks the part as done, with what it cost, and tells those who watch.
func (j *AuditJob) end(ctx context.Context, q *db.Queries) error {
	if err := q.EndAuditJob(ctx, db.EndAuditJobParams{AuditID: j.Audit.AuditID, JobNo: int32(j.No)}); err != nil {
		return err
	}
	return q.TellAudit(ctx, j.Audit.AuditID.String())
}

func (j *AuditJob) fenced() error {
	return fault.New(fault.Fenced, "the part of the audit is not ours any more", nil).WithReason("AUDIT_JOB_LOST")
}

// AnnounceAuditJobs puts parts of audits back into the outbox that are due but that nobody works on. One round trip.
func (s *Store) AnnounceAuditJobs(ctx context.Context, pause time.Duration) (int, error) {
	n, err := s.q.AnnounceAuditJobs(ctx, db.AnnounceAuditJobsParams{Queue: AuditQueue, Pause: pause})
	return int(n), wrap(err, "announce parts of audits")
}
