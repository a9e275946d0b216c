package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// AuditStore is what Audits needs of the store.
type AuditStore interface {
	AcceptAudit(ctx context.Context, n store.NewAudit, key string, requestHash []byte) (auditID uuid.UUID, created bool, err error)
	Audit(ctx context.Context, auditID uuid.UUID) (store.Audit, error)
	Audits(context.Context, store.AuditFilter) ([]store.Audit, error)
	CancelAudit(ctx context.Context, auditID uuid.UUID, by string) (store.Audit, error)
	AuditFinding(ctx context.Context, id uuid.UUID) (store.AuditFinding, error)
	AuditFindings(context.Context, store.AuditFindingFilter) ([]store.AuditFinding, error)
	Acknowledge(ctx context.Context, id uuid.UUID, who, reason string, until time.Time) (store.AuditFinding, error)
	Unacknowledge(ctx context.Context, id uuid.UUID) (store.AuditFinding, error)
	Upstreams(ctx context.Context) ([]store.UpstreamReport, error)
}

// Audits serves AuditService.
type Audits struct {
	nthlayerv1.UnimplementedAuditServiceServer
	Store AuditStore
	News  News
	Poke  func() // tells the relay that the outbox has news
}

// StartAudit makes an audit durable and answers with its id.
func (a *Audits) StartAudit(ctx context.Context, request *nthlayerv1.StartAuditRequest) (*nthlayerv1.StartAuditResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	// Before hashing: said or not, it is the same request.
	request.Mode, request.AutoReconcile = cmp.Or(request.GetMode(), audit.Auto), cmp.Or(request.GetAutoReconcile(), audit.Observe)
	if err := mayEnforce(ctx, request.GetAutoReconcile(), auth.All); err != nil {
		return nil, err
	}
	auditID, created, err := a.Store.AcceptAudit(ctx, store.NewAudit{
		RequestedBy: who, Trace: telemetry.Inject(ctx),
		Request: store.AuditRequest{
			Scope: api.Scope(request.GetScope()), Mode: request.GetMode(), AutoReconcile: request.GetAutoReconcile(),
			AcceptShrunken: request.GetAcceptShrunkenSource(),
		},
	}, key, requestHash(request))
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("audit_id", auditID.String()), slog.String("idem_key", key))
	if created {
		a.Poke()
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("location", "/v1/audits/"+auditID.String())) // for REST; fails only outside of a call
	return &nthlayerv1.StartAuditResponse{AuditId: auditID.String()}, nil
}

// mayEnforce keeps those from having teams reconciled by an audit who may not have it done themselves.
func mayEnforce(ctx context.Context, mode string, teams auth.Resource) error {
	if mode != audit.Enforce {
		return nil
	}
	return rpc.May(ctx, "teams.reconcile", teams)
}

