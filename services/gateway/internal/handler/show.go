package handler

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func showTeam(t store.Team) *nthlayerv1.Team {
	team := &nthlayerv1.Team{
		TeamId: t.TeamID, Name: t.Name, SyncStatus: string(t.SyncStatus), SyncStatusSince: timestamppb.New(t.SyncStatusSince),
		MemberCount: int32(t.MemberCount), Archived: t.Archived, SourceReadAt: api.Time(t.SourceReadAt),
		AutoReconcile: t.AutoReconcile,
	}
	if t.LastJobID.Valid {
		team.LastJobId = t.LastJobID.UUID.String()
	}
	if t.Link != nil {
		team.Link = &nthlayerv1.Link{
			Source: t.Link.Source, SourceTeamId: t.TeamID, Target: t.Link.Target, TargetTeamId: t.Link.TargetID,
			LinkedAt: timestamppb.New(t.Link.LinkedAt),
		}
	}
	return team
}

func showMember(m ownership.Member) *nthlayerv1.TeamMember {
	return &nthlayerv1.TeamMember{Email: m.Email, Name: m.Name, Role: strings.Join(m.Roles, ", ")}
}

func showRun(r store.Run) *nthlayerv1.Run {
	run := &nthlayerv1.Run{
		JobId: r.JobID.String(), Type: r.Type, TeamId: r.TeamID, Status: r.Status, RequestedBy: r.RequestedBy,
		IdempotencyKey: r.IdempotencyKey, CreatedAt: timestamppb.New(r.CreatedAt), StartedAt: api.Time(r.StartedAt),
		FinishedAt: api.Time(r.FinishedAt), Attempt: int32(r.Attempt), DryRun: r.Request.DryRun, Summary: r.Summary,
		TraceId: traceID(r.Trace), Source: r.Request.Source, CanceledBy: r.CanceledBy, AvailableAt: timestamppb.New(r.AvailableAt),
		Reason: r.Request.Reason, RequestId: r.Request.RequestID, RollbackOf: r.Request.RollbackOf, Only: r.Request.Only, Exclude: r.Request.Exclude,
		OverrideFreeze: r.Request.OverrideFreeze,
	}
	if r.ErrorReason != "" || r.ErrorMessage != "" {
		run.Error = &nthlayerv1.RunError{Reason: r.ErrorReason, Message: r.ErrorMessage}
	}
	return run
}

func showApproval(a *store.Approval) *nthlayerv1.Approval {
	if a == nil {
		return nil
	}
	shown := &nthlayerv1.Approval{
		PlanHash: a.PlanHash, RequestedAt: timestamppb.New(a.RequestedAt), ExpiresAt: timestamppb.New(a.ExpiresAt),
		Approvers: api.Approvers(a.Decision.Approvers),
	}
	for _, v := range a.Votes {
		shown.Votes = append(shown.Votes, &nthlayerv1.ApprovalVote{Principal: v.Principal, At: timestamppb.New(v.At), Reason: v.Reason, Via: v.Via})
	}
	return shown
}

// traceID reads it from a W3C traceparent, "00-<trace id>-<span id>-<flags>".
func traceID(carrier map[string]string) string {
	parts := strings.Split(carrier["traceparent"], "-")
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}

func showEvent(e store.Event) *nthlayerv1.RunEvent {
	event := &nthlayerv1.RunEvent{
		Seq: e.Seq, JobId: e.JobID.String(), At: timestamppb.New(e.At), Kind: e.Kind, Step: e.Step, Message: e.Message,
	}
	if e.Change != nil {
		event.Change = api.Change(*e.Change)
	}
	return event
}

// endOf is the last event of a run that has ended.
func endOf(r store.Run, seq int64) *nthlayerv1.RunEvent {
	event := &nthlayerv1.RunEvent{
		Seq: seq, JobId: r.JobID.String(), At: api.Time(r.FinishedAt), Kind: store.EndOf(r.Status), Message: r.ErrorMessage,
	}
	if r.Status == store.Succeeded {
		event.Message = r.Summary
	}
	return event
}

func showPause(p *store.Pause) *nthlayerv1.TeamPause {
	if p == nil {
		return nil
	}
	return &nthlayerv1.TeamPause{
		TeamId: p.TeamID, Reason: p.Reason, PausedBy: p.PausedBy, PausedAt: timestamppb.New(p.PausedAt), Until: timestamppb.New(p.Until),
		TeamUnknown: p.Unknown,
	}
}

func showLetters(letters []store.DeadLetter) []*nthlayerv1.DeadLetter {
	shown := make([]*nthlayerv1.DeadLetter, len(letters))
	for i, l := range letters {
		shown[i] = showLetter(l)
	}
	return shown
}

func showLetter(l store.DeadLetter) *nthlayerv1.DeadLetter {
	return &nthlayerv1.DeadLetter{
		LetterId: l.ID.String(), Kind: l.Kind, Status: l.Status, Queue: l.Queue, TeamId: l.TeamID, Reason: l.Reason, Error: l.Error,
		Attempts: int32(l.Attempts), DiedAt: timestamppb.New(l.DiedAt), SettledAt: api.Time(l.SettledAt), SettledBy: l.SettledBy,
		MessageId: l.MessageID, Body: l.Body,
	}
}

func showUpstream(r store.UpstreamReport, s upstream.Status) *nthlayerv1.Upstream {
	return &nthlayerv1.Upstream{
		Platform: r.Platform, Process: r.Process, Breaker: s.Breaker, BreakerUntil: known(s.BreakerUntil),
		LimitPerMinute: int32(s.Limit), Remaining: int32(s.Remaining), PausedUntil: known(s.PausedUntil), Limiter: s.Limiter,
		LastError: s.LastError, LastErrorAt: known(s.LastErrorAt), ReportedAt: timestamppb.New(r.ReportedAt),
	}
}

// known is a time, or nothing where it is the zero time.
func known(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
