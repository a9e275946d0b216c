package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// callNeeds is the time without which a change is better not begun: a call with its retries.
const callNeeds = 5 * time.Second

// apply does the plan: first all intents in one write, then one idempotent call and one outcome after the other. An
// intent that stands without an outcome from an earlier claim may have happened: the target is looked at before it is
// done again.
func (r *run) apply(ctx context.Context, s *State) error {
	// Nothing is changed on a team that turns out to be another's.
	if err := r.link(ctx, s); err != nil {
		return err
	}
	if r.job.Run.Approved && len(s.ApprovedBy) == 0 {
		if err := r.job.Ledger.Disapprove(ctx); err != nil {
			return err
		}
	}
	r.tell(store.Event{Kind: store.PlanReady, Message: describePlan(*s.Plan)})
	changes, err := r.job.Ledger.Changes(ctx)
	if err != nil {
		return err
	}
	resumed := len(changes) > 0 // all intents of a round are one write
	if !resumed {
		if err := r.job.Ledger.Intend(ctx, s.Plan.Changes); err != nil {
			return err
		}
		if changes, err = r.job.Ledger.Changes(ctx); err != nil {
			return err
		}
		s.underWay = new("")
	}
	if err := sameChanges(s.Plan.Changes, changes); err != nil {
		return err
	}
	if (resumed || r.job.Run.Round > 1) && !seam.Off(seam.Reobserve) {
		if err := r.catchUp(ctx, s, changes); err != nil {
			return err
		}
	}
	failed := false
	for _, c := range changes {
		switch {
		case c.Outcome != "":
		case failed && c.Kind == ownership.RemoveMember, failed && s.TargetID == "":
			// Nobody leaves when somebody could not arrive.
			if err := r.settle(ctx, &c, trail.Skipped, "not tried, because an earlier change failed"); err != nil {
				return err
			}
		default:
			if err := r.proceed(ctx); err != nil {
				return err
			}
			if c, err = r.applyOne(ctx, s, c); err != nil {
				return err
			}
		}
		failed = failed || c.Outcome == trail.Failed
		if err := s.note(c); err != nil {
			return err
		}
	}
	return nil
}

// sameChanges proves that the intents on record are those of the plan: what the policy has not seen is not applied.
func sameChanges(plan []ownership.Change, intents []store.Change) error {
	if slices.EqualFunc(plan, intents, func(p ownership.Change, i store.Change) bool { return store.ChangeRef(i.Round, p.ID) == i.Ref }) {
		return nil
	}
	return fault.New(fault.Internal, "the changes on record are not those of the plan", nil).WithReason("PLAN_DIFFERS")
}

// proceed asks whether the next change may be begun.
func (r *run) proceed(ctx context.Context) error {
	if r.job.Hooks.Before == nil {
		return nil
	}
	return r.job.Hooks.Before(ctx, "apply", callNeeds)
}

// applyOne makes one change and writes its outcome. An error means that the outcome is not known.
func (r *run) applyOne(ctx context.Context, s *State, c store.Change) (store.Change, error) {
	calling, calls := upstream.Record(ctx)
	inDoubt := s.underWay == nil || *s.underWay == c.Ref // since an earlier try
	s.underWay = &c.Ref
	targetID, err := r.parts.Applier.Apply(calling, s.TargetID, c.Change)
	if fault.Is(err, fault.NotFound) && c.Kind == ownership.RemoveMember && r.isGone(calling, s, c) {
		err = nil
		c.Message = "was not a member any more"
	}
	switch {
	case err == nil:
		c.Outcome = trail.Applied
	case final(err):
		c.Outcome, c.Message = trail.Failed, publicText(err)
	default:
		if !inDoubt && refused(calls.List()) {
			s.underWay = new("")
		}
		return c, fmt.Errorf("%s: %w", c.ID, err)
	}
	if c.APICalls, err = json.Marshal(recorded(calls)); err != nil {
		return c, fault.New(fault.Internal, "the calls cannot be recorded", err)
	}
	// The target has been changed: its outcome is written down although the run is being stopped.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	if err := r.job.Ledger.Settle(settling, c.Ref, c.Outcome, c.Message, recorded(calls)); err != nil {
		return c, err
	}
	s.underWay = new("")
	if c.Outcome == trail.Applied && targetID != s.TargetID {
		s.TargetID = targetID
		if err := r.link(settling, s); err != nil {
			return c, err
		}
	}
	r.tellChange(c)
	return c, nil
}

