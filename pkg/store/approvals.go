package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// Approval is what a run waits for, or last waited for: a plan, who has to approve it, and who has.
type Approval struct {
	PlanHash    string
	Decision    policy.Decision
	Votes       []policy.Vote
	RequestedAt time.Time
	ExpiresAt   time.Time
}

// Approval reads it; nil where the run never waited for one.
func (s *Store) Approval(ctx context.Context, jobID uuid.UUID) (*Approval, error) {
	return approval(ctx, s.q, jobID)
}

// Approval is that of the claim's run.
func (c *Claim) Approval(ctx context.Context) (*Approval, error) {
	return c.store.Approval(ctx, c.Run.JobID)
}

func approval(ctx context.Context, q *db.Queries, jobID uuid.UUID) (*Approval, error) {
	row, err := q.GetApproval(ctx, jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "read an approval")
	}
	a := &Approval{PlanHash: row.PlanHash, RequestedAt: row.RequestedAt, ExpiresAt: row.ExpiresAt}
	return a, errors.Join(decode(row.Decision, &a.Decision), decode(row.Votes, &a.Votes))
}

// Disapprove says that what the run applies now is not what was approved: the plan has become one that needs no approval.
func (c *Claim) Disapprove(ctx context.Context) error {
	_, err := c.store.q.Disapprove(ctx, db.DisapproveParams{JobID: c.Run.JobID, Fence: c.Fence})
	return wrap(err, "take an approval back")
}

// Asking is what a run waits with.
type Asking struct {
	Result  Result
	Summary string
	Within  time.Duration // after which it ends without
	Tell    []Delivery
}

// Await makes the run wait until its plan is approved, or the time is over. What was planned is forgotten: whoever goes on
// compares over again, and finds the same plan or asks anew. One transaction.
func (c *Claim) Await(ctx context.Context, a Asking) error {
	message := strings.Join(a.Result.Decision.Reasons, "; ")
	return c.tx(ctx, "await an approval", func(q *db.Queries) error {
		n, err := q.AwaitApproval(ctx, db.AwaitApprovalParams{
			JobID: c.Run.JobID, Fence: c.Fence, Result: encode(a.Result), Summary: text(a.Summary), Within: a.Within, Message: text(message),
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return c.fenced()
		}
		if err := q.SaveApproval(ctx, db.SaveApprovalParams{
			JobID: c.Run.JobID, PlanHash: a.Result.Plan.Hash(), Decision: encode(a.Result.Decision), Within: a.Within,
		}); err != nil {
			return err
		}
		if err := q.ForgetCheckpoint(ctx, c.Run.JobID); err != nil {
			return err
		}
		if err := q.SetSyncStatus(ctx, db.SetSyncStatusParams{
			TeamID: c.Run.TeamID, SyncStatus: string(ownership.OutOfSync), JobID: nullable(c.Run.JobID),
		}); err != nil {
			return err
		}
		if err := tellReplaced(ctx, q, c.Run, a.Result.Plan.Hash()); err != nil {
			return err
		}
		for _, d := range a.Tell {
			if err := ask(ctx, q, c.Run, d); err != nil {
				return err
			}
		}
		if err := q.AppendEvents(ctx, appendParams([]Event{{JobID: c.Run.JobID, At: time.Now(), Kind: ApprovalAsked, Message: message}})); err != nil {
			return err
		}
		if err := q.EnqueueRun(ctx, db.EnqueueRunParams{JobID: c.Run.JobID, Queue: ReconcileQueue}); err != nil {
			return err
		}
		return q.ReleaseLease(ctx, db.ReleaseLeaseParams{TeamID: c.Run.TeamID, JobID: c.Run.JobID, Fence: c.Fence})
	})
}

// Approve counts a vote for the plan that a run waits with, and lets the run go on once nobody's is missing. Whoever
// approves says which plan: it may have been planned anew since they looked. Approving twice is the same as once. The vote
// stands in the trail. One transaction.
func (s *Store) Approve(ctx context.Context, jobID uuid.UUID, planHash string, vote policy.Vote) (Run, error) {
	voted := func(a *Approval) bool {
		return a.PlanHash == planHash && slices.ContainsFunc(a.Votes, func(v policy.Vote) bool { return v.Principal == vote.Principal })
	}
	err := s.waiting(ctx, "approve a plan", jobID, planHash, func(q *db.Queries, head trail.Head, run Run, a *Approval) error {
		// One person is one vote, with the roles that they hold now.
		votes := slices.DeleteFunc(slices.Clone(a.Votes), func(v policy.Vote) bool { return v.Principal == vote.Principal })
		votes = append(votes, vote)
		missing, left := a.Decision.Missing(run.RequestedBy, a.Votes), a.Decision.Missing(run.RequestedBy, votes)
		switch {
		case !slices.Equal(missing, left):
		case voted(a):
			return nil
		default:
			return countsForNothing(run, vote, left)
		}
		if err := q.SaveVotes(ctx, db.SaveVotesParams{JobID: jobID, Votes: encode(votes)}); err != nil {
			return err
		}
		if err := record(ctx, q, head, run, []trail.Finding{verdictOf(run, a, "approve", vote.Principal, vote.Reason, vote.Via)}); err != nil {
			return err
		}
		if err := tellVotes(ctx, q, run, a, votes, len(left) == 0); err != nil {
			return err
		}
		event := Event{JobID: jobID, At: time.Now(), Kind: PlanApproved, Message: "approved by " + vote.Principal}
		if len(left) == 0 {
			event.Kind = RunApproved
			if err := q.ResumeApproved(ctx, jobID); err != nil {
				return err
			}
			if err := q.EnqueueRun(ctx, db.EnqueueRunParams{JobID: jobID, Queue: ReconcileQueue}); err != nil {
				return err
			}
		}
		return q.AppendEvents(ctx, appendParams([]Event{event}))
	})
	if fault.ReasonOf(err) == notAwaiting {
		run, readErr := s.Run(ctx, jobID)
		if a, votesErr := s.Approval(ctx, jobID); readErr == nil && votesErr == nil && run.CanceledBy == "" && a != nil && voted(a) {
			return run, nil
		}
	}
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, jobID)
}

