package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// approvedFor is how much longer than there was time to approve a plan its approval counts: a run may be held up.
const approvedFor = time.Hour

// Expired is why a run ends for whose plan the approval did not come in time.
func Expired() error {
	return fault.New(fault.Precondition, "nothing was changed: the plan was not approved in time; ask for the run again", nil).
		WithReason(store.ApprovalExpired)
}

// awaitApproval lets a plan pass that was approved by everybody whom the rules ask for. A run that was approved has compared
// over again: only where that gave the very plan that people saw does their approval count. Otherwise the run waits.
func (r *run) awaitApproval(ctx context.Context, s *State) error {
	approval, err := r.job.Ledger.Approval(ctx)
	if err != nil {
		return err
	}
	if approval == nil || approval.PlanHash != s.Plan.Hash() || r.parts.Now().After(approval.ExpiresAt.Add(approvedFor)) ||
		len(s.Decision.Missing(r.job.Run.RequestedBy, approval.Votes)) > 0 {
		return flow.Interrupt(strings.Join(s.Decision.Reasons, "; "))
	}
	for _, v := range approval.Votes {
		s.ApprovedBy = append(s.ApprovedBy, v.Principal)
	}
	return nil
}

// Ask puts a run whose flow was interrupted to wait for an approval: its plan goes into the trail and to those who may
// approve it, and somebody else may work on the team meanwhile.
func (f *Flow) Ask(ctx context.Context, job Job, s *State) error {
	r := &run{Flow: f, job: job}
	if err := r.seal(ctx, s, s.seen()); err != nil {
		return err
	}
	asking := store.Asking{
		Result: store.Result{Plan: *s.Plan, Decision: *s.Decision}, Within: f.parts.ApproveWithin,
		Summary: "waits for approval: " + describePlan(*s.Plan),
	}
	if f.parts.Channel != "" {
		delivery, err := r.request(s)
		if err != nil {
			return err
		}
		asking.Tell = append(asking.Tell, delivery)
	}
	return job.Ledger.Await(ctx, asking)
}

// request is the message that asks for the approval.
func (r *run) request(s *State) (store.Delivery, error) {
	n := notice.ApprovalRequested{
		ApprovalOf: r.job.Run.JobID.String(), PlanHash: s.Plan.Hash(), TeamID: s.TeamID, TeamName: s.Plan.TeamName,
		RequestedBy: r.job.Run.RequestedBy, Reason: s.Request.Reason, Reasons: s.Decision.Reasons,
		Changes: s.brief(), Ignored: briefIgnored(*s.Plan), ExpiresAt: r.parts.Now().Add(r.parts.ApproveWithin),
	}
	for _, a := range s.Decision.Approvers {
		who := fmt.Sprintf("%d × %s", a.Count, a.Role)
		if !a.Requester {
			who += " (not " + n.RequestedBy + ")"
		}
		n.Approvers = append(n.Approvers, who)
	}
	payload, err := json.Marshal(n)
	if err != nil {
		return store.Delivery{}, fault.New(fault.Internal, "the notification cannot be written", err)
	}
	return store.Delivery{
		Key: notice.ApprovalKey(r.life(), n.PlanHash, "slack", r.parts.Channel), Medium: "slack", Channel: r.parts.Channel, Payload: payload,
	}, nil
}
