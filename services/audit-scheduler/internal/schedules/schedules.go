// Package schedules lets people keep the schedules of audits.
package schedules

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/timetable"
)

// Server serves nthlayer.internal.v1.SchedulerService.
type Server struct {
	internalv1.UnimplementedSchedulerServiceServer
	Store *store.Store
	Poke  func() // the outbox has something to send
	Now   func() time.Time
}

// ListSchedules lists the schedules by id.
func (s *Server) ListSchedules(ctx context.Context, request *nthlayerv1.ListSchedulesRequest) (*nthlayerv1.ListSchedulesResponse, error) {
	after, err := pagetoken.Cursor(request)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	schedules, err := s.Store.Schedules(ctx, after, size+1)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListSchedulesResponse{}
	if len(schedules) > size {
		schedules = schedules[:size]
		response.NextPageToken = pagetoken.Next(request, schedules[size-1].ScheduleID)
	}
	for _, schedule := range schedules {
		response.Schedules = append(response.Schedules, show(schedule))
	}
	return response, nil
}

// GetSchedule shows one.
func (s *Server) GetSchedule(ctx context.Context, request *nthlayerv1.GetScheduleRequest) (*nthlayerv1.Schedule, error) {
	return shown(s.Store.Schedule(ctx, request.GetScheduleId()))
}

// CreateSchedule adds one.
func (s *Server) CreateSchedule(ctx context.Context, request *nthlayerv1.CreateScheduleRequest) (*nthlayerv1.Schedule, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	settings := read(request.GetSettings())
	next, err := s.next(request.GetScheduleId(), settings)
	if err != nil {
		return nil, err
	}
	return shown(s.Store.CreateSchedule(ctx, request.GetScheduleId(), settings, next, who))
}

// UpdateSchedule replaces its settings.
func (s *Server) UpdateSchedule(ctx context.Context, request *nthlayerv1.UpdateScheduleRequest) (*nthlayerv1.Schedule, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	settings := read(request.GetSettings())
	next, err := s.next(request.GetScheduleId(), settings)
	if err != nil {
		return nil, err
	}
	return shown(s.Store.UpdateSchedule(ctx, request.GetScheduleId(), settings, request.GetRevision(), next, who))
}

// DeleteSchedule removes one.
func (s *Server) DeleteSchedule(ctx context.Context, request *nthlayerv1.DeleteScheduleRequest) (*nthlayerv1.DeleteScheduleResponse, error) {
	if _, err := rpc.BehalfOf(ctx); err != nil { // nobody deletes without a name
		return nil, err
	}
	if err := s.Store.DeleteSchedule(ctx, request.GetScheduleId()); err != nil {
		return nil, err
	}
	return &nthlayerv1.DeleteScheduleResponse{}, nil
}

// TriggerSchedule starts its audit now.
func (s *Server) TriggerSchedule(ctx context.Context, request *nthlayerv1.TriggerScheduleRequest) (*nthlayerv1.TriggerScheduleResponse, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	schedule, err := s.Store.Schedule(ctx, request.GetScheduleId())
	if err != nil {
		return nil, err
	}
	audit := store.NewAudit{RequestedBy: who, Request: schedule.Settings.Request(), Trace: telemetry.Inject(ctx)}
	audit.Request.AcceptShrunken = request.GetAcceptShrunkenSource()
	if request.GetMode() != "" {
		audit.Request.Mode = request.GetMode()
	}
	id, running, err := s.Store.Trigger(ctx, request.GetScheduleId(), audit)
	if err != nil {
		return nil, err
	}
	s.Poke()
	return &nthlayerv1.TriggerScheduleResponse{AuditId: id.String(), AlreadyRunning: running}, nil
}

// PauseSchedule keeps it from ticking.
func (s *Server) PauseSchedule(ctx context.Context, request *nthlayerv1.PauseScheduleRequest) (*nthlayerv1.Schedule, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	return shown(s.Store.PauseSchedule(ctx, request.GetScheduleId(), request.GetReason(), who))
}

// ResumeSchedule lets it tick again. What it missed is over.
func (s *Server) ResumeSchedule(ctx context.Context, request *nthlayerv1.ResumeScheduleRequest) (*nthlayerv1.Schedule, error) {
	who, err := rpc.BehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	schedule, err := s.Store.Schedule(ctx, request.GetScheduleId())
	if err != nil {
		return nil, err
	}
	next, err := s.next(schedule.ScheduleID, schedule.Settings)
	if err != nil {
		return nil, err
	}
	return shown(s.Store.ResumeSchedule(ctx, schedule.ScheduleID, next, who))
}

const usualCount = 5

// ListNextRuns gives its next ticks.
func (s *Server) ListNextRuns(ctx context.Context, request *nthlayerv1.ListNextRunsRequest) (*nthlayerv1.ListNextRunsResponse, error) {
	schedule, err := s.Store.Schedule(ctx, request.GetScheduleId())
	if err != nil {
		return nil, err
	}
	table, err := timetable.Of(schedule.ScheduleID, schedule.Settings)
	if err != nil {
		return nil, err
	}
	count := int(request.GetCount())
	if count == 0 {
		count = usualCount
	}
	response := &nthlayerv1.ListNextRunsResponse{}
	for at := table.Next(s.Now()); len(response.Times) < count && !at.IsZero(); at = table.Next(at) {
		response.Times = append(response.Times, timestamppb.New(at.Add(table.Late(at))))
	}
	return response, nil
}

// next checks the settings and gives the first tick from now on.
func (s *Server) next(id string, settings store.ScheduleSettings) (time.Time, error) {
	table, err := timetable.Of(id, settings)
	if err != nil {
		return time.Time{}, err
	}
	return table.Next(s.Now()), nil
}
