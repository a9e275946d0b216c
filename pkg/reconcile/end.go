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
	if !s.Request.DryRun {
		if err := r.link(ctx, s); err != nil {
			return err
		}
	}
	return r.seal(ctx, s, s.seen())
}

// seen is the team as this round found it, before it changed anything; a team that the target lacks has nobody. nil: nobody
// could look.
func (s *State) seen() *ownership.Observed {
	if s.Observed == nil && s.Plan != nil && !s.Lost {
		return &ownership.Observed{}
	}
	return s.Observed
}

// seal writes the findings of the run, and then what they settle.
func (r *run) seal(ctx context.Context, s *State, seen *ownership.Observed) error {
	earlier, err := r.earlier(ctx, s, seen)
	if err != nil {
		return err
	}
	sealing := sealing{now: r.parts.Now()}
	for _, c := range earlier {
		sealing.change(c.sealedAs, c.AppliedChange)
	}
	sealing.decided(s)
	for _, c := range s.outcomes() {
		sealing.change(cmp.Or(c.Ref, store.ChangeRef(r.job.Run.Round, c.ID)), c)
	}
	if s.Plan != nil {
		for _, i := range s.Plan.Issues {
			sealing.issue(store.ChangeRef(r.job.Run.Round, string(i.Kind)+":"+i.EntityRef), i)
		}
		for _, i := range s.Plan.Ignored {
			sealing.ignored(store.ChangeRef(r.job.Run.Round, i.Kind()+":"+i.EntityRef()), i)
		}
	}
	if sealing.err != nil {
		return fault.New(fault.Internal, "a finding cannot be written", sealing.err)
	}
	if err := r.job.Ledger.Record(ctx, sealing.findings); err != nil {
		return err
	}
	s.Earlier = nil
	for _, c := range earlier {
		if c.settled {
			if err := r.job.Ledger.Settle(ctx, c.Ref, c.Outcome, c.Message, nil); err != nil {
				return err
			}
		}
		if c.Outcome == trail.Applied || c.Outcome == trail.Unknown {
			s.Earlier = append(s.Earlier, c.AppliedChange)
		}
	}
	return nil
}

// earlierChange is a change of a round before, with what came of it.
type earlierChange struct {
	AppliedChange
	sealedAs string // its name in the trail
	settled  bool   // its outcome is known only now
}

// earlier gives what came of the changes of the rounds before, which their own ends did not come to seal. In each round one
// change may be half made, the first that is open; nothing after it was tried. What was seen tells whether it took effect.
// Where it did not show, and this round's plan has it again, it was not made; otherwise nobody knows.
func (r *run) earlier(ctx context.Context, s *State, seen *ownership.Observed) ([]earlierChange, error) {
	if r.job.Run.Round <= 1 {
		return nil, nil
	}
	changes, err := r.job.Ledger.Earlier(ctx)
	if err != nil {
		return nil, err
	}
	outcomes := make([]earlierChange, 0, len(changes))
	half := 0 // the round whose half-made change has been met
	for _, c := range changes {
		sealedAs := c.Ref
		open, doubtful := c.Outcome == "" || c.Outcome == trail.Unknown, false
		if open {
			doubtful, half = half != c.Round, c.Round
		}
		was := c.Outcome
		switch {
		case !open:
		case !doubtful:
			c.Outcome, c.Message = trail.Skipped, "not tried before the run was interrupted"
		case seen != nil && seen.Shows(c.Change):
			c.Outcome, c.Message = trail.Applied, foundDone
		case seen != nil && s.plans(c.Change):
			c.Outcome, c.Message = trail.Skipped, "not made before the run was interrupted; it was planned anew"
		case was == "":
			c.Outcome, c.Message = trail.Unknown, "it is not known whether it took effect before the run was interrupted"
		}
		if was == trail.Unknown && c.Outcome != was { // it stands in the trail as unknown: what is known now is another entry
			sealedAs += trail.Settled
		}
		outcome, err := appliedFrom(c)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, earlierChange{AppliedChange: outcome, sealedAs: sealedAs, settled: c.Outcome != was})
	}
	return outcomes, nil
}

// plans reports that the plan of this round holds a change.
func (s *State) plans(c ownership.Change) bool {
	return s.Plan != nil && slices.ContainsFunc(s.Plan.Changes, func(p ownership.Change) bool { return p.ID == c.ID })
}

// sealing collects findings. The first error stays.
type sealing struct {
	now      time.Time
	plan     trail.Finding // what each change of this round's plan says of the plan
	findings []trail.Finding
	err      error
}

