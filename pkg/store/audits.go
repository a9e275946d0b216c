package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// AuditQueue is the logical name of the queue of the parts of audits.
const AuditQueue = "audit"

// The phases of an audit.
const (
	PhaseSnapshot = "snapshot" // the lists of both platforms are read
	PhaseScan     = "scan"     // the teams are handed out
	PhaseTeams    = "teams"    // they are compared
	PhaseSummary  = "summary"  // nothing is left but to say what came out
	PhaseEnded    = "ended"
)

// AuditRequest is what an audit was asked to do, and whom to tell.
type AuditRequest struct {
	Scope          audit.Scope   `json:"scope"`
	Mode           string        `json:"mode"`                      // audit.Auto, Full or Incremental
	AutoReconcile  string        `json:"auto_reconcile"`            // audit.Observe or Enforce
	AcceptShrunken bool          `json:"accept_shrunken,omitempty"` // take a source at its word that declares far less than before
	FullEvery      time.Duration `json:"full_every,omitempty"`      // in the mode auto; 0: a week
	Notify         string        `json:"notify,omitempty"`          // audit.Always and so on; empty: nobody is told
	SlackChannel   string        `json:"slack_channel,omitempty"`
	Emails         []string      `json:"emails,omitempty"`
	IgnoreOrphans  []string      `json:"ignore_orphans,omitempty"` // patterns of names
}

// Recipient is where something is told.
type Recipient struct{ Medium, Channel string }

// Recipients are those who are told of the audit, where it is told at all.
func (r AuditRequest) Recipients() []Recipient {
	var list []Recipient
	if r.SlackChannel != "" {
		list = append(list, Recipient{"slack", r.SlackChannel})
	}
	for _, address := range r.Emails {
		list = append(list, Recipient{"email", address})
	}
	return list
}

// NewAudit is an audit to be made durable.
type NewAudit struct {
	ScheduleID  string     // empty: somebody asked for it
	TickAt      *time.Time // of the schedule; nil: none
	RequestedBy string
	Request     AuditRequest
	Trace       map[string]string
	Delay       time.Duration // before it is begun
}

// Audit is one comparison of the fleet as it stands.
type Audit struct {
	AuditID        uuid.UUID
	ScheduleID     string
	TickAt         *time.Time
	Status         string
	Phase          string
	RequestedBy    string
	Request        AuditRequest
	Trace          map[string]string
	Read           string // audit.Full or Incremental; empty: not decided yet
	ReadReason     string // why it is full although less was asked for
	TargetsListed  bool   // the target's list of teams is whole
	UsersListed    bool   // and that of its users
	TeamsTotal     int
	TeamsDone      int
	ReadsTotal     int
	ReadsDone      int
	CortexCalls    int
	PagerDutyCalls int
	RunsStarted    int
	CanceledBy     string
	Report         *notice.AuditFinished // without its long lists, see AuditReport; nil: not ended
	Summary        string
	ErrorReason    string
	ErrorMessage   string
	CreatedAt      time.Time
	StartedAt      *time.Time
	TeamsFrom      *time.Time // since when teams are compared
	FinishedAt     *time.Time
}

// AcceptAudit makes an audit durable that somebody asks for. The same principal and key give the first audit again, or a
// Conflict where the request differs. One transaction.
func (s *Store) AcceptAudit(ctx context.Context, n NewAudit, key string, requestHash []byte) (auditID uuid.UUID, created bool, err error) {
	if auditID, err = newID(); err != nil {
		return uuid.Nil, false, err
	}
	if key == "" {
		key = auditID.String()
	}
	err = s.tx(ctx, "accept an audit", func(q *db.Queries) error {
		row, err := q.KeyAudit(ctx, db.KeyAuditParams{Principal: n.RequestedBy, IdempotencyKey: key, RequestHash: requestHash, AuditID: auditID})
		if err != nil {
			return err
		}
		auditID, created = row.JobID, row.Created
		switch {
		case !created && string(row.RequestHash) != string(requestHash):
			return fault.New(fault.Conflict,
				"the idempotency key was used for another request ("+auditID.String()+"); use a new key for a new request", nil).
				WithReason("IDEMPOTENCY_KEY_REUSED")
		case !created:
			return nil
		}
		if under, err := q.CountUnfinishedAudits(ctx); err != nil {
			return err
		} else if under >= mostUnderWay {
			return fault.New(fault.Throttled, "too many audits are under way; wait for them, or cancel some", nil).
				WithReason("TOO_MANY_AUDITS").WithRetryAfter(time.Minute)
		}
		_, err = insertAudit(ctx, q, auditID, n)
		return err
	})
	return auditID, created, err
}

