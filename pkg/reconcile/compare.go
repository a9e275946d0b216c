package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// fetchSource reads the desired state, unless the request brought it along. Where the team is not linked yet it also
// asks the source which target team it means.
func (f *Flow) fetchSource(ctx context.Context, s *State) error {
	if s.Request.Desired != nil {
		desired := *s.Request.Desired
		desired.TeamID = s.TeamID
		s.Desired = &desired
		return nil
	}
	desired, err := f.parts.Source.Team(ctx, s.TeamID)
	if fault.Is(err, fault.Incomplete) && seam.Off(seam.Whole) {
		desired, err = ownership.Desired{TeamID: s.TeamID}, nil
	}
	if err != nil {
		return fmt.Errorf("read team %s from the source: %w", s.TeamID, err)
	}
	if s.Link == nil && !desired.Archived {
		if desired.TargetID, err = f.parts.Source.DeclaredTarget(ctx, s.TeamID); err != nil {
			return fmt.Errorf("read the declared target of team %s: %w", s.TeamID, err)
		}
	}
	s.Desired = &desired
	return nil
}

// fetchTarget reads the linked team. A team that is not linked yet is found by match, which knows its name.
func (f *Flow) fetchTarget(ctx context.Context, s *State) error {
	if s.Link == nil {
		return nil
	}
	observed, err := f.observe(ctx, s.Link.TargetID)
	if err != nil {
		return err
	}
	s.Observed = observed
	return nil
}

// observe reads a target team; nil where the target says there is none.
func (f *Flow) observe(ctx context.Context, targetID string) (*ownership.Observed, error) {
	observed, err := f.parts.Target.Observe(ctx, targetID)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read team %s on the target: %w", targetID, err)
	}
	return &observed, nil
}

// match finds the target team and each person's account on the target.
func (f *Flow) match(ctx context.Context, s *State) error {
	if s.Desired.Archived {
		s.lose(ownership.Archived(s.TeamID))
		return nil
	}
	if s.Observed == nil {
		if err := f.findTarget(ctx, s); err != nil || s.Lost {
			return err
		}
	}
	observed := ownership.Observed{}
	if s.Observed != nil {
		observed = *s.Observed
		s.TargetID = observed.TargetID
	}
	found, err := f.parts.Target.FindUsers(ctx, ownership.Unmatched(*s.Desired, observed))
	if err != nil {
		return fmt.Errorf("look people up on the target: %w", err)
	}
	s.Wanted, s.Issues = ownership.Match(*s.Desired, observed, found, f.parts.Roles)
	return nil
}

// findTarget looks for the team of a pair that is not linked, or whose target team is gone: the one the source names,
// then the only one of the same name. No team at all leaves Observed nil, for plan to create it.
func (f *Flow) findTarget(ctx context.Context, s *State) error {
	targetID := s.Desired.TargetID
	if targetID == "" {
		name := cmp.Or(s.Desired.Name, s.TeamID)
		teams, err := f.parts.Target.FindTeams(ctx, name)
		if err != nil {
			return fmt.Errorf("look for team %q on the target: %w", name, err)
		}
		switch {
		case len(teams) > 1:
			s.lose(ownership.Ambiguous(s.TeamID, name, len(teams)))
			return nil
		case len(teams) == 1:
			targetID = teams[0].ID
		case s.Desired.Name == "": // a team made under a guessed name would stand beside the right one
			s.lose(ownership.Nameless(s.TeamID))
			return nil
		case !f.parts.CreateTeams:
			s.lose(ownership.Nowhere(s.TeamID, name))
			return nil
		default:
			return nil
		}
	}
	owner, err := f.parts.Links.LinkedTeam(ctx, store.TargetPagerDuty, targetID)
	if err != nil {
		return err
	}
	if owner != "" && owner != s.TeamID {
		s.lose(ownership.Elsewhere(s.TeamID, targetID, owner))
		return nil
	}
	if s.Observed, err = f.observe(ctx, targetID); err != nil {
		return err
	}
	if s.Observed == nil {
		s.lose(ownership.DeclaredNowhere(s.TeamID, targetID))
	}
	return nil
}

