package conduct_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/conduct"
)

func TestMove_SnapshotTaken_HandsTheTeamsOutInParts(t *testing.T) {
	r := start(t)
	id := r.accept()
	r.move()
	require.Equal(t, store.PhaseSnapshot, r.audit(id).Phase, "it waits for a worker")
	r.snapshot(id, 60)
	require.Equal(t, store.PhaseScan, r.audit(id).Phase)
	r.move()
	require.Equal(t, store.PhaseTeams, r.audit(id).Phase)
	require.Equal(t, []string{"1:25", "2:25", "3:10"}, r.parts(id))
	require.Equal(t, 3, r.count("SELECT count(*) FROM outbox WHERE body->>'audit_id' = $1 AND body->>'job_no' <> '0'", id.String()))
	require.Positive(t, r.pokes)
	r.move() // nothing is handed out twice
	require.Equal(t, []string{"1:25", "2:25", "3:10"}, r.parts(id))

	r.work(id, team(7))
	require.Nil(t, r.audit(id).FinishedAt)
	r.move()
	a := r.audit(id)
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, store.PhaseEnded, a.Phase)
	require.Equal(t, 60, a.TeamsDone)
	require.Equal(t, 59, a.Report.Counts.InSync)
	require.Equal(t, 1, a.Report.Counts.New)
	require.Equal(t, 62, a.PagerDutyCalls)
	require.Empty(t, r.told(id), "who asks by hand looks by hand")
}

// parts are the parts of an audit with the number of their teams.
func (r *rig) parts(id uuid.UUID) (parts []string) {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), "SELECT job_no, count(*) FROM audit_teams WHERE audit_id = $1 GROUP BY 1 ORDER BY 1", id)
	require.NoError(r.t, err)
	defer rows.Close()
	for rows.Next() {
		var no *int
		var n int
		require.NoError(r.t, rows.Scan(&no, &n))
		require.NotNil(r.t, no, "%d teams were not handed out", n)
		parts = append(parts, fmt.Sprintf("%d:%d", *no, n))
	}
	return parts
}

func TestMove_MoreTeamsThanOnePage_EachIsInOnePart(t *testing.T) {
	r := start(t)
	id := r.accept()
	r.snapshot(id, 2010)
	r.move()
	parts := r.parts(id)
	require.Len(t, parts, 81)
	require.Equal(t, "81:10", parts[80])
}

func TestMove_NoTeams_EndsAtOnce(t *testing.T) {
	r := start(t)
	id := r.accept()
	r.snapshot(id, 0)
	r.move()
	r.move()
	require.Equal(t, audit.Succeeded, r.audit(id).Status)
	require.Zero(t, r.audit(id).Report.Counts.Teams)
}

func TestMove_SnapshotGivenUp_EndsAsFailedAndIsTold(t *testing.T) {
	r := start(t)
	r.schedule("nightly", func(s *store.ScheduleSettings) { s.Notify = audit.OnChange })
	r.whole("nightly", 3)
	id := r.trigger("nightly")
	require.NoError(t, r.claim(id, store.SnapshotJob).FailSnapshot(t.Context(), store.Calls{Cortex: 4}, "CORTEX_UNAVAILABLE", "Cortex failed with HTTP 500"))
	r.move()
	a := r.audit(id)
	require.Equal(t, audit.Failed, a.Status)
	require.Equal(t, "CORTEX_UNAVAILABLE", a.ErrorReason)
	require.Equal(t, "CORTEX_UNAVAILABLE", r.told(id)["slack C0FFEE"].ErrorReason)
}

func TestMove_Canceled_EndsWithoutAWord(t *testing.T) {
	r := start(t)
	r.schedule("nightly", nil)
	for _, phase := range []string{store.PhaseSnapshot, store.PhaseScan, store.PhaseTeams} {
		id := r.trigger("nightly")
		if phase != store.PhaseSnapshot {
			r.snapshot(id, 30)
		}
		if phase == store.PhaseTeams {
			r.move()
		}
		require.Equal(t, phase, r.audit(id).Phase)
		_, err := r.CancelAudit(t.Context(), id, "carol")
		require.NoError(t, err)
		r.move()
		a := r.audit(id)
		require.Equal(t, audit.Canceled, a.Status, phase)
		require.Contains(t, a.Summary, "canceled by carol")
		require.Empty(t, r.told(id))
	}
}

