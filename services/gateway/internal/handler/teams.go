package handler

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// sourceCortex is the source where the request names none.
const sourceCortex = "cortex"

// TeamStore is what Teams needs of the store.
type TeamStore interface {
	Accept(context.Context, store.NewRun) (jobID uuid.UUID, created bool, err error)
	Team(ctx context.Context, teamID string) (store.Team, error)
	Teams(context.Context, store.TeamFilter) ([]store.Team, error)
	Pause(ctx context.Context, teamID string) (*store.Pause, error)
	PauseTeam(ctx context.Context, teamID, by, reason string, duration time.Duration) (store.Pause, error)
	ResumeTeam(ctx context.Context, teamID string) error
	SetAutoReconcile(ctx context.Context, teamID, mode string) (store.Team, error)
	IgnoreRules(ctx context.Context, teamID string) ([]ownership.IgnoreRule, error)
}

// Teams serves TeamService.
type Teams struct {
	nthlayerv1.UnimplementedTeamServiceServer
	Store   TeamStore
	Planner internalv1.PlannerServiceClient
	Poke    func() // tells the relay that the outbox has news
}

// ReconcileTeam makes a run durable and answers with its id.
func (t *Teams) ReconcileTeam(ctx context.Context, request *nthlayerv1.ReconcileTeamRequest) (*nthlayerv1.ReconcileTeamResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkSelection(request), mayDesire(ctx, request.GetDesired())); err != nil {
		return nil, err
	}
	if request.GetSource() == "" {
		request.Source = sourceCortex // before hashing: said or not, it is the same request
	}
	roles, err := rpc.RolesOn(ctx, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	jobID, created, err := t.Store.Accept(ctx, store.NewRun{
		Principal: who, IdempotencyKey: key, RequestHash: requestHash(request), TeamID: request.GetTeamId(),
		Request: store.Request{Desired: api.Desired(request.GetDesired()), Source: request.GetSource(), DryRun: request.GetDryRun(),
			Reason: request.GetReason(), RequestID: rpc.RequestID(ctx), Roles: roles,
			Only: request.GetOnly(), Exclude: request.GetExclude(), OverrideFreeze: request.GetOverrideFreeze()},
		Trace: telemetry.Inject(ctx),
	})
	if err != nil {
		return nil, err
	}
	accepted(ctx, jobID, request.GetTeamId(), key)
	if created {
		t.Poke()
	}
	return &nthlayerv1.ReconcileTeamResponse{JobId: jobID.String()}, nil
}

// accepted says of a run that it is durable: in the log, and to REST where it is found.
func accepted(ctx context.Context, jobID uuid.UUID, teamID, key string) {
	rpc.Note(ctx, slog.String("job_id", jobID.String()), slog.String("team_id", teamID), slog.String("idem_key", key))
	_ = grpc.SetHeader(ctx, metadata.Pairs("location", "/v1/runs/"+jobID.String())) // fails only outside of a call
}

// mayDesire keeps callers who may act on some teams alone from saying what a team is: it would be found on the target by the
// name that they give, and might be another's.
func mayDesire(ctx context.Context, desired *nthlayerv1.Desired) error {
	if desired == nil || rpc.VisibleTeams(ctx) == nil {
		return nil
	}
	return fault.New(fault.PermissionDenied, "a role on some teams is for what the source declares of them: leave desired out, and correct the source", nil).
		WithReason("DESIRED_NOT_ALLOWED")
}

// requestHash tells one request from another under the same idempotency key. Keys belong to their principal, so who
// asks is not part of it.
func requestHash(request proto.Message) []byte {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		panic(err) // it came from the wire: it can be written to it
	}
	hash := sha256.New()
	hash.Write([]byte(request.ProtoReflect().Descriptor().FullName()))
	hash.Write([]byte{0})
	hash.Write(content)
	return hash.Sum(nil)
}

// PlanTeam asks the planner. Nothing is written anywhere.
func (t *Teams) PlanTeam(ctx context.Context, request *nthlayerv1.PlanTeamRequest) (*nthlayerv1.Plan, error) {
	if err := errors.Join(checkSelection(request), mayDesire(ctx, request.GetDesired())); err != nil {
		return nil, err
	}
	if request.GetSource() == "" {
		request.Source = sourceCortex
	}
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	roles, err := rpc.RolesOn(ctx, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	plan, err := t.Planner.Plan(rpc.OnBehalfOf(ctx, who, roles...), request)
	return plan, from("the planner (reconcile-worker)", err)
}

// GetTeam shows one team.
func (t *Teams) GetTeam(ctx context.Context, request *nthlayerv1.GetTeamRequest) (*nthlayerv1.Team, error) {
	team, err := t.Store.Team(ctx, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	shown := showTeam(team)
	for _, m := range team.Members {
		shown.Members = append(shown.Members, showMember(m))
	}
	pause, err := t.Store.Pause(ctx, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	shown.Pause = showPause(pause)
	rules, err := t.Store.IgnoreRules(ctx, request.GetTeamId())
	if err != nil {
		return nil, err
	}
	for _, rule := range rules {
		shown.IgnoreRules = append(shown.IgnoreRules, api.IgnoreRule(rule))
	}
	return shown, nil
}

// PauseTeam keeps runs of a team from changing anything for a while.
func (t *Teams) PauseTeam(ctx context.Context, request *nthlayerv1.PauseTeamRequest) (*nthlayerv1.TeamPause, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	pause, err := t.Store.PauseTeam(ctx, request.GetTeamId(), who, request.GetReason(), request.GetDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return showPause(&pause), nil
}

// ResumeTeam ends a pause.
func (t *Teams) ResumeTeam(ctx context.Context, request *nthlayerv1.ResumeTeamRequest) (*nthlayerv1.ResumeTeamResponse, error) {
	if err := t.Store.ResumeTeam(ctx, request.GetTeamId()); err != nil {
		return nil, err
	}
	t.Poke()
	return &nthlayerv1.ResumeTeamResponse{}, nil
}

// SetTeamAutoReconcile says what audits do when they find the team out of sync.
func (t *Teams) SetTeamAutoReconcile(ctx context.Context, request *nthlayerv1.SetTeamAutoReconcileRequest) (*nthlayerv1.Team, error) {
	if err := mayEnforce(ctx, request.GetAutoReconcile(), auth.Team(request.GetTeamId())); err != nil {
		return nil, err
	}
	team, err := t.Store.SetAutoReconcile(ctx, request.GetTeamId(), request.GetAutoReconcile())
	if err != nil {
		return nil, err
	}
	return showTeam(team), nil
}

// ListTeams lists teams by id.
func (t *Teams) ListTeams(ctx context.Context, request *nthlayerv1.ListTeamsRequest) (*nthlayerv1.ListTeamsResponse, error) {
	after, err := pagetoken.Cursor(request)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	teams, err := t.Store.Teams(ctx, store.TeamFilter{
		Teams: rpc.VisibleTeams(ctx), After: after, SyncStatus: request.GetSyncStatus(), Query: request.GetQuery(), Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListTeamsResponse{}
	if len(teams) > size {
		teams = teams[:size]
		response.NextPageToken = pagetoken.Next(request, teams[size-1].TeamID)
	}
	for _, team := range teams {
		response.Teams = append(response.Teams, showTeam(team))
	}
	return response, nil
}
