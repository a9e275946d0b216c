package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// Claim is the right to work on a run: the lease on its team, with a fence that grows with every claim. Every write
// checks the fence in the statement that writes, by the database's clock, so a worker that lost its lease while it was
// frozen or cut off changes nothing: it gets fault.Fenced.
//
// A Claim is also the run's flow.Journal.
type Claim struct {
	Run    Run
	Fence  int64
	Waited time.Duration // since the run could have been done, by the database's clock
	store  *Store
	lease  time.Duration
}

// Terms are how a run is claimed.
type Terms struct {
	Owner       string        // who claims
	Lease       time.Duration // how long the run stays theirs without a renewal
	PlanGoodFor time.Duration // how old a plan may be to be applied; an older one is made anew
}

// Claim takes a run for its owner. It fails with NotFound where there is no such run, with Precondition where the run has
// ended or is not due (its message was early: another one comes when it is), and with Conflict where the team is held by
// another claim; RetryAfter says when to come back.
func (s *Store) Claim(ctx context.Context, jobID uuid.UUID, terms Terms) (*Claim, error) {
	row, err := s.q.ClaimRun(ctx, db.ClaimRunParams{JobID: jobID, Owner: terms.Owner, Lease: terms.Lease, PlanGoodFor: terms.PlanGoodFor})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, s.whyNotClaimed(ctx, jobID)
	}
	if err != nil {
		return nil, wrap(err, "claim a run")
	}
	run, err := runFrom(row.Run)
	if err != nil {
		return nil, err
	}
	return &Claim{Run: run, Fence: row.Run.Fence, Waited: row.Waited, store: s, lease: terms.Lease}, nil
}

func (s *Store) whyNotClaimed(ctx context.Context, jobID uuid.UUID) error {
	row, err := s.q.ClaimObstacle(ctx, jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return noRun(jobID)
	}
	if err != nil {
		return wrap(err, "claim a run")
	}
	switch {
	case Terminal(row.Status):
		return fault.New(fault.Precondition, "the run has ended", nil).WithReason("RUN_ENDED")
	case row.PausedFor > 0 && row.NotDueFor <= 0: // it was accepted while the pause began
		if err := s.q.HoldRuns(ctx, db.HoldRunsParams{TeamID: row.TeamID, Queue: ReconcileQueue, JobID: nullable(jobID)}); err != nil {
			return wrap(err, "hold a run")
		}
		return fault.New(fault.Precondition, "the team is paused", nil).WithReason("TEAM_PAUSED")
	case row.NotDueFor > 0:
		return fault.New(fault.Precondition, "the run is not due yet", nil).WithReason("RUN_NOT_DUE")
	}
	return fault.New(fault.Conflict, "the team is being worked on", nil).WithReason("TEAM_BUSY").WithRetryAfter(max(row.BusyFor, 0))
}

// Asked is what somebody wants of a run that is being worked on.
type Asked struct {
	CanceledBy, CancelReason string // CanceledBy is empty where nobody wants its end
	PausedFor                time.Duration
	PausedBy, PauseReason    string
}

// Renew makes the lease last from now again, and tells what was asked of the run meanwhile.
func (c *Claim) Renew(ctx context.Context) (Asked, error) {
	row, err := c.store.q.RenewLease(ctx, db.RenewLeaseParams{
		Lease: c.lease, TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Asked{}, c.fenced()
	}
	if err != nil {
		return Asked{}, wrap(err, "renew the lease")
	}
	return Asked{
		CanceledBy: row.CanceledBy, CancelReason: row.CancelReason,
		PausedFor: row.PausedFor, PausedBy: row.PausedBy, PauseReason: row.PauseReason,
	}, nil
}

// Load gives the snapshot of the run's round, or nil.
func (c *Claim) Load(ctx context.Context) ([]byte, error) {
	snapshot, err := c.store.q.GetCheckpoint(ctx, db.GetCheckpointParams{JobID: c.Run.JobID, Round: int32(c.Run.Round)})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return snapshot, wrap(err, "read the checkpoint")
}

// Save makes the run's snapshot durable. One round trip.
func (c *Claim) Save(ctx context.Context, snapshot []byte) error {
	held, err := c.store.q.SaveCheckpoint(ctx, db.SaveCheckpointParams{
		TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence, Snapshot: snapshot, Round: int32(c.Run.Round),
	})
	return c.written(held, err, "save the checkpoint")
}

// Intend writes down what is about to be done, all of it, before any of it. Changes that stand already keep their
// outcomes. One round trip.
func (c *Claim) Intend(ctx context.Context, changes []ownership.Change) error {
	p := db.IntendChangesParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence, Round: int32(c.Run.Round)}
	for i, change := range changes {
		p.ChangeIds = append(p.ChangeIds, ChangeRef(c.Run.Round, change.ID))
		p.Positions = append(p.Positions, int32(i))
		p.Changes = append(p.Changes, encode(change))
	}
	held, err := c.store.q.IntendChanges(ctx, p)
	return c.written(held, err, "write the intents")
}

