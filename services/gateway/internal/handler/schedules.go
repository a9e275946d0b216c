package handler

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ScheduleStore is what a preview needs of the store.
type ScheduleStore interface {
	Schedule(ctx context.Context, id string) (store.Schedule, error)
	Audits(context.Context, store.AuditFilter) ([]store.Audit, error)
	AuditReport(ctx context.Context, a store.Audit) (*notice.AuditFinished, error)
}

// Schedules serves ScheduleService by asking the audit-scheduler, and the notifier how a notice would look.
type Schedules struct {
	nthlayerv1.UnimplementedScheduleServiceServer
	Scheduler internalv1.SchedulerServiceClient
	Notifier  internalv1.NotifierServiceClient
	Store     ScheduleStore
}

// forward asks the scheduler in the name of the caller.
func forward[Request, Response any](
	ctx context.Context, request Request, ask func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (response Response, err error) {
	who, err := asking(ctx)
	if err != nil {
		return response, err
	}
	response, err = ask(rpc.OnBehalfOf(ctx, who), request)
	return response, from("the scheduler (audit-scheduler)", err)
}

// ListSchedules lists the schedules.
func (s *Schedules) ListSchedules(ctx context.Context, request *nthlayerv1.ListSchedulesRequest) (*nthlayerv1.ListSchedulesResponse, error) {
	return forward(ctx, request, s.Scheduler.ListSchedules)
}

// GetSchedule shows one.
func (s *Schedules) GetSchedule(ctx context.Context, request *nthlayerv1.GetScheduleRequest) (*nthlayerv1.Schedule, error) {
	return forward(ctx, request, s.Scheduler.GetSchedule)
}

// CreateSchedule adds one.
func (s *Schedules) CreateSchedule(ctx context.Context, request *nthlayerv1.CreateScheduleRequest) (*nthlayerv1.Schedule, error) {
	if err := mayEnforce(ctx, request.GetSettings().GetAutoReconcile(), auth.All); err != nil {
		return nil, err
	}
	return forward(ctx, request, s.Scheduler.CreateSchedule)
}

// UpdateSchedule replaces its settings.
func (s *Schedules) UpdateSchedule(ctx context.Context, request *nthlayerv1.UpdateScheduleRequest) (*nthlayerv1.Schedule, error) {
	if err := mayEnforce(ctx, request.GetSettings().GetAutoReconcile(), auth.All); err != nil {
		return nil, err
	}
	return forward(ctx, request, s.Scheduler.UpdateSchedule)
}

// DeleteSchedule removes one.
func (s *Schedules) DeleteSchedule(ctx context.Context, request *nthlayerv1.DeleteScheduleRequest) (*nthlayerv1.DeleteScheduleResponse, error) {
	return forward(ctx, request, s.Scheduler.DeleteSchedule)
}

// TriggerSchedule starts its audit now.
func (s *Schedules) TriggerSchedule(ctx context.Context, request *nthlayerv1.TriggerScheduleRequest) (*nthlayerv1.TriggerScheduleResponse, error) {
	if err := s.mayEnforce(ctx, request.GetScheduleId()); err != nil {
		return nil, err
	}
	return forward(ctx, request, s.Scheduler.TriggerSchedule)
}

// PauseSchedule keeps it from ticking.
func (s *Schedules) PauseSchedule(ctx context.Context, request *nthlayerv1.PauseScheduleRequest) (*nthlayerv1.Schedule, error) {
	return forward(ctx, request, s.Scheduler.PauseSchedule)
}

// ResumeSchedule lets it tick again.
func (s *Schedules) ResumeSchedule(ctx context.Context, request *nthlayerv1.ResumeScheduleRequest) (*nthlayerv1.Schedule, error) {
	if err := s.mayEnforce(ctx, request.GetScheduleId()); err != nil {
		return nil, err
	}
	return forward(ctx, request, s.Scheduler.ResumeSchedule)
}

// ListNextRuns gives its next ticks.
func (s *Schedules) ListNextRuns(ctx context.Context, request *nthlayerv1.ListNextRunsRequest) (*nthlayerv1.ListNextRunsResponse, error) {
	return forward(ctx, request, s.Scheduler.ListNextRuns)
}

// mayEnforce keeps those from letting a schedule enforce who may not have teams reconciled.
func (s *Schedules) mayEnforce(ctx context.Context, id string) error {
	schedule, err := s.Store.Schedule(ctx, id)
	if err != nil {
		return err
	}
	return mayEnforce(ctx, schedule.Settings.AutoReconcile, auth.All)
}

// PreviewSchedule shows what would be told of the schedule's last audit that came to an end, and to whom.
func (s *Schedules) PreviewSchedule(ctx context.Context, request *nthlayerv1.PreviewScheduleRequest) (*nthlayerv1.PreviewScheduleResponse, error) {
	schedule, err := s.Store.Schedule(ctx, request.GetScheduleId())
	if err != nil {
		return nil, err
	}
	last, err := s.last(ctx, schedule.ScheduleID)
	if err != nil {
		return nil, err
	}
	report, err := s.Store.AuditReport(ctx, last)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(report)
	if err != nil {
		return nil, fault.New(fault.Internal, "the notice cannot be written", err)
	}
	response := &nthlayerv1.PreviewScheduleResponse{AuditId: last.AuditID.String()}
	response.WouldTell, response.Why = audit.Tells(schedule.Settings.Notify, *report)
	for _, to := range schedule.Settings.Request().Recipients() {
		shown, err := s.Notifier.PreviewNotice(ctx, &internalv1.PreviewNoticeRequest{Medium: to.Medium, To: to.Channel, Payload: payload})
		if err != nil {
			return nil, from("the notifier", err)
		}
		response.Notices = append(response.Notices, shown)
	}
	return response, nil
}

// last is the newest audit of a schedule that has a report.
func (s *Schedules) last(ctx context.Context, scheduleID string) (store.Audit, error) {
	const batch = 50
	for after := uuid.Nil; ; {
		audits, err := s.Store.Audits(ctx, store.AuditFilter{ScheduleID: scheduleID, After: after, Limit: batch})
		if err != nil {
			return store.Audit{}, err
		}
		for _, a := range audits {
			if a.Report != nil && a.Status != audit.Canceled {
				return a, nil
			}
			after = a.AuditID
		}
		if len(audits) < batch {
			return store.Audit{}, fault.New(fault.Precondition,
				"the schedule has no audit yet that came to an end: there is nothing to tell; trigger it first", nil).WithReason("NO_AUDIT_YET")
		}
	}
}
