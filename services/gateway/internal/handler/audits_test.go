package handler_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/gateway/internal/handler"
)

// looked is an audit as successive looks at it find it.
type looked struct {
	handler.AuditStore
	audits  []store.Audit
	reports []store.UpstreamReport
	looks   int
}

func (l *looked) Audit(context.Context, uuid.UUID) (store.Audit, error) {
	a := l.audits[min(l.looks, len(l.audits)-1)]
	l.looks++
	return a, nil
}

func (l *looked) Upstreams(context.Context) ([]store.UpstreamReport, error) { return l.reports, nil }

type auditStream struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*nthlayerv1.Audit
}

func (s *auditStream) Context() context.Context { return s.ctx }
func (s *auditStream) Send(a *nthlayerv1.Audit) error {
	s.sent = append(s.sent, a)
	return nil
}

func TestWatchAudit_NewsAreLost_LooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		news := make(always, 1)
		news <- struct{}{}
		running := store.Audit{Status: audit.Running, Phase: store.PhaseSnapshot}
		db := &looked{audits: []store.Audit{running, running, {Status: audit.Incomplete, Phase: store.PhaseEnded}}}
		stream, begun := &auditStream{ctx: t.Context()}, time.Now()
		require.NoError(t, (&handler.Audits{Store: db, News: news}).WatchAudit(&nthlayerv1.WatchAuditRequest{AuditId: uuid.NewString()}, stream))
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.Len(t, stream.sent, 3)
		require.Equal(t, audit.Incomplete, stream.sent[2].GetStatus())
	})
}

func TestWatchAudit_CallerLeaves_Ends(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&handler.Audits{Store: &looked{}, News: make(always)}).WatchAudit(&nthlayerv1.WatchAuditRequest{AuditId: uuid.NewString()}, &auditStream{ctx: ctx})
	require.ErrorIs(t, err, context.Canceled)
}

func TestGetAudit_DoneBy_IsNotSoonerThanQuotaAndPaceAllow(t *testing.T) {
	report := func(json string) []store.UpstreamReport {
		return []store.UpstreamReport{{Platform: "pagerduty", Report: []byte(json)}}
	}
	quota := report(`{"Platform":"pagerduty","Limit":600}`)
	for name, tc := range map[string]struct {
		audit   store.Audit
		ago     time.Duration // since teams are compared
		reports []store.UpstreamReport
		left    time.Duration // 0: it is not told
	}{
		"by the quota":              {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 300}, time.Second, quota, 30 * time.Second},
		"by the pace so far":        {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 300, ReadsDone: 100}, time.Minute, quota, 2 * time.Minute},
		"the quota is the slower":   {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 700, ReadsDone: 100}, time.Second, quota, time.Minute},
		"without a report":          {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200, ReadsDone: 100}, time.Minute, nil, time.Minute},
		"an odd report":             {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200, ReadsDone: 100}, time.Minute, report(`[]`), time.Minute},
		"another platform's":        {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200}, time.Second, []store.UpstreamReport{{Platform: "cortex", Report: []byte(`{"Platform":"cortex","Limit":1}`)}}, 0},
		"nothing is known":          {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200}, time.Second, nil, 0},
		"everything is read":        {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200, ReadsDone: 200}, time.Minute, quota, 0},
		"more than was thought":     {store.Audit{Phase: store.PhaseTeams, ReadsTotal: 200, ReadsDone: 201}, time.Minute, quota, 0},
		"no team is compared yet":   {store.Audit{Phase: store.PhaseSnapshot, ReadsTotal: 200}, time.Minute, quota, 0},
		"it has ended all the same": {store.Audit{Phase: store.PhaseEnded, ReadsTotal: 200}, time.Minute, quota, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := time.Now().Add(-tc.ago)
				tc.audit.TeamsFrom = &from
				shown, err := (&handler.Audits{Store: &looked{audits: []store.Audit{tc.audit}, reports: tc.reports}}).
					GetAudit(t.Context(), &nthlayerv1.GetAuditRequest{AuditId: uuid.NewString()})
				require.NoError(t, err)
				if tc.left == 0 {
					require.Nil(t, shown.GetProgress().GetDoneBy())
					return
				}
				require.WithinDuration(t, time.Now().Add(tc.left), shown.GetProgress().GetDoneBy().AsTime(), 0)
			})
		})
	}
}

func TestAudits_WithoutPrincipal_AreRefused(t *testing.T) {
	audits := &handler.Audits{}
	id := uuid.NewString()
	for name, call := range map[string]func() error{
		"StartAudit": func() error { _, err := audits.StartAudit(t.Context(), &nthlayerv1.StartAuditRequest{}); return err },
		"CancelAudit": func() error {
			_, err := audits.CancelAudit(t.Context(), &nthlayerv1.CancelAuditRequest{AuditId: id})
			return err
		},
		"Acknowledge": func() error {
			_, err := audits.AcknowledgeAuditFinding(t.Context(), &nthlayerv1.AcknowledgeAuditFindingRequest{FindingId: id})
			return err
		},
	} {
		require.Equal(t, fault.Unauthenticated, fault.KindOf(call()), name)
	}
}