// mostUnderWay bounds the audits that people have asked for and that wait for the same quota.
const mostUnderWay = 500

// insertAudit reports false where the tick has its audit already.
func insertAudit(ctx context.Context, q *db.Queries, auditID uuid.UUID, n NewAudit) (bool, error) {
	rows, err := q.InsertAudit(ctx, db.InsertAuditParams{
		AuditID: auditID, ScheduleID: n.ScheduleID, TickAt: n.TickAt, RequestedBy: n.RequestedBy,
		Request: encode(n.Request), Trace: encode(orEmpty(n.Trace)), Queue: AuditQueue, Delay: n.Delay,
	})
	return rows == 1, err
}

func newID() (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, fault.New(fault.Internal, "make an id", err)
	}
	return id, nil
}

// Audit reads one audit.
func (s *Store) Audit(ctx context.Context, auditID uuid.UUID) (Audit, error) {
	row, err := s.q.GetAudit(ctx, auditID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Audit{}, noAudit(auditID)
	}
	if err != nil {
		return Audit{}, wrap(err, "read an audit")
	}
	return auditFrom(row)
}

// AuditFilter selects audits; empty fields select all. After is the last audit of the page before.
type AuditFilter struct {
	After      uuid.UUID
	ScheduleID string
	Status     string
	Limit      int
}

// Audits lists audits, newest first.
func (s *Store) Audits(ctx context.Context, f AuditFilter) ([]Audit, error) {
	rows, err := s.q.ListAudits(ctx, db.ListAuditsParams{After: f.After, ScheduleID: f.ScheduleID, Status: f.Status, PageSize: int32(f.Limit)})
	if err != nil {
		return nil, wrap(err, "list audits")
	}
	audits := make([]Audit, len(rows))
	for i, row := range rows {
		if audits[i], err = auditFrom(row); err != nil {
			return nil, err
		}
	}
	return audits, nil
}

// CancelAudit asks for the end of an audit; whoever moves audits along ends it. Asking twice is the same as once; an audit
// that has ended otherwise is a Precondition.
func (s *Store) CancelAudit(ctx context.Context, auditID uuid.UUID, by string) (Audit, error) {
	err := s.tx(ctx, "cancel an audit", func(q *db.Queries) error {
		row, err := q.LockAudit(ctx, auditID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noAudit(auditID)
		case err != nil:
			return err
		case row.Status == audit.Canceled:
			return nil
		case audit.Ended(row.Status):
			return fault.New(fault.Precondition, "the audit has ended already: "+row.Status, nil).WithReason("AUDIT_ENDED")
		}
		if err := q.AskToCancelAudit(ctx, db.AskToCancelAuditParams{AuditID: auditID, CanceledBy: by}); err != nil {
			return err
		}
		return q.TellAudit(ctx, auditID.String())
	})
	if err != nil {
		return Audit{}, err
	}
	return s.Audit(ctx, auditID)
}

// NewAuditHub makes a hub that tells when an audit has gone on.
func (s *Store) NewAuditHub(log *slog.Logger) *EventHub { return s.newHub("audit_events", log) }

func auditFrom(row db.Audit) (Audit, error) {
	a := Audit{
		AuditID: row.AuditID, ScheduleID: row.ScheduleID, TickAt: row.TickAt, Status: row.Status, Phase: row.Phase,
		RequestedBy: row.RequestedBy, Read: row.Read, ReadReason: row.ReadReason, TargetsListed: row.Listed, UsersListed: row.UsersListed,
		TeamsTotal: int(row.TeamsTotal), TeamsDone: int(row.TeamsDone),
		ReadsTotal: int(row.ReadsTotal), ReadsDone: int(row.ReadsDone), CortexCalls: int(row.CortexCalls),
		PagerDutyCalls: int(row.PagerdutyCalls), RunsStarted: int(row.RunsStarted), CanceledBy: row.CanceledBy,
		Summary: row.Summary, ErrorReason: row.ErrorReason, ErrorMessage: row.ErrorMessage,
		CreatedAt: row.CreatedAt, StartedAt: row.StartedAt, TeamsFrom: row.TeamsFrom, FinishedAt: row.FinishedAt,
	}
	err := errors.Join(decode(row.Request, &a.Request), decode(row.Trace, &a.Trace))
	if row.Report != nil {
		err = errors.Join(err, decode(row.Report, &a.Report))
	}
	return a, err
}

func noAudit(auditID uuid.UUID) error {
	return fault.New(fault.NotFound, "there is no audit "+auditID.String(), nil).WithReason("AUDIT_NOT_FOUND")
}
