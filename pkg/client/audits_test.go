package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// standing are the ways in which an audit stands that a stream gives before it breaks; nil: the stream ends.
type standing struct {
	audits []*v1.Audit
	err    error
}

func (a *api) StartAudit(ctx context.Context, _ *v1.StartAuditRequest) (*v1.StartAuditResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.keys = append(a.keys, key)
	a.mu.Unlock()
	return &v1.StartAuditResponse{AuditId: job}, a.next()
}

func (a *api) WatchAudit(_ *v1.WatchAuditRequest, stream grpc.ServerStreamingServer[v1.Audit]) error {
	a.mu.Lock()
	now := a.streams[0]
	if len(a.streams) > 1 {
		a.streams = a.streams[1:]
	}
	a.calls++
	a.mu.Unlock()
	for _, audit := range now.audits {
		if err := stream.Send(audit); err != nil {
			return err
		}
	}
	return now.err
}

func (a *api) ListAudits(_ context.Context, r *v1.ListAuditsRequest) (*v1.ListAuditsResponse, error) {
	if r.GetPageToken() == "" {
		return &v1.ListAuditsResponse{Audits: []*v1.Audit{{AuditId: "b"}}, NextPageToken: "2"}, a.next()
	}
	return &v1.ListAuditsResponse{Audits: []*v1.Audit{{AuditId: "a"}}}, a.next()
}

func (a *api) ListAuditFindings(_ context.Context, r *v1.ListAuditFindingsRequest) (*v1.ListAuditFindingsResponse, error) {
	if r.GetPageToken() == "" {
		return &v1.ListAuditFindingsResponse{Findings: []*v1.AuditFinding{{FindingId: "b"}}, NextPageToken: "2"}, a.next()
	}
	return &v1.ListAuditFindingsResponse{Findings: []*v1.AuditFinding{{FindingId: "a"}}}, a.next()
}

func (a *api) UpdateSchedule(context.Context, *v1.UpdateScheduleRequest) (*v1.Schedule, error) {
	return &v1.Schedule{}, a.next()
}

func (a *api) DeleteSchedule(context.Context, *v1.DeleteScheduleRequest) (*v1.DeleteScheduleResponse, error) {
	return &v1.DeleteScheduleResponse{}, a.next()
}

func (a *api) TriggerSchedule(context.Context, *v1.TriggerScheduleRequest) (*v1.TriggerScheduleResponse, error) {
	return &v1.TriggerScheduleResponse{AuditId: job}, a.next()
}

func at(done int32) *v1.Audit {
	return &v1.Audit{AuditId: job, Status: "running", Progress: &v1.AuditProgress{Phase: "teams", TeamsTotal: 9, TeamsDone: done}}
}

func TestStartAudit_PassingErrors_AreTriedAgainUnderOneKey(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{away(), away()}
	id, err := c.StartAudit(t.Context(), "", &v1.StartAuditRequest{})
	require.NoError(t, err)
	require.Equal(t, job, id)
	require.Len(t, a.keys, 3)
	require.NotEmpty(t, a.keys[0])
	require.Equal(t, []string{a.keys[0], a.keys[0], a.keys[0]}, a.keys)
	_, err = c.StartAudit(t.Context(), "mine", &v1.StartAuditRequest{})
	require.NoError(t, err)
	require.Equal(t, "mine", a.keys[3])
}

func TestWatchAudit_StreamBreaksOrStops_GoesOnToTheEnd(t *testing.T) {
	a, c, _ := start(t)
	a.streams = []standing{
		{audits: []*v1.Audit{at(0), at(1)}, err: away()},
		{audits: []*v1.Audit{at(1), at(4)}}, // ends without the audit's end
		{audits: []*v1.Audit{at(4), at(9), {AuditId: job, Status: "succeeded"}, at(1)}},
	}
	var done []int32
	var status string
	for audit, err := range c.WatchAudit(t.Context(), job) {
		require.NoError(t, err)
		done, status = append(done, audit.GetProgress().GetTeamsDone()), audit.GetStatus()
	}
	require.Equal(t, []int32{0, 1, 4, 9, 0}, done, "each way it stood once, nothing after the end")
	require.Equal(t, "succeeded", status)
	require.Equal(t, 3, a.calls)
}