// What a worker was about to write when somebody canceled stands in the report, or is not written: counted is what stays.
func TestMove_CanceledWhileAPartIsWritten_CountsWhatWasWritten(t *testing.T) {
	r := start(t)
	id := r.accept()
	r.snapshot(id, 60)
	r.move()
	idle := r.claim(id, 2)
	teams, err := idle.Teams(t.Context())
	require.NoError(t, err)

	writing, err := r.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = writing.Exec(t.Context(), "SELECT FROM audit_jobs WHERE audit_id = $1 AND job_no = 1 FOR UPDATE", id)
	require.NoError(t, err)
	_, err = writing.Exec(t.Context(), "UPDATE audit_teams SET status = 'in_sync' WHERE audit_id = $1 AND job_no = 1", id)
	require.NoError(t, err)
	_, err = r.CancelAudit(t.Context(), id, "carol")
	require.NoError(t, err)
	r.move()
	require.Nil(t, r.audit(id).FinishedAt, "somebody is writing what will have to be counted")

	require.NoError(t, writing.Commit(t.Context()))
	r.move()
	a := r.audit(id)
	require.Equal(t, audit.Canceled, a.Status)
	require.Equal(t, notice.AuditCounts{Teams: 60, InSync: 25, Unknown: 35, Unread: 35}, a.Report.Counts)
	_, err = idle.Settle(t.Context(), outcomes(teams, nil), store.Calls{})
	require.Equal(t, fault.Fenced, fault.KindOf(err))
	require.Equal(t, 25, r.count("SELECT count(*) FROM audit_teams WHERE audit_id = $1 AND status IS NOT NULL", id))
}

func TestMove_OneAuditCannotBeMoved_TheOthersAre(t *testing.T) {
	r := start(t)
	first, second := r.accept(), r.accept()
	r.snapshot(first, 3)
	r.snapshot(second, 3)
	sick := &sick{Store: r.Store, audit: first}
	require.ErrorIs(t, r.conductor(sick).Move(t.Context()), errAway)
	require.Equal(t, store.PhaseScan, r.audit(first).Phase)
	require.Equal(t, store.PhaseTeams, r.audit(second).Phase)
	r.work(second)
	require.ErrorContains(t, r.conductor(sick).Move(t.Context()), first.String())
	require.Equal(t, audit.Succeeded, r.audit(second).Status)
	r.move()
	require.Equal(t, store.PhaseTeams, r.audit(first).Phase)
}

var errAway = errors.New("database away")

// sick cannot hand one audit out.
type sick struct {
	*store.Store
	audit uuid.UUID
}

func (s *sick) HandOut(ctx context.Context, id uuid.UUID, page, part int) (int, error) {
	if id == s.audit {
		return 0, errAway
	}
	return s.Store.HandOut(ctx, id, page, part)
}

// Stopped before or after any call to the store, another conductor goes on where the first was.
func TestMove_StoppedBetweenAnyTwoCalls_AnotherGoesOn(t *testing.T) {
	undisturbed := conductStopped(t, -1, false)
	require.GreaterOrEqual(t, undisturbed.calls, 5)
	for at := range undisturbed.calls {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, after its effect: %v", at, after), func(t *testing.T) {
				require.True(t, conductStopped(t, at, after).struck, "the fault came")
			})
		}
	}
}

