package handler_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/gateway/internal/handler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a run as successive looks at it find it.
type scripted struct {
	handler.RunStore
	looks []look
	at    int
}

type look struct {
	status string
	events []store.Event
}

func (s *scripted) Run(_ context.Context, jobID uuid.UUID) (store.Run, error) {
	now := time.Now()
	return store.Run{JobID: jobID, Status: s.looks[s.at].status, FinishedAt: &now, Summary: "done", ErrorMessage: "source away"}, nil
}

func (s *scripted) Events(_ context.Context, _ uuid.UUID, after int64, limit int) (found []store.Event, err error) {
	for _, event := range s.looks[s.at].events {
		if event.Seq > after {
			found = append(found, event)
		}
	}
	if limit == 1 { // what was the last one that the caller saw?
		return found[:min(len(found), 1)], nil
	}
	s.at = min(s.at+1, len(s.looks)-1)
	return found, nil
}

type always chan struct{}

func (a always) Subscribe(uuid.UUID) (<-chan struct{}, func()) { return a, func() {} }

func news() always {
	ch := make(always)
	close(ch)
	return ch
}

type stream struct {
	grpc.ServerStreamingServer[nthlayerv1.RunEvent]
	ctx  context.Context
	sent []*nthlayerv1.RunEvent
}

func (s *stream) Context() context.Context { return s.ctx }
func (s *stream) Send(e *nthlayerv1.RunEvent) error {
	s.sent = append(s.sent, e)
	return nil
}

func watch(t *testing.T, after int64, looks ...look) []*nthlayerv1.RunEvent {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := &stream{ctx: ctx}
	runs := &handler.Runs{Store: &scripted{looks: looks}, News: news()}
	require.NoError(t, runs.WatchRun(&nthlayerv1.WatchRunRequest{JobId: uuid.NewString(), AfterSeq: after}, out))
	return out.sent
}

func TestWatchRun_EventOfTheEndLiesBehind_EndIsStillTold(t *testing.T) {
	sent := watch(t, 4,
		look{status: store.Running, events: []store.Event{{Seq: 6, Kind: "step_succeeded"}}},
		look{status: store.Failed, events: []store.Event{{Seq: 5, Kind: store.RunFailed}, {Seq: 6, Kind: "step_succeeded"}}},
	)
	require.Len(t, sent, 2)
	require.Equal(t, store.RunFailed, sent[1].GetKind())
	require.EqualValues(t, 7, sent[1].GetSeq())
	require.Equal(t, "source away", sent[1].GetMessage())
}

func TestWatchRun_EndedRun_GivesEverythingAndEnds(t *testing.T) {
	sent := watch(t, 0, look{status: store.Succeeded, events: []store.Event{{Seq: 1, Kind: "step_started"}, {Seq: 2, Kind: store.RunSucceeded}}})
	var kinds []string
	for _, event := range sent {
		kinds = append(kinds, event.GetKind())
	}
	require.Equal(t, []string{"run_queued", "step_started", "run_succeeded"}, kinds)
}

// A run that was given up and requeued lives again: its first end is not the end of the watch.
func TestWatchRun_Requeued_GoesOnToTheLastEnd(t *testing.T) {
	dead := []store.Event{{Seq: 1, Kind: store.RunStarted}, {Seq: 2, Kind: store.RunDeadLettered}}
	again := append(dead, store.Event{Seq: 3, Kind: store.RunRequeued})
	done := append(again, store.Event{Seq: 4, Kind: store.RunStarted}, store.Event{Seq: 5, Kind: store.RunSucceeded})
	sent := watch(t, 0,
		look{status: store.DeadLettered, events: again}, // requeued between reading the run and its events
		look{status: store.Queued, events: again},
		look{status: store.Succeeded, events: done},
	)
	require.Len(t, sent, 6)
	require.Equal(t, store.RunSucceeded, sent[5].GetKind())
}

func TestWatchRun_CallerComesBackAfterTheEnd_IsToldNothingTwice(t *testing.T) {
	events := []store.Event{{Seq: 1, Kind: store.RunStarted}, {Seq: 2, Kind: store.RunCanceled}}
	require.Empty(t, watch(t, 2, look{status: store.Canceled, events: events}))
	require.Len(t, watch(t, 1, look{status: store.Canceled, events: events}), 1)
}

func TestWatchRun_CallerLeaves_Ends(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runs := &handler.Runs{Store: &scripted{looks: []look{{status: store.Running}}}, News: make(always)}
	err := runs.WatchRun(&nthlayerv1.WatchRunRequest{JobId: uuid.NewString()}, &stream{ctx: ctx})
	require.ErrorIs(t, err, context.Canceled)
}

func TestReconcileTeam_WithoutPrincipal_IsRefused(t *testing.T) {
	_, err := (&handler.Teams{}).ReconcileTeam(t.Context(), &nthlayerv1.ReconcileTeamRequest{TeamId: "payments"})
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
}