func TestWatchAudit_ProgressBetweenBreaks_BeginsTheTriesAnew(t *testing.T) {
	a, c, w := start(t)
	for n := range int32(7) {
		a.streams = append(a.streams, standing{audits: []*v1.Audit{at(n)}, err: away()})
	}
	a.streams = append(a.streams, standing{audits: []*v1.Audit{{AuditId: job, Status: "canceled"}}})
	for _, err := range c.WatchAudit(t.Context(), job) {
		require.NoError(t, err)
	}
	require.Len(t, w.all, 7, "more than the tries of one failure")

	a.streams = []standing{{audits: []*v1.Audit{at(1)}, err: away()}}
	var last error
	for _, err := range c.WatchAudit(t.Context(), job) {
		last = err
	}
	require.Equal(t, fault.Unavailable, fault.KindOf(last), "an audit that stands still is no progress")
	require.Len(t, w.all, 11)
}

func TestWatchAudit_RefusedOrLeft_Ends(t *testing.T) {
	a, c, _ := start(t)
	a.streams = []standing{{err: fault.New(fault.NotFound, "no such audit", nil)}}
	var seen int
	var last error
	for _, err := range c.WatchAudit(t.Context(), job) {
		seen, last = seen+1, err
	}
	require.Equal(t, fault.NotFound, fault.KindOf(last))
	require.Equal(t, 1, seen)
	a.streams = []standing{{audits: []*v1.Audit{at(1), at(2)}}}
	for range c.WatchAudit(t.Context(), job) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.WatchAudit(ctx, job) {
		last = err
		cancel()
	}
	require.Error(t, last)
}

func TestAuditEnded_KnowsTheStatuses(t *testing.T) {
	for status, ended := range map[string]bool{
		"queued": false, "running": false, "": false, "succeeded": true, "incomplete": true, "failed": true, "canceled": true,
	} {
		require.Equal(t, ended, client.AuditEnded(status), status)
	}
}

func TestAuditLists_GoThroughAllPages_AndTryAgain(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{away(), nil, away()}
	var ids []string
	for audit, err := range c.ListAudits(t.Context(), &v1.ListAuditsRequest{}) {
		require.NoError(t, err)
		ids = append(ids, audit.GetAuditId())
	}
	a.fail = []error{away()}
	for finding, err := range c.ListAuditFindings(t.Context(), &v1.ListAuditFindingsRequest{}) {
		require.NoError(t, err)
		ids = append(ids, finding.GetFindingId())
	}
	require.Equal(t, "[b a b a]", fmt.Sprint(ids))
}

func TestSchedules_WhatWouldBeRefusedASecondTime_IsNotRepeated(t *testing.T) {
	a, c, w := start(t)
	settings := &v1.ScheduleSettings{Cron: "@daily"}
	for name, call := range map[string]func() error{
		"update": func() error {
			_, err := c.Schedules.UpdateSchedule(t.Context(), &v1.UpdateScheduleRequest{ScheduleId: "nightly", Settings: settings, Revision: 3})
			return err
		},
		"delete": func() error {
			_, err := c.Schedules.DeleteSchedule(t.Context(), &v1.DeleteScheduleRequest{ScheduleId: "nightly"})
			return err
		},
	} {
		a.fail, a.calls = []error{away()}, 0
		require.Equal(t, fault.Unavailable, fault.KindOf(call()), name)
		require.Equal(t, 1, a.calls, name)
		require.Empty(t, w.all, name)
	}
	a.fail = []error{away()}
	_, err := c.Schedules.TriggerSchedule(t.Context(), &v1.TriggerScheduleRequest{ScheduleId: "nightly"})
	require.NoError(t, err, "the control: an audit that is under way is given again")
	require.Equal(t, []time.Duration{200 * time.Millisecond}, w.all)
}
