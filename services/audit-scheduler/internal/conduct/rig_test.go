package conduct_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/conduct"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const api = "https://nthlayer.example.org"

// rig is a database with audits, whose workers are the test.
type rig struct {
	t *testing.T
	*store.Store
	db    *pgx.Conn
	pokes int
}

func start(t *testing.T) *rig {
	url := testkit.Postgres(t)
	r := &rig{t: t}
	var err error
	r.Store, err = store.Open(t.Context(), config.NewSecret(url), store.Options{MaxConns: 20})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.db, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })
	return r
}

func (r *rig) conductor(s conduct.Store) *conduct.Conductor {
	return conduct.New(conduct.Config{
		Store: s, Poke: func() { r.pokes++ }, PublicURL: api, SilentFor: time.Minute, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
	})
}

func (r *rig) move() {
	r.t.Helper()
	require.NoError(r.t, r.conductor(r.Store).Move(r.t.Context()))
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.db.QueryRow(r.t.Context(), sql, args...).Scan(&n))
	return n
}

// schedule adds a schedule that is triggered by hand.
func (r *rig) schedule(id string, tune func(*store.ScheduleSettings)) {
	r.t.Helper()
	settings := store.ScheduleSettings{Cron: "@daily", Mode: audit.Auto, AutoReconcile: audit.Observe, Notify: audit.Always, SlackChannel: "C0FFEE"}
	if tune != nil {
		tune(&settings)
	}
	_, err := r.CreateSchedule(r.t.Context(), id, settings, time.Now().Add(time.Hour), "alice")
	require.NoError(r.t, err)
}

func (r *rig) trigger(id string) uuid.UUID {
	r.t.Helper()
	schedule, err := r.Schedule(r.t.Context(), id)
	require.NoError(r.t, err)
	auditID, running, err := r.Trigger(r.t.Context(), id, store.NewAudit{RequestedBy: "bob", Request: schedule.Settings.Request()})
	require.NoError(r.t, err)
	require.False(r.t, running)
	return auditID
}

func (r *rig) accept() uuid.UUID {
	r.t.Helper()
	id, _, err := r.AcceptAudit(r.t.Context(), store.NewAudit{RequestedBy: "bob", Request: store.AuditRequest{Mode: audit.Full}}, "", []byte("x"))
	require.NoError(r.t, err)
	return id
}

func (r *rig) audit(id uuid.UUID) store.Audit {
	r.t.Helper()
	a, err := r.Audit(r.t.Context(), id)
	require.NoError(r.t, err)
	return a
}

func (r *rig) claim(id uuid.UUID, no int) *store.AuditJob {
	r.t.Helper()
	job, err := r.ClaimAuditJob(r.t.Context(), id, no, "worker", time.Minute)
	require.NoError(r.t, err)
	return job
}

func team(n int) string { return fmt.Sprintf("team-%04d", n) }

// snapshot takes the snapshot of a fleet in which everything is declared and listed.
func (r *rig) snapshot(id uuid.UUID, teams int) {
	r.t.Helper()
	ctx, job := r.t.Context(), r.claim(id, store.SnapshotJob)
	var desired []ownership.Desired
	var listed []store.TargetTeam
	for n := range teams {
		desired = append(desired, ownership.Desired{TeamID: team(n), Name: team(n), Members: []ownership.Member{{Email: "ann@example.org"}}})
		listed = append(listed, store.TargetTeam{ID: "P" + team(n), Name: team(n)})
	}
	require.NoError(r.t, job.Restage(ctx))
	require.NoError(r.t, job.Stage(ctx, desired))
	require.NoError(r.t, job.Changed(ctx, store.Records{Until: time.Now()}))
	require.NoError(r.t, job.ListTargets(ctx, listed))
	require.NoError(r.t, job.EndSnapshot(ctx, store.Snapshot{
		Read: audit.Full, TargetsListed: true, UsersListed: true, Teams: teams, Members: teams, Calls: store.Calls{Cortex: 1, PagerDuty: 2},
	}))
}

// work does all parts. Each team costs a call; drifted ones are out of sync.
func (r *rig) work(id uuid.UUID, drifted ...string) {
	r.t.Helper()
	for no := 1; no <= r.count("SELECT coalesce(max(job_no), 0) FROM audit_jobs WHERE audit_id = $1", id); no++ {
		job := r.claim(id, no)
		teams, err := job.Teams(r.t.Context())
		require.NoError(r.t, err)
		settled, err := job.Settle(r.t.Context(), outcomes(teams, drifted), store.Calls{PagerDuty: len(teams)})
		require.NoError(r.t, err)
		require.Zero(r.t, settled.Left)
	}
}

func outcomes(teams []store.AuditTeam, drifted []string) (audited []store.AuditedTeam) {
	for _, t := range teams {
		id := t.Subject.Desired.TeamID
		a := store.AuditedTeam{
			Team: t, Status: ownership.InSync, TargetID: "P" + id,
			Read: []ownership.ObservedMember{{User: ownership.User{ID: "PANN", Email: "ann@example.org"}, Role: ownership.Responder}},
		}
		for _, d := range drifted {
			if d == id {
				a.Status = ownership.OutOfSync
				a.Findings = []audit.Finding{{TeamID: id, Kind: string(ownership.AddMember), EntityRef: "person:ben@example.org", Message: "ben is missing", TargetID: "P" + id}}
			}
		}
		audited = append(audited, a)
	}
	return audited
}

// whole runs an audit of the schedule from begin to end.
func (r *rig) whole(schedule string, teams int, drifted ...string) store.Audit {
	r.t.Helper()
	id := r.trigger(schedule)
	r.snapshot(id, teams)
	r.move()
	r.work(id, drifted...)
	r.move()
	a := r.audit(id)
	require.NotNil(r.t, a.FinishedAt)
	return a
}

// told is what was told of an audit, by channel.
func (r *rig) told(id uuid.UUID) map[string]notice.AuditFinished {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), "SELECT medium || ' ' || channel, payload FROM deliveries WHERE job_id = $1", id)
	require.NoError(r.t, err)
	defer rows.Close()
	told := map[string]notice.AuditFinished{}
	for rows.Next() {
		var channel string
		var payload []byte
		require.NoError(r.t, rows.Scan(&channel, &payload))
		decoded, err := notice.Decode(payload)
		require.NoError(r.t, err)
		require.NotNil(r.t, decoded.Audit)
		told[channel] = *decoded.Audit
	}
	require.NoError(r.t, rows.Err())
	return told
}
