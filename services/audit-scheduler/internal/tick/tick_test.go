package tick_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/tick"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// rig is a database with schedules, and a clock in the test's hands.
type rig struct {
	t   *testing.T
	url string
	*store.Store
	db  *pgx.Conn
	now atomic.Pointer[time.Time]
}

func start(t *testing.T) *rig {
	r := &rig{t: t, url: testkit.Postgres(t)}
	r.Store = r.open()
	var err error
	r.db, err = pgx.Connect(t.Context(), r.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })
	r.clock(noon)
	return r
}

// open is the store as another process has it.
func (r *rig) open() *store.Store {
	s, err := store.Open(r.t.Context(), config.NewSecret(r.url), store.Options{})
	require.NoError(r.t, err)
	r.t.Cleanup(s.Close)
	return s
}

func (r *rig) clock(now time.Time) { r.now.Store(&now) }

func (r *rig) ticker(s tick.Store) *tick.Ticker {
	return &tick.Ticker{
		Store: s, Poke: func() {}, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)), Now: func() time.Time { return *r.now.Load() },
	}
}

// schedule adds one that ticks every hour, from next on.
func (r *rig) schedule(id string, next time.Time, tune func(*store.ScheduleSettings)) {
	r.t.Helper()
	settings := store.ScheduleSettings{Cron: "@hourly", Mode: audit.Auto, AutoReconcile: audit.Observe, Notify: audit.Always}
	if tune != nil {
		tune(&settings)
	}
	_, err := r.CreateSchedule(r.t.Context(), id, settings, next, "alice")
	require.NoError(r.t, err)
}

func (r *rig) audits(id string) []store.Audit {
	r.t.Helper()
	audits, err := r.Audits(r.t.Context(), store.AuditFilter{ScheduleID: id, Limit: 100})
	require.NoError(r.t, err)
	return audits
}

func (r *rig) is(id string) store.Schedule {
	r.t.Helper()
	s, err := r.Schedule(r.t.Context(), id)
	require.NoError(r.t, err)
	return s
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

func TestTick_ThreeProcessesAtOnce_OneAuditOfEachSchedule(t *testing.T) {
	r := start(t)
	const schedules = 20
	for i := range schedules {
		r.schedule(fmt.Sprintf("s-%02d", i), noon, func(s *store.ScheduleSettings) {
			s.Scope = audit.Scope{Include: []string{fmt.Sprintf("team-%02d*", i)}}
		})
	}
	r.clock(noon.Add(time.Second))
	var all sync.WaitGroup
	for range 3 {
		ticker := r.ticker(r.open())
		all.Go(func() {
			if err := ticker.Tick(context.Background()); err != nil {
				t.Errorf("tick: %v", err)
			}
		})
	}
	all.Wait()
	for i := range schedules {
		id := fmt.Sprintf("s-%02d", i)
		audits := r.audits(id)
		require.Len(t, audits, 1, id)
		require.Equal(t, "schedule:"+id, audits[0].RequestedBy)
		require.Equal(t, noon, audits[0].TickAt.UTC())
		require.Equal(t, []string{fmt.Sprintf("team-%02d*", i)}, audits[0].Request.Scope.Include)
		is := r.is(id)
		require.Equal(t, noon.Add(time.Hour), is.NextTickAt.UTC())
		require.Equal(t, noon, is.LastTickAt.UTC())
		require.Equal(t, audits[0].AuditID, is.LastAuditID.UUID)
		require.Zero(t, is.SkippedTicks)
	}

	// Control: without the row's word on what is due, each of three would have made one.
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	require.Len(t, r.audits("s-00"), 1)
	r.exec("UPDATE audits SET status = 'canceled', phase = 'ended', finished_at = now()")
	r.exec("UPDATE schedules SET next_tick_at = $1", noon.Add(time.Second))
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	require.Len(t, r.audits("s-00"), 2)
}

func TestTick_SeveralMissed_TheLastIsCaughtUpOnce(t *testing.T) {
	r := start(t)
	r.schedule("nightly", noon, nil)
	r.clock(noon.Add(5*time.Hour + 10*time.Minute))
	for range 3 {
		require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	}
	audits := r.audits("nightly")
	require.Len(t, audits, 1)
	require.Equal(t, noon.Add(5*time.Hour), audits[0].TickAt.UTC())
	require.Equal(t, noon.Add(6*time.Hour), r.is("nightly").NextTickAt.UTC())
	require.Zero(t, r.is("nightly").SkippedTicks)
}

func TestTick_AuditUnderWay_IsLeftOutAndCounted(t *testing.T) {
	r := start(t)
	r.schedule("nightly", noon, nil)
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	r.clock(noon.Add(time.Hour))
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	require.Len(t, r.audits("nightly"), 1)
	is := r.is("nightly")
	require.EqualValues(t, 1, is.SkippedTicks)
	require.Equal(t, noon.Add(2*time.Hour), is.NextTickAt.UTC())
	require.Equal(t, r.audits("nightly")[0].AuditID, is.LastAuditID.UUID)

	// Control: when it has ended, the next tick makes one.
	r.exec("UPDATE audits SET status = 'succeeded', phase = 'ended', finished_at = now()")
	r.clock(noon.Add(2 * time.Hour))
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	require.Len(t, r.audits("nightly"), 2)
}

func TestTick_TriggeredAtTheSameMoment_OneAuditIsUnderWay(t *testing.T) {
	r := start(t)
	const schedules = 40
	for i := range schedules {
		r.schedule(fmt.Sprintf("s-%02d", i), noon, nil)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.ticker(r.Store).Tick(context.Background()); err != nil {
			t.Errorf("tick: %v", err)
		}
	})
	for i := range schedules {
		all.Go(func() {
			if _, _, err := r.Trigger(context.Background(), fmt.Sprintf("s-%02d", i), store.NewAudit{RequestedBy: "bob"}); err != nil {
				t.Errorf("trigger: %v", err)
			}
		})
	}
	all.Wait()
	for i := range schedules {
		id := fmt.Sprintf("s-%02d", i)
		require.Len(t, r.audits(id), 1, id)
		require.Equal(t, noon.Add(time.Hour), r.is(id).NextTickAt.UTC())
	}
}