func conductStopped(t *testing.T, at int, after bool) *stopped {
	r := start(t)
	r.schedule("nightly", func(s *store.ScheduleSettings) { s.Emails = []string{"oncall@example.org"} })
	id := r.trigger("nightly")
	r.snapshot(id, 1030)
	stopped := &stopped{Store: r.Store, at: at, after: after}
	for r.audit(id).Phase != store.PhaseTeams {
		_ = r.conductor(stopped).Move(t.Context())
	}
	r.work(id, team(1029))
	for r.audit(id).FinishedAt == nil {
		_ = r.conductor(stopped).Move(t.Context())
	}
	a := r.audit(id)
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, 1030, a.Report.Counts.Teams)
	require.Equal(t, 1030, a.TeamsDone)
	require.Equal(t, 1, a.Report.Counts.New)
	require.Len(t, r.told(id), 2)
	require.Equal(t, 2, r.count("SELECT count(*) FROM outbox WHERE queue = $1", store.NotificationsQueue))
	require.Equal(t, 0, r.count("SELECT count(*) FROM audit_jobs WHERE done_at IS NULL"))
	return stopped
}

// stopped fails once, at one of its calls: before the call, or so that its answer is lost.
type stopped struct {
	*store.Store
	at, calls     int
	after, struck bool
}

func (s *stopped) call(do func() error) error {
	here := s.calls == s.at
	s.calls++
	if here && !s.after {
		s.struck = true
		return errAway
	}
	err := do()
	if here {
		s.struck = true
		return errAway
	}
	return err
}

func (s *stopped) AuditSteps(ctx context.Context) (steps []store.AuditStep, err error) {
	return steps, s.call(func() (err error) { steps, err = s.Store.AuditSteps(ctx); return err })
}

func (s *stopped) HandOut(ctx context.Context, id uuid.UUID, page, part int) (n int, err error) {
	return n, s.call(func() (err error) { n, err = s.Store.HandOut(ctx, id, page, part); return err })
}

func (s *stopped) EndAudit(ctx context.Context, id uuid.UUID, tell store.Telling) (a *store.Audit, err error) {
	return a, s.call(func() (err error) { a, err = s.Store.EndAudit(ctx, id, tell); return err })
}

func TestRun_TwoConductorsAtOnce_EverythingHappensOnce(t *testing.T) {
	r := start(t)
	r.schedule("nightly", nil)
	var ids []uuid.UUID
	for range 6 {
		ids = append(ids, r.accept())
	}
	ids = append(ids, r.trigger("nightly"))
	for _, id := range ids {
		r.snapshot(id, 110)
	}
	quiet := slog.New(slog.DiscardHandler)
	hub := r.NewAuditHub(quiet)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	for range 2 {
		news, stop := hub.SubscribeAll()
		defer stop()
		c := conduct.New(conduct.Config{Store: r.Store, News: news, Poke: func() {}, SilentFor: time.Minute, Log: quiet})
		running.Go(func() { _ = c.Run(ctx) })
	}
	defer func() { cancel(); running.Wait() }()

	watch, stop := hub.SubscribeAll()
	defer stop()
	await := func(what string, is func(store.Audit) bool) {
		late := time.After(30 * time.Second)
		for {
			reached := true
			for _, id := range ids {
				reached = reached && is(r.audit(id))
			}
			if reached {
				return
			}
			select {
			case <-watch:
			case <-late:
				require.FailNow(t, "audits do not come to "+what)
			}
		}
	}
	await(store.PhaseTeams, func(a store.Audit) bool { return a.Phase == store.PhaseTeams })
	for _, id := range ids {
		require.Equal(t, []string{"1:25", "2:25", "3:25", "4:25", "5:10"}, r.parts(id))
		r.work(id)
	}
	await(store.PhaseEnded, func(a store.Audit) bool { return a.FinishedAt != nil })
	require.Len(t, r.told(ids[6]), 1)
	require.Equal(t, 1, r.count("SELECT count(*) FROM outbox WHERE queue = $1", store.NotificationsQueue))
	require.Equal(t, 35, r.count("SELECT count(*) FROM outbox WHERE queue = $1 AND body->>'job_no' <> '0'", store.AuditQueue))
}