// decided makes the changes to come say which plan they are of, what the rules said of it, and who approved it.
func (s *sealing) decided(state *State) {
	if state.Plan == nil || state.Decision == nil || state.Plan.Empty() {
		return
	}
	d := trail.Decision{Verdict: string(state.Decision.Verdict), Reasons: state.Decision.Reasons, Revision: state.Decision.Revision}
	for _, v := range state.Decision.Violations {
		if v.Verdict == policy.Allow {
			d.Notes = append(d.Notes, v.Reason)
		}
	}
	s.plan = trail.Finding{PlanHash: state.Plan.Hash(), Decision: &d, ApprovedBy: state.ApprovedBy}
}

func (s *sealing) change(ref string, c AppliedChange) {
	before, errBefore := state(c.Before)
	after, errAfter := state(c.After)
	s.err = cmp.Or(s.err, errBefore, errAfter)
	s.findings = append(s.findings, trail.Finding{
		ChangeID: ref, EntityRef: c.EntityRef, Action: string(c.Kind), Before: before, After: after,
		APICalls: c.APICalls, Outcome: c.Outcome, Message: c.Message, RecordedAt: s.now, UserID: c.UserID,
		PlanHash: s.plan.PlanHash, Decision: s.plan.Decision, ApprovedBy: s.plan.ApprovedBy,
	})
}

func (s *sealing) issue(ref string, i ownership.Issue) {
	s.findings = append(s.findings, trail.Finding{
		ChangeID: ref, EntityRef: i.EntityRef, Action: string(i.Kind), Outcome: trail.Reported, Message: i.Message, RecordedAt: s.now,
	})
}

// ignored seals what a rule hides, so that what was left alone can be told, and why. Nobody decided on it or approved it.
func (s *sealing) ignored(ref string, i ownership.Ignored) {
	before, errBefore := state(i.Change.Before)
	after, errAfter := state(i.Change.After)
	s.err = cmp.Or(s.err, errBefore, errAfter)
	message := i.Why()
	if i.Issue != nil {
		message += "; " + i.Issue.Message
	}
	s.findings = append(s.findings, trail.Finding{
		ChangeID: ref, EntityRef: i.EntityRef(), Action: i.Kind(), Before: before, After: after, Outcome: trail.Ignored,
		Message: message, RecordedAt: s.now, UserID: i.Change.UserID,
	})
}

// outcomes lists what came of each planned change; of a plan that was not applied, why not.
func (s *State) outcomes() []AppliedChange {
	if len(s.Applied) > 0 || s.Plan == nil || s.Decision == nil {
		return s.Applied
	}
	outcome, message := trail.Planned, strings.Join(s.Decision.Reasons, "; ")
	switch {
	case s.Decision.Verdict == policy.Deny:
		outcome = trail.Denied
	case s.Decision.Verdict == policy.RequireApproval && !s.Request.DryRun:
		outcome = trail.Awaiting
	}
	changes := make([]AppliedChange, len(s.Plan.Changes))
	for i, c := range s.Plan.Changes {
		changes[i] = AppliedChange{Change: c, Outcome: outcome, Message: message}
	}
	return changes
}

// done lists what the run set out to change, in all its rounds, as far as it came to that.
func (s *State) done() []AppliedChange { return slices.Concat(s.Earlier, s.Applied) }

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
	if (status == store.Canceled || v.reason == store.ApprovalExpired) && len(s.done()) == 0 {
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
	case s.Lost && !s.Desired.Archived:
		issue := s.Plan.Issues[0]
		v.reason, v.message = strings.ToUpper(string(issue.Kind)), "nothing was changed: "+issue.Message
	case s.Request.RollbackOf != "" && len(s.done()) > 0:
		v.sync = ownership.Unknown // what the source declares was not looked at
	case s.Request.RollbackOf != "":
		v.sync = ""
	case s.After != nil: // what verify saw counts, not what was planned: others may be changing the team too
		after := ownership.Diff(*s.Desired, *s.After, s.Wanted)
		after.Issues = s.Plan.Issues
		v.sync = after.Ignore(s.Ignores).SyncStatus()
	}
	return v
}

// lookWithin bounds the last look at the target before a run is given up.
const lookWithin = 10 * time.Second