func TestTick_PausedOrDeleted_MakesNothing(t *testing.T) {
	r := start(t)
	for _, id := range []string{"gone", "paused", "stays"} {
		r.schedule(id, noon, nil)
	}
	due, err := r.DueSchedules(t.Context(), noon, 10)
	require.NoError(t, err)
	_, err = r.PauseSchedule(t.Context(), "paused", "incident", "bob")
	require.NoError(t, err)
	require.NoError(t, r.DeleteSchedule(t.Context(), "gone"))
	// Who looked before that comes too late.
	require.NoError(t, r.ticker(&snapshot{Store: r.Store, due: due}).Tick(t.Context()))
	require.Empty(t, r.audits("paused"))
	require.Empty(t, r.audits("gone"))
	require.Len(t, r.audits("stays"), 1)
}

// snapshot shows what was due a while ago.
type snapshot struct {
	*store.Store
	due []store.Schedule
}

func (s *snapshot) DueSchedules(context.Context, time.Time, int) ([]store.Schedule, error) {
	return s.due, nil
}

func TestTick_BrokenSchedules_DoNotHoldUpTheOthers(t *testing.T) {
	for name, settings := range map[string]string{
		"no such zone": `{"cron": "@hourly", "time_zone": "Europe/Atlantis", "scope": {}}`,
		"unreadable":   `{"cron": {"every": "hour"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			const broken, good = 230, 120 // more than are looked at together
			for i := range broken + good {
				id := fmt.Sprintf("good-%03d", i)
				if i < broken {
					id = fmt.Sprintf("broken-%03d", i)
				}
				r.exec("INSERT INTO schedules (schedule_id, settings, next_tick_at, created_by, updated_by) VALUES ($1, $2, $3, 'a', 'a')",
					id, `{"cron": "@hourly", "scope": {}}`, noon)
			}
			r.exec("UPDATE schedules SET settings = $1 WHERE schedule_id LIKE 'broken-%'", settings)
			err := r.ticker(r.Store).Tick(t.Context())
			require.ErrorContains(t, err, "broken-229")
			require.NotContains(t, err.Error(), "good-")
			var made, due int
			require.NoError(t, r.db.QueryRow(t.Context(), "SELECT count(*) FROM audits WHERE schedule_id LIKE 'good-%'").Scan(&made))
			require.NoError(t, r.db.QueryRow(t.Context(), "SELECT count(*) FROM schedules WHERE next_tick_at = $1", noon).Scan(&due))
			require.Equal(t, good, made)
			require.Equal(t, broken, due, "they are tried again")
		})
	}
}

func TestTick_StoreFails_IsToldAndTriedAgain(t *testing.T) {
	r := start(t)
	r.schedule("nightly", noon, nil)
	for _, at := range []string{"DueSchedules", "Tick"} {
		err := r.ticker(&failing{Store: r.Store, at: at}).Tick(t.Context())
		require.ErrorIs(t, err, errAway, at)
		require.Empty(t, r.audits("nightly"))
	}
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	require.Len(t, r.audits("nightly"), 1)
}

var errAway = errors.New("database away")

// failing is a store of which one call fails.
type failing struct {
	*store.Store
	at string
}

func (f *failing) DueSchedules(ctx context.Context, at time.Time, limit int) ([]store.Schedule, error) {
	if f.at == "DueSchedules" {
		return nil, errAway
	}
	return f.Store.DueSchedules(ctx, at, limit)
}

func (f *failing) Tick(ctx context.Context, due store.Schedule, tickAt, next time.Time, n store.NewAudit) (*uuid.UUID, error) {
	if f.at == "Tick" {
		return nil, errAway
	}
	return f.Store.Tick(ctx, due, tickAt, next, n)
}

func TestTick_Jitter_DelaysTheAuditsBegin(t *testing.T) {
	r := start(t)
	r.schedule("jittery", noon, func(s *store.ScheduleSettings) { s.Jitter = time.Hour })
	r.schedule("punctual", noon, nil)
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	late := func(id string) (job, message time.Duration) {
		require.NoError(t, r.db.QueryRow(t.Context(), `SELECT audit_jobs.available_at - audits.created_at, outbox.available_at - audits.created_at
			FROM audits JOIN audit_jobs USING (audit_id) JOIN outbox ON outbox.body->>'audit_id' = audits.audit_id::text
			WHERE audits.schedule_id = $1`, id).Scan(&job, &message))
		return job, message
	}
	job, message := late("punctual")
	require.Zero(t, job)
	require.Zero(t, message)
	job, message = late("jittery")
	require.Equal(t, job, message)
	require.Greater(t, job, time.Duration(0))
	require.Less(t, job, time.Hour)
	require.Equal(t, noon, r.audits("jittery")[0].TickAt.UTC(), "the tick itself is punctual")

	// What is caught up long after its time is not late once more.
	r.schedule("missed", noon, func(s *store.ScheduleSettings) { s.Jitter = time.Minute })
	r.clock(noon.Add(30 * time.Minute))
	require.NoError(t, r.ticker(r.Store).Tick(t.Context()))
	job, _ = late("missed")
	require.Zero(t, job)
}

func TestHandle_TicksOfAQueue_AreHintsOnly(t *testing.T) {
	r := start(t)
	server := sqs.New(sqs.Options{})
	endpoint := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); endpoint.Close() })
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: endpoint.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{}, "ticks.fifo"))
	r.schedule("nightly", noon, nil)

	ticker := r.ticker(r.Store)
	handled := make(chan error, 10)
	consumer := queue.NewConsumer(client, "ticks.fifo", func(ctx context.Context, m queue.Received) error {
		err := ticker.Handle(ctx, m)
		handled <- err
		return err
	}, slog.New(slog.DiscardHandler), queue.ConsumerOptions{Concurrency: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()

	send := func(dedup, body string) {
		_, err := queue.NewProducer(client).Send(t.Context(), []queue.Message{{Queue: "ticks.fifo", Group: "tick", Dedup: dedup, Body: []byte(body)}})
		require.NoError(t, err)
		require.NoError(t, <-handled)
	}
	send("1", `{"version":"0","detail-type":"Scheduled Event"}`)
	require.Len(t, r.audits("nightly"), 1)
	server.Inject(sqs.Fault{Action: "SendMessageBatch", Duplicate: true}) // the queue delivers it twice
	send("2", "whatever")
	require.NoError(t, <-handled)
	require.Len(t, r.audits("nightly"), 1)
	r.exec("UPDATE audits SET status = 'succeeded', phase = 'ended', finished_at = now()")
	r.clock(noon.Add(time.Hour))
	send("3", "whatever")
	require.Len(t, r.audits("nightly"), 2)
}

func TestLoop_StartedAndStoppedManyTimes_TicksEachTime(t *testing.T) {
	r := start(t)
	for range 20 {
		looked := &looks{Store: r.Store, seen: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.ticker(looked).Loop(time.Millisecond)(ctx) }()
		<-looked.seen // at once
		<-looked.seen // and again
		cancel()
		require.NoError(t, <-ended)
	}
}

// looks tells when somebody has looked.
type looks struct {
	*store.Store
	seen chan struct{}
}

func (l *looks) DueSchedules(ctx context.Context, at time.Time, limit int) ([]store.Schedule, error) {
	select {
	case l.seen <- struct{}{}:
	default:
	}
	return l.Store.DueSchedules(ctx, at, limit)
}

func TestLoop_StoreAway_GoesOn(t *testing.T) {
	r := start(t)
	r.schedule("nightly", noon, nil)
	flaky := &flaky{Store: r.Store, ticked: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.ticker(flaky).Loop(time.Millisecond)(ctx) }()
	<-flaky.ticked
	cancel()
	require.NoError(t, <-ended)
	require.Len(t, r.audits("nightly"), 1)
}

// flaky fails three times.
type flaky struct {
	*store.Store
	tries  int
	ticked chan struct{}
}

func (f *flaky) DueSchedules(ctx context.Context, at time.Time, limit int) ([]store.Schedule, error) {
	if f.tries++; f.tries <= 3 {
		return nil, errAway
	}
	return f.Store.DueSchedules(ctx, at, limit)
}

func (f *flaky) Tick(ctx context.Context, due store.Schedule, tickAt, next time.Time, n store.NewAudit) (*uuid.UUID, error) {
	defer close(f.ticked)
	return f.Store.Tick(ctx, due, tickAt, next, n)
}
