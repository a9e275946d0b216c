package schedules

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// read takes settings with what is meant where nothing is said.
func read(s *nthlayerv1.ScheduleSettings) store.ScheduleSettings {
	return store.ScheduleSettings{
		Cron: s.GetCron(), TimeZone: s.GetTimeZone(), Scope: api.Scope(s.GetScope()), Mode: cmp.Or(s.GetMode(), audit.Auto),
		FullEvery: s.GetFullEvery().AsDuration(), Jitter: s.GetJitter().AsDuration(), Owner: s.GetOwner(),
		AutoReconcile: cmp.Or(s.GetAutoReconcile(), audit.Observe), Notify: cmp.Or(s.GetNotify(), audit.Always),
		SlackChannel: s.GetSlackChannel(), Emails: s.GetEmails(), IgnoreOrphans: s.GetIgnoreOrphans(),
	}
}

func shown(s store.Schedule, err error) (*nthlayerv1.Schedule, error) {
	if err != nil {
		return nil, err
	}
	return show(s), nil
}

func show(s store.Schedule) *nthlayerv1.Schedule {
	set := s.Settings
	shown := &nthlayerv1.Schedule{
		ScheduleId: s.ScheduleID, Revision: s.Revision, Paused: s.NextTickAt == nil, PausedBy: s.PausedBy, PauseReason: s.PauseReason,
		NextRunAt: api.Time(s.NextTickAt), LastTickAt: api.Time(s.LastTickAt), SkippedTicks: s.SkippedTicks,
		CreatedAt: timestamppb.New(s.CreatedAt), UpdatedAt: timestamppb.New(s.UpdatedAt), CreatedBy: s.CreatedBy, UpdatedBy: s.UpdatedBy,
		Settings: &nthlayerv1.ScheduleSettings{
			Cron: set.Cron, TimeZone: set.TimeZone, Scope: api.ShowScope(set.Scope), Mode: set.Mode,
			FullEvery: duration(set.FullEvery), Jitter: duration(set.Jitter), Owner: set.Owner, AutoReconcile: set.AutoReconcile,
			Notify: set.Notify, SlackChannel: set.SlackChannel, Emails: set.Emails, IgnoreOrphans: set.IgnoreOrphans,
		},
	}
	if s.LastAuditID.Valid {
		shown.LastAuditId = s.LastAuditID.UUID.String()
	}
	return shown
}

func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