func TestTell_Rules_DecideWhoIsTold(t *testing.T) {
	for _, tc := range []struct {
		rule string
		told []bool // of: the first audit, one like it, one with something new, one in which it is mended, one that is unread
	}{
		{audit.Always, []bool{true, true, true, true, true}},
		{audit.OnChange, []bool{true, false, true, true, true}},
		{audit.OnNewFindings, []bool{true, false, true, false, true}},
		{audit.Never, []bool{false, false, false, false, false}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			r := start(t)
			r.schedule("nightly", func(s *store.ScheduleSettings) { s.Notify = tc.rule })
			var told []bool
			for _, drifted := range [][]string{{team(0)}, {team(0)}, {team(0), team(1)}, {team(0)}} {
				told = append(told, len(r.told(r.whole("nightly", 3, drifted...).AuditID)) > 0)
			}
			id := r.trigger("nightly")
			require.NoError(t, r.claim(id, store.SnapshotJob).FailSnapshot(t.Context(), store.Calls{}, "CORTEX_UNAVAILABLE", "away"))
			r.exec("INSERT INTO audit_teams (audit_id, team_id, status, unread_reason) VALUES ($1, 'team-0000', 'unknown', 'X') ON CONFLICT DO NOTHING", id)
			r.move()
			told = append(told, len(r.told(id)) > 0)
			require.Equal(t, tc.told, told)
		})
	}
}

func TestTell_Recipients_OneDeliveryEach(t *testing.T) {
	r := start(t)
	r.schedule("nightly", func(s *store.ScheduleSettings) { s.Emails = []string{"a@example.org", "b@example.org"} })
	a := r.whole("nightly", 3, team(2))
	told := r.told(a.AuditID)
	require.Len(t, told, 3)
	for _, to := range []string{"slack C0FFEE", "email a@example.org", "email b@example.org"} {
		report, ok := told[to]
		require.True(t, ok, to)
		require.Equal(t, api+"/v1/audits/"+a.AuditID.String(), report.URL)
		require.Equal(t, 1, report.Counts.New)
		require.Equal(t, "nightly", report.ScheduleID)
		require.Equal(t, audit.Succeeded, report.Status)
	}
	require.Equal(t, 3, r.count("SELECT count(DISTINCT body->>'delivery_key') FROM outbox WHERE queue = $1", store.NotificationsQueue))
	require.Empty(t, a.Report.URL, "the report itself knows no address: it may change")

	r.schedule("silent", func(s *store.ScheduleSettings) { s.SlackChannel = "" })
	require.Empty(t, r.told(r.whole("silent", 3).AuditID))
}

func TestEnd_Metrics_AreRecorded(t *testing.T) {
	reader := metric.NewManualReader()
	before := otel.GetMeterProvider()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	otel.SetMeterProvider(provider)
	t.Cleanup(func() { otel.SetMeterProvider(before); require.NoError(t, provider.Shutdown(context.Background())) })

	r := start(t)
	r.schedule("nightly", nil)
	r.whole("nightly", 10)
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	points := map[string]metricdata.HistogramDataPoint[float64]{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok {
				require.Len(t, h.DataPoints, 1)
				points[m.Name] = h.DataPoints[0]
			}
		}
	}
	require.EqualValues(t, 1, points["nthlayer.audit.duration"].Count)
	calls := points["nthlayer.audit.calls_per_team"]
	require.InDelta(t, 1.2, calls.Sum, 1e-9, "12 calls for 10 teams")
	status, _ := calls.Attributes.Value("status")
	require.Equal(t, audit.Succeeded, status.AsString())
	read, _ := calls.Attributes.Value("read")
	require.Equal(t, audit.Full, read.AsString())
}