// refused reports that no attempt can have had an effect: none was made, or each was answered with a refusal.
func refused(calls []upstream.Call) bool {
	return !slices.ContainsFunc(calls, func(c upstream.Call) bool { return c.Status < 400 || c.Status >= 500 })
}

const settleWithin = 5 * time.Second

// final reports an error that says something about this change alone, so that the others are still worth trying. A
// refused credential or a missing right will refuse the others too.
func final(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Conflict, fault.NotFound:
		return true
	default:
		return false
	}
}

// isGone looks whether somebody whom the target does not find any more has left the team, for as long as a change may
// take to show. A team that is gone itself shows nothing.
func (r *run) isGone(ctx context.Context, s *State, c store.Change) bool {
	return r.until(ctx, func(ctx context.Context) (bool, error) {
		observed, err := r.parts.Target.Observe(ctx, s.TargetID)
		return err == nil && observed.Shows(c.Change), err
	}) == nil
}

// catchUp finds out which of the intents without an outcome have happened: an earlier claim, or an earlier round that was
// planned anew, may have been interrupted after the call.
func (r *run) catchUp(ctx context.Context, s *State, changes []store.Change) error {
	var open []*store.Change
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Kind == ownership.CreateTeam && s.TargetID == "" && (c.Outcome == "" || c.Outcome == trail.Applied):
			if err := r.findCreated(ctx, s, *c); err != nil {
				return err
			}
			if s.TargetID != "" && c.Outcome == "" {
				if err := r.settleFound(ctx, c); err != nil {
					return err
				}
			}
		case c.Outcome != "":
		default:
			open = append(open, c)
		}
	}
	if len(open) == 0 || s.TargetID == "" {
		return nil
	}
	observed, err := r.parts.Target.Observe(ctx, s.TargetID)
	if err != nil {
		return fmt.Errorf("look at team %s after an interruption: %w", s.TargetID, err)
	}
	for _, c := range open {
		if observed.Shows(c.Change) {
			if err := r.settleFound(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetchTarget reads the linked team. A run that is planned anew may have changed it a moment ago: what the target does not
// show yet is waited for, or it would be planned, made and recorded once more.
func (r *run) fetchTarget(ctx context.Context, s *State) error {
	if err := r.Flow.fetchTarget(ctx, s); err != nil || s.Observed == nil || r.job.Run.Round <= 1 {
		return err
	}
	changes, err := r.job.Ledger.Earlier(ctx)
	if err != nil {
		return err
	}
	recent := r.recent(changes)
	shown := func() bool {
		return !slices.ContainsFunc(recent, func(c store.Change) bool { return !s.Observed.Shows(c.Change) })
	}
	if shown() {
		return nil
	}
	err = r.until(ctx, func(ctx context.Context) (bool, error) {
		observed, err := r.observe(ctx, s.Link.TargetID)
		if err != nil || observed == nil {
			return true, err // a team that is gone is match's to find
		}
		s.Observed = observed
		return shown(), nil
	})
	if errors.Is(err, errNotShown) { // somebody has changed it back
		return nil
	}
	return err
}

// recent gives the last change that took effect of each person, and of the team, as far as the target may not show it yet.
func (r *run) recent(changes []store.Change) []store.Change {
	last := map[string]store.Change{}
	for _, c := range changes {
		if c.Outcome == trail.Applied && c.DoneAt != nil && r.parts.Now().Sub(*c.DoneAt) < 2*r.parts.VerifyWithin { // twice: clocks differ
			last[cmp.Or(c.UserID, c.ID)] = c
		}
	}
	return slices.Collect(maps.Values(last))
}

const foundDone = "found done after an interruption"

func (r *run) settleFound(ctx context.Context, c *store.Change) error {
	if err := r.settle(ctx, c, trail.Applied, foundDone); err != nil {
		return err
	}
	r.tellChange(*c)
	return nil
}

// settle writes an outcome that no call of this claim brought about.
func (r *run) settle(ctx context.Context, c *store.Change, outcome, message string) error {
	c.Outcome, c.Message = outcome, message
	return r.job.Ledger.Settle(ctx, c.Ref, outcome, message, nil)
}

// findCreated looks for the team whose creation was interrupted. Creating is the one change that is not idempotent, and
// a new team may take moments to show, so an intent to create is looked for as long as a change may take to show.
func (r *run) findCreated(ctx context.Context, s *State, c store.Change) error {
	link, err := r.parts.Links.Link(ctx, s.TeamID)
	if err != nil {
		return err
	}
	if link != nil && (s.Link == nil || link.TargetID != s.Link.TargetID) {
		s.TargetID = link.TargetID
		return nil
	}
	err = r.until(ctx, func(ctx context.Context) (bool, error) {
		teams, err := r.parts.Target.FindTeams(ctx, c.After.Name)
		if err != nil || len(teams) == 0 {
			return false, err
		}
		s.TargetID = teams[0].ID
		if err := r.link(ctx, s); err != nil {
			s.TargetID = "" // another's, or not ours yet
			return false, err
		}
		return true, nil
	})
	if errors.Is(err, errNotShown) {
		return nil // it was never created
	}
	return err
}

// link remembers which target team is this one's, once that is known. A target team belongs to one team alone: who comes
// second is refused.
func (r *run) link(ctx context.Context, s *State) error {
	if s.TargetID == "" || s.Link != nil && s.Link.TargetID == s.TargetID {
		return nil
	}
	link := store.Link{Source: store.SourceCortex, Target: store.TargetPagerDuty, TargetID: s.TargetID}
	if s.Desired != nil {
		link.SourceID = s.Desired.SourceID
	}
	err := r.job.Ledger.SaveLink(ctx, link)
	switch {
	case fault.Is(err, fault.Conflict):
		return fault.New(fault.Precondition,
			fmt.Sprintf("team %s of the target has just been linked to another team: two declared teams have its name", s.TargetID), err).
			WithReason("LINKED_ELSEWHERE")
	case err == nil:
		s.Link = &link
	}
	return err
}

func (r *run) tellChange(c store.Change) {
	event := store.Event{Kind: store.ChangeDone, Step: "apply", Change: &c.Change, Message: c.Message}
	if c.Outcome == trail.Failed {
		event.Kind = store.ChangeFailed
	}
	r.tell(event)
}

// note takes a settled change into the state, in the place of what was known of it.
func (s *State) note(c store.Change) error {
	applied, err := appliedFrom(c)
	if err != nil {
		return err
	}
	for i := range s.Applied {
		if s.Applied[i].Ref == c.Ref {
			s.Applied[i] = applied
			return nil
		}
	}
	s.Applied = append(s.Applied, applied)
	return nil
}

func appliedFrom(c store.Change) (AppliedChange, error) {
	applied := AppliedChange{Change: c.Change, Ref: c.Ref, Outcome: c.Outcome, Message: c.Message}
	if len(c.APICalls) > 0 {
		if err := json.Unmarshal(c.APICalls, &applied.APICalls); err != nil {
			return applied, fault.New(fault.Internal, "the recorded calls cannot be read", err)
		}
	}
	return applied, nil
}

func recorded(calls *upstream.Calls) []trail.APICall {
	var list []trail.APICall
	for _, c := range calls.List() {
		list = append(list, trail.APICall{Method: c.Method, Path: c.Path, Status: c.Status, At: c.At, RequestID: c.RequestID})
	}
	return list
}

func publicText(err error) string {
	if f, ok := fault.As(err); ok {
		return f.Text
	}
	return "an internal error; the log has it"
}
