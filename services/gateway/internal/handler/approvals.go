package handler

import (
	"context"
	"log/slog"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ApproveRun counts the caller's vote for the plan that a run waits with.
func (r *Runs) ApproveRun(ctx context.Context, request *nthlayerv1.ApproveRunRequest) (*nthlayerv1.Run, error) {
	jobID, who, err := askingAbout(ctx, "job_id", request.GetJobId())
	if err != nil {
		return nil, err
	}
	run, err := r.Store.Run(ctx, jobID)
	if err != nil {
		return nil, err
	}
	roles, err := rpc.RolesOn(ctx, run.TeamID)
	if err != nil {
		return nil, err
	}
	vote := policy.Vote{Principal: who, Roles: roles, Reason: request.GetReason(), Via: rpc.Via(ctx), At: time.Now().UTC()}
	if run, err = r.Store.Approve(ctx, jobID, request.GetPlanHash(), vote); err != nil {
		return nil, err
	}
	return r.decided(ctx, run)
}

// RejectRun ends a run that waits for approval.
func (r *Runs) RejectRun(ctx context.Context, request *nthlayerv1.RejectRunRequest) (*nthlayerv1.Run, error) {
	jobID, who, err := askingAbout(ctx, "job_id", request.GetJobId())
	if err != nil {
		return nil, err
	}
	run, err := r.Store.Reject(ctx, jobID, request.GetPlanHash(), who, request.GetReason(), rpc.Via(ctx))
	if err != nil {
		return nil, err
	}
	return r.decided(ctx, run)
}

func (r *Runs) decided(ctx context.Context, run store.Run) (*nthlayerv1.Run, error) {
	rpc.Note(ctx, slog.String("job_id", run.JobID.String()), slog.String("team_id", run.TeamID))
	r.Poke()
	return r.whole(ctx, run)
}

// RollbackRun makes a run durable that undoes another.
func (r *Runs) RollbackRun(ctx context.Context, request *nthlayerv1.RollbackRunRequest) (*nthlayerv1.RollbackRunResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkSelection(request); err != nil {
		return nil, err
	}
	undone, err := parseID("job_id", request.GetJobId())
	if err != nil {
		return nil, err
	}
	run, err := r.Store.Run(ctx, undone)
	switch {
	case err != nil:
		return nil, err
	case !run.Terminal():
		return nil, fault.New(fault.Precondition, "the run has not ended yet; cancel it, or wait for its end", nil).WithReason("RUN_NOT_ENDED")
	case run.Request.DryRun:
		return nil, fault.New(fault.Precondition, "the run was a dry run: it changed nothing", nil).WithReason("NOTHING_TO_UNDO")
	}
	roles, err := rpc.RolesOn(ctx, run.TeamID)
	if err != nil {
		return nil, err
	}
	request.JobId = undone.String() // however it was spelled, it is the same request
	jobID, created, err := r.Store.Accept(ctx, store.NewRun{
		Principal: who, IdempotencyKey: key, RequestHash: requestHash(request), TeamID: run.TeamID,
		Request: store.Request{
			Source: run.Request.Source, DryRun: request.GetDryRun(), RollbackOf: undone.String(), Reason: request.GetReason(),
			RequestID: rpc.RequestID(ctx), Roles: roles, Only: request.GetOnly(), Exclude: request.GetExclude(),
			OverrideFreeze: request.GetOverrideFreeze(),
		},
		Trace: telemetry.Inject(ctx),
	})
	if err != nil {
		return nil, err
	}
	accepted(ctx, jobID, run.TeamID, key)
	if created {
		r.Poke()
	}
	return &nthlayerv1.RollbackRunResponse{JobId: jobID.String()}, nil
}

// checkSelection refuses words that name no change.
func checkSelection(request interface {
	GetOnly() []string
	GetExclude() []string
}) error {
	if err := (ownership.Selection{Only: request.GetOnly()}).Check(); err != nil {
		return fault.Field("only", err.Error())
	}
	if err := (ownership.Selection{Exclude: request.GetExclude()}).Check(); err != nil {
		return fault.Field("exclude", err.Error())
	}
	return nil
}
