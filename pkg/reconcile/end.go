package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

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
	earlier, err := r.earlier(ctx, s.Observed)
	if err != nil {
		return err
	}
	sealing := sealing{now: r.parts.Now()}
	for _, c := range earlier {
		sealing.change(c.Ref, c)
	}
	for _, c := range s.outcomes() {
		sealing.change(cmp.Or(c.Ref, store.ChangeRef(r.job.Run.Round, c.ID)), c)
	}
	if s.Plan != nil {
		for _, i := range s.Plan.Issues {
			sealing.issue(store.ChangeRef(r.job.Run.Round, string(i.Kind)+":"+i.EntityRef), i)
		}
	}
	if sealing.err != nil {
		return fault.New(fault.Internal, "a finding cannot be written", sealing.err)
	}
	return r.job.Ledger.Record(ctx, sealing.findings)
}

// earlier gives what came of the changes of the rounds before, which their own ends did not come to seal. Those that
// nobody knew the outcome of are settled by what the target showed when this round began to compare. Whether this round
// was going to make the same change makes no difference: its plan was made of the same look. Where nobody looked they stay
// as they are.
func (r *run) earlier(ctx context.Context, seen *ownership.Observed) (outcomes []AppliedChange, err error) {
	if r.job.Run.Round <= 1 {
		return nil, nil
	}
	changes, err := r.job.Ledger.Earlier(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		open, sealed := c.Outcome == "" || c.Outcome == trail.Unknown, c.Outcome == trail.Unknown
		switch {
		case open && seen == nil:
			continue
		case open && seen.Shows(c.Change):
			err = r.settle(ctx, &c, trail.Applied, foundDone)
		case open:
			err = r.settle(ctx, &c, trail.Skipped, "not made before the run was interrupted; it was planned anew")
		}
		if err != nil {
			return nil, err
		}
		outcome, err := appliedFrom(c)
		if err != nil {
			return nil, err
		}
		if sealed { // it stands in the trail as unknown: what is known now is another entry
			outcome.Ref += "/settled"
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}

// sealing collects findings. The first error stays.
type sealing struct {
	now      time.Time
	findings []trail.Finding
	err      error
}

func (s *sealing) change(ref string, c AppliedChange) {
	before, errBefore := state(c.Before)
	after, errAfter := state(c.After)
	s.err = cmp.Or(s.err, errBefore, errAfter)
	s.findings = append(s.findings, trail.Finding{
		ChangeID: ref, EntityRef: c.EntityRef, Action: string(c.Kind), Before: before, After: after,
		APICalls: c.APICalls, Outcome: c.Outcome, Message: c.Message, RecordedAt: s.now,
	})
}

func (s *sealing) issue(ref string, i ownership.Issue) {
	s.findings = append(s.findings, trail.Finding{
		ChangeID: ref, EntityRef: i.EntityRef, Action: string(i.Kind), Outcome: trail.Reported, Message: i.Message, RecordedAt: s.now,
	})
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
	status          string // of the run; empty: succeeded, or failed where there is a reason
	reason, message string // empty: it succeeded
	sync            ownership.SyncStatus
	noSuchTeam      bool // in the source
}

// abandoned is the verdict on a run that does not come to the end of its flow.
func abandoned(status string, s *State, cause error) verdict {
	v := verdict{status: status, reason: fault.ReasonOf(cause), message: publicText(cause), sync: ownership.Unknown}
	if status == store.Canceled && len(s.Applied) == 0 {
		v.sync = "" // nothing was changed and nothing learned
	}
	v.noSuchTeam = v.reason == "SOURCE_TEAM_NOT_FOUND"
	return v
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

// lookWithin bounds the last look at the target before a run is given up.
const lookWithin = 10 * time.Second

// giveUp settles what an aborted apply left open. The change that was under way may have taken effect: a last look at the
// target tells, or the trail says that nobody knows. What would have come after it was not tried.
func (r *run) giveUp(ctx context.Context, s *State, cause error) error {
	changes, err := r.job.Ledger.Changes(ctx)
	if err != nil {
		return err
	}
	var seen *ownership.Observed
	if slices.ContainsFunc(changes, func(c store.Change) bool { return c.Outcome == "" }) {
		seen = r.lastLook(ctx, s)
	}
	underWay := true
	for _, c := range changes {
		if c.Outcome == "" {
			outcome, message := trail.Skipped, "not tried, because the run was ended"
			switch {
			case seen != nil && seen.Shows(c.Change):
				outcome, message = trail.Applied, foundDone
			case underWay && seen == nil:
				outcome, message = trail.Unknown, "it is not known whether it took effect: "+publicText(cause)
			case underWay:
				outcome, message = trail.Skipped, "did not take effect before the run was ended"
			}
			underWay = false
			if err := r.settle(ctx, &c, outcome, message); err != nil {
				return err
			}
		}
		if err := s.note(c); err != nil {
			return err
		}
	}
	return nil
}

// lastLook is the team as it is now; nil where that cannot be seen.
func (r *run) lastLook(ctx context.Context, s *State) *ownership.Observed {
	if s.TargetID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	observed, err := r.parts.Target.Observe(ctx, s.TargetID)
	if err != nil {
		return nil
	}
	return &observed
}

func (r *run) end(ctx context.Context, s *State, v verdict) error {
	ending := store.Ending{
		Status: v.status, Summary: summary(s, v), Sync: v.sync, NoSuchTeam: v.noSuchTeam,
		ErrorReason: v.reason, ErrorMessage: v.message,
	}
	switch {
	case v.status != "":
	case v.reason != "":
		ending.Status = store.Failed
	default:
		ending.Status = store.Succeeded
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

// worthTelling keeps quiet about runs that found nothing to do, and about dry runs and canceled ones: whoever asked for
// that knows.
func worthTelling(s *State, v verdict) bool {
	if s.Request.DryRun || v.status == store.Canceled && len(s.Applied) == 0 {
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
		Key: notice.Key(r.life(), "slack", r.parts.Channel), Medium: "slack", Channel: r.parts.Channel, Payload: payload,
	}, nil
}

// life names the run in this life: a requeued run ends once more, and that is told once more.
func (r *run) life() string {
	id := r.job.Run.JobID.String()
	if r.job.Run.Lives > 1 {
		return fmt.Sprintf("%s-%d", id, r.job.Run.Lives)
	}
	return id
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