// Changes lists the intents of the round, in the order in which they are applied, and what came of them.
func (c *Claim) Changes(ctx context.Context) ([]Change, error) {
	changes, err := c.changes(ctx)
	return slices.DeleteFunc(changes, func(change Change) bool { return change.Round < c.Run.Round }), err
}

// Earlier lists the intents of the rounds before and what came of them, as far as that is known.
func (c *Claim) Earlier(ctx context.Context) ([]Change, error) {
	changes, err := c.changes(ctx)
	return slices.DeleteFunc(changes, func(change Change) bool { return change.Round == c.Run.Round }), err
}

func (c *Claim) changes(ctx context.Context) ([]Change, error) {
	rows, err := c.store.q.ListChanges(ctx, db.ListChangesParams{JobID: c.Run.JobID, Round: int32(c.Run.Round)})
	if err != nil {
		return nil, wrap(err, "list changes")
	}
	changes := make([]Change, len(rows))
	for i, row := range rows {
		if changes[i], err = changeFrom(row); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// Settle writes what came of a change, named by its Ref. One round trip.
func (c *Claim) Settle(ctx context.Context, ref, outcome, message string, calls []trail.APICall) error {
	if calls == nil {
		calls = []trail.APICall{}
	}
	held, err := c.store.q.SettleChange(ctx, db.SettleChangeParams{
		TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence,
		ChangeID: ref, Outcome: outcome, Message: text(message), ApiCalls: encode(calls),
	})
	return c.written(held, err, "settle a change")
}

// SaveLink remembers which target team the run's team is. One transaction.
func (c *Claim) SaveLink(ctx context.Context, l Link) error {
	return c.tx(ctx, "save the link", func(q *db.Queries) error {
		return q.SaveLink(ctx, db.SaveLinkParams{
			TeamID: c.Run.TeamID, Source: l.Source, SourceID: l.SourceID, Target: l.Target, TargetID: l.TargetID,
		})
	})
}

// Record seals findings into the trail, each (job, change) once. One transaction; writers to the trail wait for each
// other on its head, which is why it comes first: who waits holds nothing yet, and can still renew its lease.
func (c *Claim) Record(ctx context.Context, findings []trail.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return c.store.tx(ctx, "record findings", func(q *db.Queries) error {
		row, err := q.LockTrailHead(ctx)
		if err != nil {
			return err
		}
		if err := c.hold(ctx, q); err != nil {
			return err
		}
		for i := range findings {
			findings[i].Actor = c.Run.RequestedBy
		}
		return record(ctx, q, trail.Head{Seq: row.Seq, Hash: row.Hash}, c.Run, findings)
	})
}

// Ending is how a run ends.
type Ending struct {
	Status       string // Succeeded, Failed, Canceled or DeadLettered
	Summary      string
	Result       *Result
	ErrorReason  string
	ErrorMessage string
	Sync         ownership.SyncStatus // of the team, as the run leaves it; empty: the run does not know
	NoSuchTeam   bool                 // the source says so: a mistyped id must not become a team
	Declared     *ownership.Desired   // what the source declared; nil where it was not read
	Tell         []Delivery           // whom to tell

	// What the run knows of the target team at its end, for the audits to come.
	Seen    *ownership.Observed // the team whole, with what the run changed; nil: it did not see that
	Touched string              // the target team that it changed without seeing what came of it; empty: none
	Mended  []ownership.Change  // what took effect and was seen
}

// Delivery is a message to be sent once to one place.
type Delivery struct {
	Key     string
	Medium  string
	Channel string
	Payload json.RawMessage
}

// Finish ends the run, buries it where it is dead-lettered, sets the team's status, queues the notifications and lets go
// of the team, all in one transaction.
func (c *Claim) Finish(ctx context.Context, e Ending) error {
	return c.tx(ctx, "finish the run", func(q *db.Queries) error {
		var result json.RawMessage
		if e.Result != nil {
			result = encode(e.Result)
		}
		n, err := q.FinishRun(ctx, db.FinishRunParams{
			JobID: c.Run.JobID, Fence: c.Fence, Status: e.Status, Summary: text(e.Summary), Result: result,
			ErrorReason: e.ErrorReason, ErrorMessage: text(e.ErrorMessage),
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return c.fenced()
		}
		// What is known of the target comes first: an audit that settles the team takes its rows in the same order.
		if err := c.mirror(ctx, q, e); err != nil {
			return err
		}
		if e.Declared != nil {
			if err := q.DeclareTeams(ctx, declareParams([]ownership.Desired{*e.Declared})); err != nil {
				return err
			}
		}
		switch job := nullable(c.Run.JobID); {
		case e.NoSuchTeam:
			if err := q.LoseTeam(ctx, db.LoseTeamParams{TeamID: c.Run.TeamID, JobID: job}); err != nil {
				return err
			}
		case e.Sync != "":
			if err := q.SetSyncStatus(ctx, db.SetSyncStatusParams{
				TeamID: c.Run.TeamID, SyncStatus: string(e.Sync), JobID: job,
			}); err != nil {
				return err
			}
		}
		if e.Status == DeadLettered {
			if err := q.BuryRun(ctx, db.BuryRunParams{
				JobID: c.Run.JobID, Queue: ReconcileQueue, TeamID: c.Run.TeamID,
				Reason: e.ErrorReason, Error: text(e.ErrorMessage), Attempts: int32(c.Run.Attempt),
			}); err != nil {
				return err
			}
		}
		if err := c.mend(ctx, q, e); err != nil {
			return err
		}
		if c.Run.Approved || c.Run.AwaitingUntil != nil {
			if err := tellEnded(ctx, q, c.Run, e); err != nil {
				return err
			}
		}
		for _, d := range e.Tell {
			if err := insertDelivery(ctx, q, c.Run.JobID, c.Run.Trace, d); err != nil {
				return err
			}
		}
		// The last event is part of the transaction: whoever watches sees the end if and only if it happened.
		last := Event{JobID: c.Run.JobID, At: time.Now(), Kind: EndOf(e.Status), Message: e.ErrorMessage}
		if e.Status == Succeeded {
			last.Message = e.Summary
		}
		if err := q.AppendEvents(ctx, appendParams([]Event{last})); err != nil {
			return err
		}
		return q.ReleaseLease(ctx, db.ReleaseLeaseParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence})
	})
}

// readsLag is how long the target may take to show what a run has changed. A run that did not see it leaves nobody to.
const readsLag = 2 * time.Minute

// mirror remembers what the run knows of the target team.
func (c *Claim) mirror(ctx context.Context, q *db.Queries, e Ending) error {
	switch {
	case e.Seen != nil && e.Seen.TargetID != "":
		var users []ownership.User
		p := db.MirrorTargetParams{
			TargetID: e.Seen.TargetID, Name: text(e.Seen.Name), NameKey: text(ownership.NormalizeName(e.Seen.Name)),
			Description: text(e.Seen.Description), ReadFrom: *c.Run.StartedAt, UserIds: []string{}, Roles: []string{},
		}
		for _, m := range e.Seen.Members {
			users = append(users, m.User)
			p.UserIds = append(p.UserIds, m.User.ID)
			p.Roles = append(p.Roles, string(m.Role))
		}
		if err := q.MirrorTarget(ctx, p); err != nil || len(users) == 0 {
			return err
		}
		return q.SaveTargetUsers(ctx, userParams(users))
	case e.Touched != "":
		return q.DistrustTargets(ctx, db.DistrustTargetsParams{TargetIds: []string{e.Touched}, UserIds: []string{}, Lag: readsLag})
	}
	return nil
}

// mend resolves what audits found that the run has mended.
func (c *Claim) mend(ctx context.Context, q *db.Queries, e Ending) error {
	inSync := e.Sync == ownership.InSync
	if e.Declared != nil && e.Sync != "" && e.Result != nil {
		if err := hide(ctx, q, map[string][]ownership.Ignored{c.Run.TeamID: e.Result.Plan.Ignored}); err != nil {
			return err
		}
	}
	if e.Declared == nil || !inSync && len(e.Mended) == 0 {
		return nil // what audits found is about what the source declares, not about what a request brought along
	}
	mended := db.ResolveAuditFindingsParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, InSync: inSync, Kinds: []string{}, EntityRefs: []string{}}
	for _, change := range e.Mended {
		mended.Kinds = append(mended.Kinds, string(change.Kind))
		mended.EntityRefs = append(mended.EntityRefs, text(change.EntityRef))
	}
	return q.ResolveAuditFindings(ctx, mended)
}

// Postponement is why and for how long a run is put back.
type Postponement struct {
	Delay           time.Duration
	Counted         bool // a failed attempt; a shutdown, an open breaker, a used-up quota or a pause is none
	Paused          bool // until the pause of the team ends, whatever Delay says; that uses up no patience
	Reason, Message string
}

// Defer puts the run back: it waits and is announced again.
func (c *Claim) Defer(ctx context.Context, d Postponement) error {
	return c.tx(ctx, "defer the run", func(q *db.Queries) error {
		if d.Paused {
			if err := c.untilResumed(ctx, q, &d); err != nil {
				return err
			}
		}
		n, err := q.DeferRun(ctx, db.DeferRunParams{
			JobID: c.Run.JobID, Fence: c.Fence, Delay: d.Delay, Counted: d.Counted, Paused: d.Paused,
			ErrorReason: d.Reason, ErrorMessage: text(d.Message),
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return c.fenced()
		}
		if err := q.EnqueueRun(ctx, db.EnqueueRunParams{JobID: c.Run.JobID, Queue: ReconcileQueue}); err != nil {
			return err
		}
		return q.ReleaseLease(ctx, db.ReleaseLeaseParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence})
	})
}

// Forget takes the saved state back: whoever goes on with the run decides over again.
func (c *Claim) Forget(ctx context.Context) error {
	return c.tx(ctx, "forget the plan", func(q *db.Queries) error { return q.ForgetCheckpoint(ctx, c.Run.JobID) })
}

// untilResumed makes a postponement last as long as the pause does now: it may have been ended or replaced since the run
// stopped for it. What was planned is forgotten, because a pause is when people change things.
func (c *Claim) untilResumed(ctx context.Context, q *db.Queries, d *Postponement) error {
	left, err := q.PausedFor(ctx, c.Run.TeamID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		d.Delay = 0
	case err != nil:
		return err
	default:
		d.Delay = left
	}
	return q.ForgetCheckpoint(ctx, c.Run.JobID)
}

// tx runs f in a transaction that holds the lease's row, or fails with Fenced where the lease is not ours any more.
func (c *Claim) tx(ctx context.Context, what string, f func(*db.Queries) error) error {
	return c.store.tx(ctx, what, func(q *db.Queries) error {
		if err := c.hold(ctx, q); err != nil {
			return err
		}
		return f(q)
	})
}

// hold locks the lease for the rest of the transaction and proves that it is still ours.
func (c *Claim) hold(ctx context.Context, q *db.Queries) error {
	_, err := q.HoldLease(ctx, db.HoldLeaseParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence})
	if errors.Is(err, pgx.ErrNoRows) {
		return c.fenced()
	}
	return err
}

func (c *Claim) written(held int64, err error, what string) error {
	if err != nil {
		return wrap(err, what)
	}
	if held == 0 {
		return c.fenced()
	}
	return nil
}

func (c *Claim) fenced() error {
	return fault.New(fault.Fenced, fmt.Sprintf("the lease on team %s was lost (fence %d)", c.Run.TeamID, c.Fence), nil).WithReason("LEASE_LOST")
}
