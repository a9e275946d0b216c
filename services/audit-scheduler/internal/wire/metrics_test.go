package wire_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

// audited has a schedule tick and its audit find one person without an account.
func (s *started) audited(t *testing.T) {
	t.Helper()
	_, err := s.db.CreateSchedule(t.Context(), "due", settings(), time.Now().Add(-time.Minute), "ann@example.org")
	require.NoError(t, err)
	s.Await(t, "output", `"schedule ticked"`)
	audits, err := s.db.Audits(t.Context(), store.AuditFilter{ScheduleID: "due", Limit: 1})
	require.NoError(t, err)
	require.Len(t, audits, 1)
	job, err := s.db.ClaimAuditJob(t.Context(), audits[0].AuditID, store.SnapshotJob, "worker", time.Minute)
	require.NoError(t, err)
	require.NoError(t, job.Stage(t.Context(), []ownership.Desired{{TeamID: "payments", Name: "payments"}}))
	require.NoError(t, job.EndSnapshot(t.Context(), store.Snapshot{Read: audit.Full, Teams: 1}))
	var part *store.AuditJob
	require.Eventually(t, func() bool {
		part, err = s.db.ClaimAuditJob(t.Context(), audits[0].AuditID, 1, "worker", time.Minute)
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	teams, err := part.Teams(t.Context())
	require.NoError(t, err)
	_, err = part.Settle(t.Context(), []store.AuditedTeam{{
		Team: teams[0], Status: ownership.OutOfSync,
		Findings: []audit.Finding{{TeamID: "payments", Kind: string(ownership.UserNotFound), EntityRef: "person:ben@example.org", Message: "ben@example.org has no account"}},
	}}, store.Calls{})
	require.NoError(t, err)
	s.Await(t, "output", `"audit ended"`)
}

// What is wrong across the fleet can be alarmed by: teams by status, findings by kind, status and age.
func TestMetrics_FleetIsCounted(t *testing.T) {
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
	var told testkit.Outside
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+testkit.Collector(t, &told))
	s.audited(t)
	told.Await(t, "metrics", `name:"nthlayer\.teams".{0,600}?string_value:"out_of_sync"`)
	told.Await(t, "metrics", `name:"nthlayer\.audit\.findings".{0,400}?string_value:"day".{0,200}?string_value:"user_not_found".{0,200}?string_value:"open"`)
	told.Await(t, "metrics", `name:"nthlayer\.audit\.duration"`)
}
