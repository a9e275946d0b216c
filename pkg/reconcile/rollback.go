package reconcile

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// fetchTrail reads what the run did that is to be undone.
func (f *Flow) fetchTrail(ctx context.Context, s *State) error {
	jobID, err := uuid.Parse(s.Request.RollbackOf)
	if err != nil {
		return fault.New(fault.Internal, "the run to undo has no id", err)
	}
	if s.Undo, err = f.parts.Trail.Effects(ctx, jobID); err != nil {
		return fmt.Errorf("read what run %s did: %w", jobID, err)
	}
	s.Desired = &ownership.Desired{TeamID: s.TeamID} // nothing is asked of the source
	return nil
}

// invert plans the way back from what the target shows now, within what holds for any plan.
func (f *Flow) invert(ctx context.Context, s *State) error {
	if s.Observed == nil {
		s.Lost = true
		s.Plan = &ownership.Plan{
			TeamID: s.TeamID, TeamName: s.TeamID, Changes: []ownership.Change{}, Incomparable: true,
			Issues: []ownership.Issue{ownership.Gone(s.TeamID)},
		}
		return nil
	}
	s.TargetID = s.Observed.TargetID
	undo, err := f.withAccounts(ctx, s)
	if err != nil {
		return err
	}
	plan := ownership.Invert(s.TeamID, *s.Observed, undo)
	plan.Issues = append(plan.Issues, s.Issues...)
	return f.restrict(ctx, s, plan, *s.Observed)
}

// withAccounts finds the accounts of people whom the trail knows by their addresses only: entries did not always name the
// account. Whoever has none any more is an issue.
func (f *Flow) withAccounts(ctx context.Context, s *State) ([]ownership.Change, error) {
	nameless := func(c ownership.Change) bool { return c.UserID == "" && c.Email() != "" }
	var unknown []string
	for _, c := range s.Undo {
		if nameless(c) {
			unknown = append(unknown, ownership.NormalizeEmail(c.Email()))
		}
	}
	if len(unknown) == 0 {
		return s.Undo, nil
	}
	users, err := f.parts.Target.FindUsers(ctx, unknown)
	if err != nil {
		return nil, fmt.Errorf("look people up on the target: %w", err)
	}
	for _, m := range s.Observed.Members {
		users = append(users, m.User)
	}
	accounts := map[string]string{}
	for _, u := range users {
		accounts[ownership.NormalizeEmail(u.Email)] = u.ID
	}
	undo := make([]ownership.Change, 0, len(s.Undo))
	for _, c := range s.Undo {
		if nameless(c) {
			if c.UserID = accounts[ownership.NormalizeEmail(c.Email())]; c.UserID == "" {
				s.Issues = append(s.Issues, ownership.Issue{
					Kind: ownership.UserNotFound, EntityRef: c.EntityRef, BlocksRemovals: true, Message: c.Email() + " has no account on the target any more: nothing is undone for the person",
				})
				continue
			}
		}
		undo = append(undo, c)
	}
	return undo, nil
}
