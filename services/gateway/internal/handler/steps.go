package handler

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// steps folds a run's events into how each step stands, in the order in which the steps began. The step that ends a run
// is never told to be done, because the end comes with it: it is what the run is.
func (r *Runs) steps(ctx context.Context, run store.Run) ([]*nthlayerv1.Step, error) {
	var folded fold
	for after, seen := int64(0), 0; seen < mostShown; {
		events, err := r.Store.Events(ctx, run.JobID, after, readBatch)
		if err != nil {
			return nil, err
		}
		for _, event := range events {
			folded.add(event)
			after = event.Seq
		}
		seen += len(events)
		if len(events) < readBatch {
			break
		}
	}
	for _, step := range folded.steps {
		if run.FinishedAt != nil && step.FinishedAt == nil && step.Status == "running" {
			step.Status, step.FinishedAt = stepEnd(run), timestamppb.New(*run.FinishedAt)
		}
	}
	return folded.steps, nil
}

// stepEnd is how the step ended that was under way when the run did.
func stepEnd(run store.Run) string {
	if run.Status == store.Succeeded {
		return "succeeded"
	}
	return "failed"
}

type fold struct {
	steps  []*nthlayerv1.Step
	byName map[string]*nthlayerv1.Step
}

func (f *fold) add(event store.Event) {
	kind := flow.EventKind(event.Kind)
	switch kind {
	case flow.StepStarted, flow.StepSucceeded, flow.StepFailed, flow.StepSkipped:
	default:
		return
	}
	step := f.step(event.Step)
	at := timestamppb.New(event.At)
	switch kind {
	case flow.StepStarted:
		if step.StartedAt == nil {
			step.StartedAt = at
		}
		step.Attempts++
		step.Status, step.FinishedAt, step.Error = "running", nil, ""
	case flow.StepSucceeded:
		step.Status, step.FinishedAt, step.Error = "succeeded", at, ""
	case flow.StepFailed:
		step.Status, step.FinishedAt, step.Error = "failed", at, event.Message
	case flow.StepSkipped:
		step.Status = "skipped"
	}
}

func (f *fold) step(name string) *nthlayerv1.Step {
	if step, ok := f.byName[name]; ok {
		return step
	}
	if f.byName == nil {
		f.byName = map[string]*nthlayerv1.Step{}
	}
	step := &nthlayerv1.Step{Name: name}
	f.byName[name] = step
	f.steps = append(f.steps, step)
	return step
}
