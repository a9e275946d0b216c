package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// record seals what was found and done into the trail. It may run again after a crash: each finding of a job stands once.
func (r *run) record(ctx context.Context, s *State) error {
	if s.TargetID != "" && (s.Link == nil || s.Link.TargetID != s.TargetID) {
		if err := r.saveLink(ctx, s); err != nil {
			return err
		}
	}
	now := r.parts.Now()
	var findings []trail.Finding
	add := func(id, ref, action, outcome, message string, c ownership.Change, calls []trail.APICall) error {
		before, err := state(c.Before)
		if err != nil {
			return err
		}
		after, err := state(c.After)
		if err != nil {
			return err
		}
		findings = append(findings, trail.Finding{
			ChangeID: id, EntityRef: ref, Action: action, Before: before, After: after,
			APICalls: calls, Outcome: outcome, Message: message, RecordedAt: now,
		})
		return nil
	}
	for _, c := range s.outcomes() {
		if err := add(c.ID, c.EntityRef, string(c.Kind), c.Outcome, c.Message, c.Change, c.APICalls); err != nil {
			return err
		}
	}
	if s.Plan != nil {
		for _, i := range s.Plan.Issues {
			id := string(i.Kind) + ":" + i.EntityRef
			if err := add(id, i.EntityRef, string(i.Kind), trail.Reported, i.Message, ownership.Change{}, nil); err != nil {
				return err
			}
		}
	}
	return r.job.Ledger.Record(ctx, findings)
}

// outcomes lists what came of each planned change; of a plan that was not applied, why not.
func (s *State) outcomes() []AppliedChange {
	if len(s.Applied) > 0 || s.Plan == nil || s.Decision == nil {
		return s.Applied
	}
	outcome, message := trail.Planned, ""
	if s.Decision.Verdict != policy.Allow {
		outcome, message = trail.Denied, strings.Join(s.Decision.Reasons, "; ")
	}
	changes := make([]AppliedChange, len(s.Plan.Changes))
	for i, c := range s.Plan.Changes {
		changes[i] = AppliedChange{Change: c, Outcome: outcome, Message: message}
	}
	return changes
}

func state(e *ownership.Entity) (json.RawMessage, error) {
	if e == nil {
		return nil, nil
	}
	return json.Marshal(e)
}

// announce ends the run.
func (r *run) announce(ctx context.Context, s *State) error { return r.end(ctx, s, judge(s)) }

// verdict is how a run ended and why.
type verdict struct {
	reason, message string // empty: it succeeded
	sync            ownership.SyncStatus
}

func failure(cause error) verdict {
	return verdict{reason: fault.ReasonOf(cause), message: publicText(cause), sync: ownership.Unknown}
}

// judge tells what became of a run whose flow came to its end.
func judge(s *State) verdict {
	v := verdict{sync: s.Plan.SyncStatus()}
	failed := 0
	for _, c := range s.Applied {
		if c.Outcome == trail.Failed {
			failed++
			v.message = c.Message
		}
	}
	switch {
	case failed > 0:
		v.reason, v.sync = "CHANGES_FAILED", ownership.OutOfSync
		v.message = fmt.Sprintf("%d of %d changes failed: %s", failed, len(s.Applied), v.message)
	case s.Decision.Verdict == policy.Deny:
		v.reason, v.message = "PLAN_DENIED", "nothing was changed: "+strings.Join(s.Decision.Reasons, "; ")
	case s.Decision.Verdict == policy.RequireApproval:
		v.reason, v.message = "APPROVAL_REQUIRED", "nothing was changed: "+strings.Join(s.Decision.Reasons, "; ")
	case s.Lost && !s.Desired.Archived:
		issue := s.Plan.Issues[0]
		v.reason, v.message = strings.ToUpper(string(issue.Kind)), "nothing was changed: "+issue.Message
	case len(s.Applied) > 0:
		after := *s.Plan
		after.Changes = nil
		v.sync = after.SyncStatus()
	}
	return v
}

// giveUp settles what an aborted apply left open: what comes after the change that was under way was not tried; the
// change under way may have taken effect.
func (r *run) giveUp(ctx context.Context, s *State, cause error) error {
	changes, err := r.job.Ledger.Changes(ctx)
	if err != nil {
		return err
	}
	first := true
	for _, c := range changes {
		if c.Outcome == "" {
			c.Outcome, c.Message = trail.Skipped, "not tried, because the run failed"
			if first {
				c.Outcome = trail.Failed
				c.Message = "it is not known whether it took effect: " + publicText(cause)
			}
			first = false
			if err := r.job.Ledger.Settle(ctx, c.ID, c.Outcome, c.Message, nil); err != nil {
				return err
			}
		}
		if err := s.note(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) end(ctx context.Context, s *State, v verdict) error {
	ending := store.Ending{
		Status: store.Succeeded, Summary: summary(s, v), Sync: v.sync,
		ErrorReason: v.reason, ErrorMessage: v.message,
	}
	if v.reason != "" {
		ending.Status = store.Failed
	}
	if s.Plan != nil {
		ending.Result = &store.Result{Plan: *s.Plan}
		if s.Decision != nil {
			ending.Result.Decision = *s.Decision
		}
	}
	if s.Desired != nil && s.Request.Desired == nil {
		ending.Declared = s.Desired
	}
	if r.parts.Channel != "" && worthTelling(s, v) {
		delivery, err := r.delivery(s, v, ending)
		if err != nil {
			return err
		}
		ending.Tell = append(ending.Tell, delivery)
	}
	return r.job.Ledger.Finish(ctx, ending)
}

// worthTelling keeps quiet about runs that found nothing to do, and about dry runs: whoever asked for one reads it.
func worthTelling(s *State, v verdict) bool {
	if s.Request.DryRun {
		return false
	}
	return v.reason != "" || len(s.Applied) > 0 || (s.Plan != nil && s.Plan.SyncStatus() != ownership.InSync)
}

func (r *run) delivery(s *State, v verdict, e store.Ending) (store.Delivery, error) {
	n := notice.RunFinished{
		JobID: r.job.Run.JobID.String(), TeamID: s.TeamID, TeamName: s.TeamID, Status: e.Status,
		RequestedBy: r.job.Run.RequestedBy, Summary: e.Summary, ErrorReason: v.reason, ErrorMessage: v.message,
	}
	if s.Plan != nil {
		n.TeamName = s.Plan.TeamName
		for _, i := range s.Plan.Issues {
			n.Issues = append(n.Issues, notice.Issue{Kind: string(i.Kind), Entity: i.EntityRef, Message: i.Message})
		}
	}
	if s.Decision != nil {
		n.Reasons = s.Decision.Reasons
	}
	for _, c := range s.outcomes() {
		before, after := brief(c.Before), brief(c.After)
		_, who, _ := strings.Cut(c.EntityRef, ":")
		n.Changes = append(n.Changes, notice.Change{
			Kind: string(c.Kind), Who: who, Before: before, After: after, Outcome: c.Outcome, Message: c.Message,
		})
	}
	payload, err := json.Marshal(n)
	if err != nil {
		return store.Delivery{}, fault.New(fault.Internal, "the notification cannot be written", err)
	}
	return store.Delivery{
		Key: notice.Key(n.JobID, "slack", r.parts.Channel), Medium: "slack", Channel: r.parts.Channel, Payload: payload,
	}, nil
}

// brief is what of an entity a reader needs to see: the role of a person, the name of a team.
func brief(e *ownership.Entity) string {
	switch {
	case e == nil:
		return ""
	case e.Role != "":
		return string(e.Role)
	case e.Name != "":
		return e.Name
	default:
		return e.Description
	}
}
