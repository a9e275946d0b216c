package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// verify re-reads the target until it shows what apply did. PagerDuty's membership reads lag its writes by seconds, so a
// read that does not show a change yet is repeated, never reported as drift.
func (r *run) verify(ctx context.Context, s *State) error {
	if s.TargetID == "" {
		return nil // the team could not be created: there is nothing to look at
	}
	err := r.until(ctx, func(ctx context.Context) (bool, error) {
		observed, err := r.parts.Target.Observe(ctx, s.TargetID)
		if err != nil {
			return false, fmt.Errorf("observe after apply: %w", err)
		}
		for _, c := range s.Applied {
			if c.Outcome == trail.Applied && !observed.Shows(c.Change) {
				return false, nil
			}
		}
		s.After = &observed
		return true, nil
	})
	if errors.Is(err, errNotShown) {
		return fault.New(fault.Unavailable,
			fmt.Sprintf("the target does not show the changes %s after they were made; somebody else may be changing the team", r.parts.VerifyWithin), nil).
			WithReason("NOT_VERIFIED")
	}
	return err
}

var errNotShown = errors.New("the target does not show it")

// until looks, with growing pauses, until it is shown, and gives up with errNotShown after VerifyWithin. An error of the
// look itself ends it at once: the transport has retried already.
func (f *Flow) until(ctx context.Context, shown func(context.Context) (bool, error)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = f.parts.VerifyEvery, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		ok, err := shown(ctx)
		switch {
		case err != nil:
			return struct{}{}, backoff.Permanent(err)
		case !ok:
			return struct{}{}, errNotShown
		default:
			return struct{}{}, nil
		}
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(f.parts.VerifyWithin))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		return permanent.Err
	}
	return err
}
