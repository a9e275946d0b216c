package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// AuditEnded reports whether an audit with this status has ended.
func AuditEnded(status string) bool {
	switch status {
	case "succeeded", "incomplete", "failed", "canceled":
		return true
	default:
		return false
	}
}

// WatchAudit gives an audit as it stands, and again whenever it has gone on, up to its end: the last one has a status with
// which AuditEnded. When the stream breaks it watches again. An error is the last thing it gives.
func (c *Client) WatchAudit(ctx context.Context, auditID string) iter.Seq2[*nthlayerv1.Audit, error] {
	return func(yield func(*nthlayerv1.Audit, error) bool) {
		var last *nthlayerv1.Audit
		for tries := (tries{retry: c.retry}); ; {
			before := last
			ended, err := c.watchAuditOnce(ctx, auditID, &last, yield)
			if ended {
				return
			}
			if last != before {
				tries.failed, tries.waited = 0, 0 // it went on meanwhile: the next failure is a new one
			}
			if !tries.again(ctx, err) {
				yield(nil, err)
				return
			}
		}
	}
}

// watchAuditOnce gives the audit until the stream breaks; what was given last is not given again. ended: the audit has
// ended, or nobody listens any more.
func (c *Client) watchAuditOnce(
	ctx context.Context, auditID string, last **nthlayerv1.Audit, yield func(*nthlayerv1.Audit, error) bool,
) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Audits.WatchAudit(ctx, &nthlayerv1.WatchAuditRequest{AuditId: auditID})
	if err != nil {
		return false, err
	}
	for {
		audit, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF): // such as of a server that stops
			return false, fault.New(fault.Unavailable, "the audit is no longer told of although it has not ended", io.ErrUnexpectedEOF)
		case err != nil:
			return false, err
		case proto.Equal(audit, *last):
			continue
		}
		*last = audit
		if !yield(audit, nil) || AuditEnded(audit.GetStatus()) {
			return true, nil
		}
	}
}