// ListAudits lists audits, newest first.
func (a *Audits) ListAudits(ctx context.Context, request *nthlayerv1.ListAuditsRequest) (*nthlayerv1.ListAuditsResponse, error) {
	after, err := lastID(request)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	audits, err := a.Store.Audits(ctx, store.AuditFilter{
		After: after, ScheduleID: request.GetScheduleId(), Status: request.GetStatus(), Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListAuditsResponse{}
	if len(audits) > size {
		audits = audits[:size]
		response.NextPageToken = pagetoken.Next(request, audits[size-1].AuditID.String())
	}
	for _, one := range audits {
		response.Audits = append(response.Audits, showAudit(one))
	}
	return response, nil
}

// GetAudit shows one audit.
func (a *Audits) GetAudit(ctx context.Context, request *nthlayerv1.GetAuditRequest) (*nthlayerv1.Audit, error) {
	id, err := parseID("audit_id", request.GetAuditId())
	if err != nil {
		return nil, err
	}
	return a.show(ctx, id)
}

// show adds to an audit that is under way when it will be done.
func (a *Audits) show(ctx context.Context, id uuid.UUID) (*nthlayerv1.Audit, error) {
	one, err := a.Store.Audit(ctx, id)
	if err != nil {
		return nil, err
	}
	shown := showAudit(one)
	if one.Phase == store.PhaseTeams || one.Phase == store.PhaseScan {
		upstreams, err := a.Store.Upstreams(ctx)
		if err != nil {
			return nil, err
		}
		shown.Progress.DoneBy = doneBy(one, upstreams, time.Now())
	}
	return shown, nil
}

// doneBy is when an audit will have read what is left, by the target's quota, and not sooner than by how it went so far.
func doneBy(a store.Audit, upstreams []store.UpstreamReport, now time.Time) *timestamppb.Timestamp {
	left := a.ReadsTotal - a.ReadsDone
	if left <= 0 || a.TeamsFrom == nil {
		return nil
	}
	var needs time.Duration
	for _, u := range upstreams {
		var status upstream.Status
		if err := json.Unmarshal(u.Report, &status); err == nil && u.Platform == "pagerduty" && status.Limit > 0 {
			needs = max(needs, time.Duration(left)*time.Minute/time.Duration(status.Limit))
		}
	}
	if a.ReadsDone > 0 {
		needs = max(needs, now.Sub(*a.TeamsFrom)*time.Duration(left)/time.Duration(a.ReadsDone))
	}
	if needs == 0 {
		return nil
	}
	return timestamppb.New(now.Add(needs))
}

// WatchAudit streams an audit as it stands, up to its end.
func (a *Audits) WatchAudit(request *nthlayerv1.WatchAuditRequest, stream grpc.ServerStreamingServer[nthlayerv1.Audit]) error {
	ctx := stream.Context()
	id, err := parseID("audit_id", request.GetAuditId())
	if err != nil {
		return err
	}
	news, stop := a.News.Subscribe(id) // before the first look, so that nothing falls between
	defer stop()
	look := time.NewTicker(lookEvery) // news may be lost while the connection to the database is
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-look.C:
		}
		shown, err := a.show(ctx, id)
		if err != nil {
			return err
		}
		if err := stream.Send(shown); err != nil || audit.Ended(shown.GetStatus()) {
			return err
		}
	}
}

const lookEvery = 5 * time.Second

// CancelAudit asks for the end of an audit.
func (a *Audits) CancelAudit(ctx context.Context, request *nthlayerv1.CancelAuditRequest) (*nthlayerv1.Audit, error) {
	id, who, err := askingAbout(ctx, "audit_id", request.GetAuditId())
	if err != nil {
		return nil, err
	}
	one, err := a.Store.CancelAudit(ctx, id, who)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, slog.String("audit_id", id.String()))
	return showAudit(one), nil
}

// ListAuditFindings lists findings, newest first.
func (a *Audits) ListAuditFindings(ctx context.Context, request *nthlayerv1.ListAuditFindingsRequest) (*nthlayerv1.ListAuditFindingsResponse, error) {
	filter := store.AuditFindingFilter{Teams: rpc.VisibleTeams(ctx), Status: request.GetStatus(), Kind: request.GetKind(), TeamID: request.GetTeamId()}
	var err error
	if filter.After, err = lastID(request); err != nil {
		return nil, err
	}
	if request.GetAuditId() != "" {
		if filter.AuditID, err = parseID("audit_id", request.GetAuditId()); err != nil {
			return nil, err
		}
	}
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	findings, err := a.Store.AuditFindings(ctx, filter)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListAuditFindingsResponse{}
	if len(findings) > size {
		findings = findings[:size]
		response.NextPageToken = pagetoken.Next(request, findings[size-1].FindingID.String())
	}
	for _, f := range findings {
		response.Findings = append(response.Findings, showAuditFinding(f))
	}
	return response, nil
}

// GetAuditFinding shows one.
func (a *Audits) GetAuditFinding(ctx context.Context, request *nthlayerv1.GetAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	id, err := parseID("finding_id", request.GetFindingId())
	if err != nil {
		return nil, err
	}
	return shownFinding(a.Store.AuditFinding(ctx, id))
}

// AcknowledgeAuditFinding notes that somebody knows of it.
func (a *Audits) AcknowledgeAuditFinding(ctx context.Context, request *nthlayerv1.AcknowledgeAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	id, who, err := askingAbout(ctx, "finding_id", request.GetFindingId())
	if err != nil {
		return nil, err
	}
	return shownFinding(a.Store.Acknowledge(ctx, id, who, request.GetReason(), request.GetUntil().AsTime()))
}

// ReopenAuditFinding takes an acknowledgement back.
func (a *Audits) ReopenAuditFinding(ctx context.Context, request *nthlayerv1.ReopenAuditFindingRequest) (*nthlayerv1.AuditFinding, error) {
	id, err := parseID("finding_id", request.GetFindingId())
	if err != nil {
		return nil, err
	}
	return shownFinding(a.Store.Unacknowledge(ctx, id))
}