// countsForNothing says why a vote would change nothing.
func countsForNothing(run Run, vote policy.Vote, missing []policy.Approvers) error {
	var needed []string
	for _, a := range missing {
		if vote.Principal == run.RequestedBy && slices.Contains(vote.Roles, a.Role) {
			return fault.New(fault.PermissionDenied, "whoever asked for a run does not approve it; somebody else with the role "+a.Role+" has to", nil).
				WithReason("SELF_APPROVAL")
		}
		needed = append(needed, a.Role)
	}
	return fault.New(fault.PermissionDenied, fmt.Sprintf("%s holds none of the roles whose approval is missing on team %s: %s",
		vote.Principal, run.TeamID, strings.Join(needed, ", ")), nil).WithReason("ROLE_NOT_ASKED")
}

// Reject ends a run that waits for approval: it is canceled, with nothing changed, and the trail says by whom and why. An
// empty hash rejects whichever plan it is. One transaction.
func (s *Store) Reject(ctx context.Context, jobID uuid.UUID, planHash, by, reason, via string) (Run, error) {
	err := s.waiting(ctx, "reject a plan", jobID, planHash, func(q *db.Queries, head trail.Head, run Run, a *Approval) error {
		if err := record(ctx, q, head, run, []trail.Finding{verdictOf(run, a, "reject", by, reason, via)}); err != nil {
			return err
		}
		if err := tellRejected(ctx, q, run, a, by, reason); err != nil {
			return err
		}
		why := "the plan was rejected"
		if reason != "" {
			why += ": " + reason
		}
		if err := q.AskToCancel(ctx, db.AskToCancelParams{JobID: jobID, CanceledBy: by, CancelReason: why}); err != nil {
			return err
		}
		return q.EnqueueRun(ctx, db.EnqueueRunParams{JobID: jobID, Queue: ReconcileQueue})
	})
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, jobID)
}

// verdictOf is the entry of the trail that says what somebody said of a plan.
func verdictOf(run Run, a *Approval, action, by, reason, via string) trail.Finding {
	return trail.Finding{
		// A plan may be asked for more than once: each asking has its own.
		ChangeID: fmt.Sprintf("%s:%.12s:%d:%s", action, a.PlanHash, a.RequestedAt.UnixMicro(), by), EntityRef: "run:" + run.JobID.String(), Action: action,
		Outcome: trail.Reported, Message: "by " + via, Actor: by, Reason: reason, PlanHash: a.PlanHash, RecordedAt: time.Now(),
	}
}

// waiting runs f on a run that waits for the approval of the plan. The trail's head is locked first, as by all who write
// to it: who waits for it holds nothing yet.
func (s *Store) waiting(ctx context.Context, what string, jobID uuid.UUID, planHash string, f func(*db.Queries, trail.Head, Run, *Approval) error) error {
	return s.tx(ctx, what, func(q *db.Queries) error {
		head, err := q.LockTrailHead(ctx)
		if err != nil {
			return err
		}
		row, err := q.LockRun(ctx, jobID)
		if errors.Is(err, pgx.ErrNoRows) {
			return noRun(jobID)
		}
		if err != nil {
			return err
		}
		run, err := runFrom(row)
		if err != nil {
			return err
		}
		a, err := approval(ctx, q, jobID)
		switch {
		case err != nil:
			return err
		case a == nil || run.Status != Awaiting || run.CanceledBy != "":
			return notWaiting(run, a, planHash)
		case !row.AwaitingUntil.After(time.Now()):
			return fault.New(fault.Precondition, "the time to approve the plan is over; ask for the run again", nil).WithReason(ApprovalExpired)
		case planHash != "" && planHash != a.PlanHash:
			return fault.New(fault.Precondition, fmt.Sprintf("the run waits with another plan now (%.12s…): look at it again", a.PlanHash), nil).
				WithReason("PLAN_CHANGED")
		}
		return f(q, trail.Head{Seq: head.Seq, Hash: head.Hash}, run, a)
	})
}

func notWaiting(run Run, a *Approval, planHash string) error {
	text := "the run does not wait for an approval: it is " + strings.ReplaceAll(run.Status, "_", " ")
	if run.CanceledBy != "" {
		text = "the run does not wait for an approval any more: it was " + CancelMessage(run.CanceledBy, run.CancelReason)
	} else if a != nil && a.PlanHash == planHash && run.Approved {
		text += ", approved"
	}
	return fault.New(fault.Precondition, text, nil).WithReason(notAwaiting)
}

const (
	notAwaiting = "NOT_AWAITING_APPROVAL"
	// ApprovalExpired is the reason where nobody approved a plan in time.
	ApprovalExpired = "APPROVAL_EXPIRED"
)
