package client

import (
	"context"
	"errors"
	"io"
	"iter"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Ends reports whether an event of this kind ends its run, for as long as nobody requeues it.
func Ends(kind string) bool {
	switch kind {
	case "run_succeeded", "run_failed", "run_canceled", "run_dead_lettered":
		return true
	default:
		return false
	}
}

// Watch gives a run's events after a sequence number (0: all), as they happen, up to the one that ends the run; of a run
// that was requeued, up to its last end. When the stream breaks it goes on after the last event. An error is the last
// thing it gives.
func (c *Client) Watch(ctx context.Context, jobID string, after int64) iter.Seq2[*nthlayerv1.RunEvent, error] {
	return func(yield func(*nthlayerv1.RunEvent, error) bool) {
		for tries := (tries{retry: c.retry}); ; {
			seen := after
			ended, err := c.watchOnce(ctx, jobID, &after, yield)
			if ended {
				return
			}
			if after > seen {
				tries.failed, tries.waited = 0, 0 // it made progress: the next failure is a new one
			}
			if !tries.again(ctx, err) {
				yield(nil, err)
				return
			}
		}
	}
}

// watchOnce gives events until the stream breaks. ended: the run has ended, or nobody listens any more.
func (c *Client) watchOnce(ctx context.Context, jobID string, after *int64, yield func(*nthlayerv1.RunEvent, error) bool) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Runs.WatchRun(ctx, &nthlayerv1.WatchRunRequest{JobId: jobID, AfterSeq: *after})
	if err != nil {
		return false, err
	}
	for last := ""; ; {
		event, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), err != nil && Ends(last):
			return true, nil
		case err != nil:
			return false, err
		}
		*after, last = max(*after, event.GetSeq()), event.GetKind()
		if !yield(event, nil) {
			return true, nil
		}
	}
}
