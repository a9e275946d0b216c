package handler

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func showAudit(a store.Audit) *nthlayerv1.Audit {
	shown := &nthlayerv1.Audit{
		AuditId: a.AuditID.String(), ScheduleId: a.ScheduleID, TickAt: api.Time(a.TickAt), Status: a.Status, RequestedBy: a.RequestedBy,
		Scope: api.ShowScope(a.Request.Scope), Mode: a.Request.Mode, Read: a.Read, ReadReason: a.ReadReason,
		AutoReconcile: a.Request.AutoReconcile, CreatedAt: timestamppb.New(a.CreatedAt), StartedAt: api.Time(a.StartedAt),
		FinishedAt: api.Time(a.FinishedAt), Summary: a.Summary, RunsStarted: int32(a.RunsStarted),
		Progress: &nthlayerv1.AuditProgress{
			Phase: a.Phase, TeamsTotal: int32(a.TeamsTotal), TeamsDone: int32(a.TeamsDone), ReadsTotal: int32(a.ReadsTotal),
			ReadsDone: int32(a.ReadsDone), CortexCalls: int32(a.CortexCalls), PagerdutyCalls: int32(a.PagerDutyCalls),
		},
	}
	if a.Status == audit.Queued {
		shown.Progress.Phase = "waiting"
	}
	if a.ErrorReason != "" {
		shown.Error = &nthlayerv1.RunError{Reason: a.ErrorReason, Message: a.ErrorMessage}
	}
	if a.Report != nil {
		showReport(shown, *a.Report)
	}
	return shown
}

// showReport adds what came out.
func showReport(shown *nthlayerv1.Audit, r notice.AuditFinished) {
	shown.Counts = api.AuditCounts(r.Counts)
	if r.Previous != nil {
		shown.Previous = api.AuditCounts(*r.Previous)
	}
	for _, k := range r.Kinds {
		shown.Kinds = append(shown.Kinds, &nthlayerv1.AuditKindCount{
			Kind: k.Kind, Open: int32(k.Open), Acknowledged: int32(k.Acknowledged), New: int32(k.New), Resolved: int32(k.Resolved),
		})
	}
	for _, t := range r.TopTeams {
		shown.TopTeams = append(shown.TopTeams, &nthlayerv1.AuditTeamCount{TeamId: t.TeamID, Name: t.Name, Open: int32(t.Open)})
	}
	for _, rule := range r.IgnoreRules {
		shown.IgnoreRules = append(shown.IgnoreRules, &nthlayerv1.AuditIgnoreRule{
			Rule: &nthlayerv1.IgnoreRule{
				RuleId: rule.RuleID, TeamId: rule.TeamID, Kind: rule.Kind, Value: rule.Value, Reason: rule.Reason, Owner: rule.Owner,
				ExpiresAt: timestamppb.New(rule.Until),
			},
			Ignored: int32(rule.Ignored),
		})
	}
	for _, u := range r.Unread {
		shown.Unread = append(shown.Unread, &nthlayerv1.AuditUnread{Reason: u.Reason, Message: u.Message, Teams: int32(u.Teams)})
	}
}

func shownFinding(f store.AuditFinding, err error) (*nthlayerv1.AuditFinding, error) {
	if err != nil {
		return nil, err
	}
	return showAuditFinding(f), nil
}

func showAuditFinding(f store.AuditFinding) *nthlayerv1.AuditFinding {
	return &nthlayerv1.AuditFinding{
		FindingId: f.FindingID.String(), TeamId: f.TeamID, Kind: f.Kind, Category: f.Category, EntityRef: f.EntityRef, Message: f.Message,
		Status: f.Status, FirstSeenAt: timestamppb.New(f.FirstSeenAt), LastSeenAt: timestamppb.New(f.LastSeenAt),
		FirstAuditId: f.FirstAuditID.String(), LastAuditId: f.LastAuditID.String(), Reopened: f.Reopened, ReopenedAt: api.Time(f.ReopenedAt),
		AcknowledgedBy: f.AcknowledgedBy, AcknowledgeReason: f.AcknowledgeReason, AcknowledgedUntil: api.Time(f.AcknowledgedUntil),
		ResolvedAt: api.Time(f.ResolvedAt), ResolvedBy: f.ResolvedBy, ChangedBy: f.ChangedBy, ChangedAt: api.Time(f.ChangedAt),
	}
}