// giveUp settles what an aborted apply left open, and gives what it saw of the team. The change that was under way may have
// taken effect: a last look at the target tells, or the trail says that nobody knows. What would have come after it was
// not tried.
func (r *run) giveUp(ctx context.Context, s *State, cause error) (*ownership.Observed, error) {
	changes, err := r.job.Ledger.Changes(ctx)
	if err != nil {
		return nil, err
	}
	doubtful := s.doubtful(changes)
	seen := s.seen()
	if doubtful != nil || r.job.Run.Round > 1 && seen == nil {
		seen = r.lastLook(ctx, s, doubtful)
	}
	for _, c := range changes {
		if c.Outcome == "" {
			outcome, message := trail.Skipped, "not tried, because the run was ended"
			switch {
			case doubtful == nil || c.Ref != doubtful.Ref:
			case seen != nil && seen.Shows(c.Change):
				outcome, message = trail.Applied, foundDone
			default:
				outcome, message = trail.Unknown, "it is not known whether it took effect: "+publicText(cause)
			}
			if err := r.settle(ctx, &c, outcome, message); err != nil {
				return nil, err
			}
		}
		if err := s.note(c); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// doubtful is the change that may be half made; nil: none.
func (s *State) doubtful(changes []store.Change) *store.Change {
	i := slices.IndexFunc(changes, func(c store.Change) bool {
		return c.Outcome == "" && (s.underWay == nil || *s.underWay == c.Ref)
	})
	if i < 0 {
		return nil
	}
	return &changes[i]
}

// lastLook is the team as it is now; nil where that cannot be seen. A change in doubt is given time to show.
func (r *run) lastLook(ctx context.Context, s *State, doubtful *store.Change) *ownership.Observed {
	targetID := s.TargetID
	if targetID == "" && s.Link != nil {
		targetID = s.Link.TargetID
	}
	if targetID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	var seen *ownership.Observed
	// What ended the looking makes no difference: the last look that succeeded counts.
	_ = r.until(ctx, func(ctx context.Context) (bool, error) {
		observed, err := r.parts.Target.Observe(ctx, targetID)
		if err != nil {
			return false, err
		}
		seen = &observed
		return doubtful == nil || observed.Shows(doubtful.Change), nil
	})
	return seen
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
	if s.Desired != nil && s.Request.Desired == nil && s.Request.RollbackOf == "" {
		ending.Declared = s.Desired
	}
	s.teach(&ending, v.status == "")
	if r.parts.Channel != "" && worthTelling(s, v) {
		delivery, err := r.delivery(s, v, ending)
		if err != nil {
			return err
		}
		ending.Tell = append(ending.Tell, delivery)
	}
	return r.job.Ledger.Finish(ctx, ending)
}

// teach says what the run knows of the target team at its end, for the audits to come. What a run that was broken off saw
// may be old by now.
func (s *State) teach(e *store.Ending, whole bool) {
	changed := slices.ContainsFunc(s.done(), func(c AppliedChange) bool { return c.Outcome == trail.Applied || c.Outcome == trail.Unknown })
	switch {
	case s.After != nil:
		e.Seen = s.After
		for _, c := range s.done() {
			if c.Outcome == trail.Applied && s.After.Shows(c.Change) {
				e.Mended = append(e.Mended, c.Change)
			}
		}
	case changed:
		e.Touched = s.TargetID
		if e.Touched == "" && s.Link != nil {
			e.Touched = s.Link.TargetID
		}
	case whole:
		e.Seen = s.Observed
	}
}

// worthTelling keeps quiet about runs that found nothing to do, and about dry runs and canceled ones: whoever asked for
// that knows.
func worthTelling(s *State, v verdict) bool {
	if s.Request.DryRun || v.status == store.Canceled && len(s.done()) == 0 {
		return false
	}
	return v.reason != "" || len(s.done()) > 0 || (s.Plan != nil && s.Plan.SyncStatus() != ownership.InSync)
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
		n.Ignored = briefIgnored(*s.Plan)
	}
	if s.Decision != nil {
		n.Reasons = s.Decision.Reasons
	}
	n.Changes = s.brief()
	payload, err := json.Marshal(n)
	if err != nil {
		return store.Delivery{}, fault.New(fault.Internal, "the notification cannot be written", err)
	}
	return store.Delivery{
		Key: notice.Key(r.life(), "slack", r.parts.Channel), Medium: "slack", Channel: r.parts.Channel, Payload: payload,
	}, nil
}

// briefIgnored is what readers of a message need to see of what ignore rules hide.
func briefIgnored(p ownership.Plan) (ignored []notice.Ignored) {
	for _, i := range p.Ignored {
		_, who, _ := strings.Cut(i.EntityRef(), ":")
		ignored = append(ignored, notice.Ignored{Kind: i.Kind(), Who: who, RuleID: i.RuleID, Reason: i.Reason, Owner: i.Owner, Until: i.ExpiresAt})
	}
	return ignored
}

// brief is what readers of a message need to see of the changes.
func (s *State) brief() (changes []notice.Change) {
	for _, c := range slices.Concat(s.Earlier, s.outcomes()) {
		_, who, _ := strings.Cut(c.EntityRef, ":")
		changes = append(changes, notice.Change{
			Kind: string(c.Kind), Who: who, Before: brief(c.Before), After: brief(c.After), Outcome: c.Outcome, Message: c.Message,
		})
	}
	return changes
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
