package handler

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func showTeam(t store.Team) *nthlayerv1.Team {
	team := &nthlayerv1.Team{
		TeamId: t.TeamID, Name: t.Name, SyncStatus: string(t.SyncStatus), SyncStatusSince: timestamppb.New(t.SyncStatusSince),
		MemberCount: int32(t.MemberCount), Archived: t.Archived, SourceReadAt: api.Time(t.SourceReadAt),
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
		TraceId: traceID(r.Trace), Source: r.Request.Source,
	}
	if r.ErrorReason != "" || r.ErrorMessage != "" {
		run.Error = &nthlayerv1.RunError{Reason: r.ErrorReason, Message: r.ErrorMessage}
	}
	return run
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
	event := &nthlayerv1.RunEvent{Seq: seq, JobId: r.JobID.String(), At: api.Time(r.FinishedAt), Kind: store.RunSucceeded, Message: r.Summary}
	if r.Status == store.Failed {
		event.Kind, event.Message = store.RunFailed, r.ErrorMessage
	}
	return event
}