func TestChores_AreDone(t *testing.T) {
	r := start(t)
	r.schedule("nightly", nil)
	old := r.whole("nightly", 30, team(1))
	findings, err := r.AuditFindings(t.Context(), store.AuditFindingFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	_, err = r.Acknowledge(t.Context(), findings[0].FindingID, "carol", "known", time.Now().Add(time.Hour))
	require.NoError(t, err)
	id := r.trigger("nightly")
	r.snapshot(id, 30)
	r.move()
	r.claim(id, 2) // somebody is at it
	r.exec("DELETE FROM outbox")
	c := r.conductor(r.Store)

	conduct.Chores(c, t.Context())
	finding, err := r.AuditFinding(t.Context(), findings[0].FindingID)
	require.NoError(t, err)
	require.Equal(t, store.FindingAcknowledged, finding.Status, "it is not over yet")
	require.Zero(t, r.count("SELECT count(*) FROM outbox"), "nothing is silent yet")
	require.Equal(t, 3, r.count("SELECT count(*) FROM audit_jobs WHERE audit_id = $1", old.AuditID), "a late message may still come")

	r.exec("UPDATE audit_findings SET acknowledged_until = now()")
	r.exec("UPDATE audit_jobs SET announced_at = now() - interval '3 minutes'")
	r.exec("UPDATE audits SET finished_at = now() - interval '2 hours' WHERE audit_id = $1", old.AuditID)
	r.pokes = 0
	conduct.Chores(c, t.Context())
	finding, err = r.AuditFinding(t.Context(), findings[0].FindingID)
	require.NoError(t, err)
	require.Equal(t, store.FindingOpen, finding.Status)
	require.Empty(t, finding.AcknowledgedBy)
	require.Equal(t, 1, r.count("SELECT count(*) FROM outbox"), "the part that nobody works on")
	require.Equal(t, 1, r.count("SELECT (body->>'job_no')::int FROM outbox"))
	require.Equal(t, 1, r.pokes)
	require.Zero(t, r.count("SELECT count(*) FROM audit_jobs WHERE audit_id = $1", old.AuditID))
	require.Zero(t, r.count("SELECT count(*) FROM audit_teams WHERE audit_id = $1", old.AuditID))
	require.NotNil(t, r.audit(old.AuditID).Report, "what came out stays")
	require.Equal(t, 3, r.count("SELECT count(*) FROM audit_jobs WHERE audit_id = $1", id))
}

// written notes when its methods are called.
type written struct {
	conduct.Store
	mu    sync.Mutex
	begun time.Time
	calls map[string][]time.Duration
}

func (w *written) note(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[what] = append(w.calls[what], time.Since(w.begun))
	return errAway // whatever fails, it goes on
}

func (w *written) AuditSteps(context.Context) ([]store.AuditStep, error) { return nil, w.note("look") }
func (w *written) AnnounceAuditJobs(context.Context, time.Duration) (int, error) {
	return 0, w.note("chores")
}

func TestRun_LooksWhenThereIsNewsAndNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &written{begun: time.Now(), calls: map[string][]time.Duration{}}
		news := make(chan struct{}, 1)
		c := conduct.New(conduct.Config{Store: w, News: news, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(500 * time.Millisecond) // of the bubble's clock
		news <- struct{}{}
		time.Sleep(10 * time.Second)
		cancel()
		require.NoError(t, <-ended)
		require.Equal(t, 500*time.Millisecond, w.calls["look"][0], "the news")
		require.Equal(t, time.Second, w.calls["look"][1])
		require.GreaterOrEqual(t, len(w.calls["look"]), 11)
		require.True(t, slices.Contains(w.calls["look"], 9*time.Second))
		require.Equal(t, []time.Duration{10 * time.Second}, w.calls["chores"])
	})
}

func TestRun_StartedAndStoppedManyTimes(t *testing.T) {
	r := start(t)
	for range 20 {
		id := r.accept()
		r.snapshot(id, 1)
		news := make(chan struct{}, 1)
		news <- struct{}{}
		handed := make(chan struct{}, 10)
		c := conduct.New(conduct.Config{
			Store: r.Store, News: news, Poke: func() { handed <- struct{}{} }, Log: slog.New(slog.DiscardHandler), SilentFor: time.Minute,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		<-handed
		cancel()
		require.NoError(t, <-ended)
	}
}
