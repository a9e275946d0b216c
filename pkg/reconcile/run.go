package reconcile

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// Job is one claimed run, as the flow sees it.
type Job struct {
	Run    store.Run
	Ledger Ledger
	Hooks  flow.Hooks        // without Journal: the ledger is the journal
	Tell   func(store.Event) // plan and change events for those who watch; may be nil
}

// run is a flow at work on one job.
type run struct {
	*Flow
	job Job
}

// Run takes a job to its end, from where its journal says it stands. It returns nil when the run has ended, whether it
// succeeded or not; an error means that it has not ended and says why: see fault.Passing for whether to try again.
func (f *Flow) Run(ctx context.Context, job Job) (*State, error) {
	r := &run{Flow: f, job: job}
	graph, err := f.graph(r, job.Run.Type)
	if err != nil {
		return nil, fault.New(fault.Internal, "the flow is not well formed", err)
	}
	state, err := f.Begin(ctx, job.Run.TeamID, job.Run.RequestedBy, job.Run.Request)
	if err != nil {
		return nil, err
	}
	hooks := job.Hooks
	hooks.Journal = job.Ledger
	return state, graph.Run(ctx, state, hooks)
}

// Abandon ends a job that does not go on: as failed, dead-lettered or canceled, because of cause. What was done before
// stands in the trail like that of any other run. When it is left half way, whoever takes the job up decides over again: what
// was given up is not passed over as if it had been done.
func (f *Flow) Abandon(ctx context.Context, job Job, state *State, status string, cause error) error {
	if state == nil {
		var err error
		if state, err = f.Begin(ctx, job.Run.TeamID, job.Run.RequestedBy, job.Run.Request); err != nil {
			return err
		}
	}
	if err := job.Ledger.Forget(ctx); err != nil {
		return err
	}
	r := &run{Flow: f, job: job}
	seen, err := r.giveUp(ctx, state, cause)
	if err != nil {
		return err
	}
	if err := r.seal(ctx, state, seen); err != nil {
		return err
	}
	return r.end(ctx, state, abandoned(status, state, cause))
}

func (r *run) tell(e store.Event) {
	if r.job.Tell != nil {
		e.JobID, e.At = r.job.Run.JobID, r.parts.Now()
		r.job.Tell(e)
	}
}