func (s *State) lose(why ownership.Issue) {
	s.Lost = true
	s.Issues = append(s.Issues, why)
}

// plan compares.
func (f *Flow) plan(ctx context.Context, s *State) error {
	if s.Lost {
		s.Plan = &ownership.Plan{
			TeamID: s.TeamID, TeamName: cmp.Or(s.Desired.Name, s.TeamID), Changes: []ownership.Change{},
			Issues: s.Issues, Incomparable: true,
		}
		return nil
	}
	observed := ownership.Observed{}
	if s.Observed != nil {
		observed = *s.Observed
	}
	plan := ownership.Diff(*s.Desired, observed, s.Wanted)
	plan.Issues = s.Issues
	return f.restrict(ctx, s, plan, observed)
}

// restrict takes out of a difference what is not to be done, and makes it the plan: what ignore rules hide, whoever is paged for
// the team and would leave it, and what the request did not ask for.
func (f *Flow) restrict(ctx context.Context, s *State, plan ownership.Plan, observed ownership.Observed) (err error) {
	if s.Ignores, err = f.parts.Ignores.IgnoreRules(ctx, s.TeamID); err != nil {
		return fmt.Errorf("read the ignore rules of team %s: %w", s.TeamID, err)
	}
	plan = plan.Ignore(s.Ignores)
	var rotation ownership.Rotation
	if plan.Count(ownership.RemoveMember) > 0 {
		if rotation, err = f.parts.Target.Rotation(ctx, plan.TargetID); err != nil {
			return fmt.Errorf("read who is paged for team %s: %w", plan.TargetID, err)
		}
	}
	plan = plan.HoldRemovals(rotation)
	plan.Basis = ownership.Basis(*s.Desired, observed)
	if plan, err = plan.Select(ownership.Selection{Only: s.Request.Only, Exclude: s.Request.Exclude}); err != nil {
		return fault.New(fault.Precondition, "the changes cannot be chosen: "+err.Error(), nil).WithReason("SELECTION_DIFFERS")
	}
	s.Plan = &plan
	return nil
}

// recently is how long before a run removals count as if they were part of it: many small plans take no more away than one.
const recently = 24 * time.Hour

// guard asks whether the plan may be applied. What the rules go by is the source's word, also where the desired state came
// with the request.
func (f *Flow) guard(ctx context.Context, s *State) error {
	decision := policy.Decision{Verdict: policy.Allow}
	if !s.Plan.Empty() && !seam.Off(seam.Guard) {
		in, err := f.ask(ctx, s)
		if err != nil {
			return err
		}
		if decision, err = f.parts.Guard.Decide(ctx, in); err != nil {
			return fmt.Errorf("decide on the plan for team %s: %w", s.TeamID, err)
		}
		s.Input = &in
	}
	s.Decision = &decision
	return nil
}

// ask gathers what the rules go by.
func (f *Flow) ask(ctx context.Context, s *State) (rules.Input, error) {
	desired := *s.Desired
	var err error
	if desired.Groups, err = f.parts.Source.Groups(ctx, s.TeamID); err != nil && !fault.Is(err, fault.NotFound) {
		return rules.Input{}, fmt.Errorf("read the groups of team %s from the source: %w", s.TeamID, err)
	}
	removed, err := f.parts.Trail.RemovedLately(ctx, s.TeamID, recently)
	if err != nil {
		return rules.Input{}, err
	}
	kind := rules.Reconcile
	if s.Request.RollbackOf != "" {
		kind = rules.Rollback
	}
	return rules.Ask(rules.Question{
		Plan: *s.Plan, Desired: desired, Observed: s.Observed, Removed: removed, Of: recently, Now: f.parts.Now(),
		Request: rules.Request{
			Kind: kind, By: s.AskedBy, Roles: s.Request.Roles, Reason: s.Request.Reason,
			OverrideFreeze: s.Request.OverrideFreeze, DryRun: s.Request.DryRun,
		},
	}), nil
}
