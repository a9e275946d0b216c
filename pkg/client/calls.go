package client

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	callWithin        = 90 * time.Second // the server gives a call 60 s; the rest is for trying again
	idempotencyKeyKey = "idempotency-key"
)

// Reconcile asks for a run and gives its job id. The same key with the same request gives the first job again; an empty
// key is replaced by a new one.
func (c *Client) Reconcile(ctx context.Context, key string, request *nthlayerv1.ReconcileTeamRequest) (jobID string, err error) {
	response, err := c.Teams.ReconcileTeam(underKey(ctx, key), request)
	return response.GetJobId(), err
}

// Rollback asks for a run that undoes another, and gives its job id. The key is as in Reconcile.
func (c *Client) Rollback(ctx context.Context, key string, request *nthlayerv1.RollbackRunRequest) (jobID string, err error) {
	response, err := c.Runs.RollbackRun(underKey(ctx, key), request)
	return response.GetJobId(), err
}

// StartAudit asks for an audit and gives its id. The key is as in Reconcile.
func (c *Client) StartAudit(ctx context.Context, key string, request *nthlayerv1.StartAuditRequest) (auditID string, err error) {
	response, err := c.Audits.StartAudit(underKey(ctx, key), request)
	return response.GetAuditId(), err
}

func underKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, idempotencyKeyKey, key)
}

// Wait follows a run to its end and shows it.
func (c *Client) Wait(ctx context.Context, jobID string) (*nthlayerv1.Run, error) {
	for _, err := range c.Watch(ctx, jobID, 0) {
		if err != nil {
			return nil, err
		}
	}
	return c.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: jobID})
}

func withDeadline(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, set := ctx.Deadline(); !set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callWithin)
		defer cancel()
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// withIdempotencyKey stands around the retries: they all carry the same key.
func withIdempotencyKey(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	switch method {
	case nthlayerv1.TeamService_ReconcileTeam_FullMethodName, nthlayerv1.AuditService_StartAudit_FullMethodName,
		nthlayerv1.RunService_RollbackRun_FullMethodName:
		if sent, _ := metadata.FromOutgoingContext(ctx); len(sent.Get(idempotencyKeyKey)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, idempotencyKeyKey, uuid.NewString())
		}
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}
