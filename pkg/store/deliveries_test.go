package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

// deliveries is a database with pending deliveries d0, d1, …, as a worker leaves them; the newest has the highest number.
func deliveries(t *testing.T, n int) (*store.Store, *pgx.Conn, uuid.UUID) {
	t.Helper()
	url := testkit.Postgres(t)
	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	job := uuid.Must(uuid.NewV7())
	for i := range n {
		_, err := conn.Exec(t.Context(), `INSERT INTO deliveries (delivery_key, job_id, medium, channel, payload, created_at)
			VALUES ($1, $2, 'slack', 'C1', '{"job_id":"j"}', now() - interval '1 hour' + $3 * interval '1 second')`,
			fmt.Sprintf("d%d", i), job, i)
		require.NoError(t, err)
	}
	return s, conn, job
}

// waiting gives the bodies in the outbox that are due within a time.
func waiting(t *testing.T, conn *pgx.Conn, within time.Duration) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT body->>'delivery_key' FROM outbox
		WHERE queue = 'notifications' AND group_id = 'C1' AND available_at <= now() + $1::interval ORDER BY id`, within)
	require.NoError(t, err)
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return keys
}

func TestDelivery_BegunTwice_SecondWaitsUntilTheFirstHasSettled(t *testing.T) {
	s, _, _ := deliveries(t, 1)
	first, err := s.BeginDelivery(t.Context(), "d0", time.Minute)
	require.NoError(t, err)
	require.False(t, first.Uncertain)
	require.Equal(t, 1, first.Attempts)
	require.JSONEq(t, `{"job_id":"j"}`, string(first.Payload))

	_, err = s.BeginDelivery(t.Context(), "d0", time.Minute)
	busy, _ := fault.As(err)
	require.Equal(t, "DELIVERY_BUSY", fault.ReasonOf(err))
	require.InDelta(t, time.Minute, busy.RetryAfter, float64(10*time.Second))

	second, err := s.BeginDelivery(t.Context(), "d0", 0)
	require.NoError(t, err)
	require.True(t, second.Uncertain)
	require.Equal(t, 2, second.Attempts)

	require.True(t, fault.Is(first.Done(t.Context(), "C1", "1.0"), fault.Fenced), "the first has lost its right")
	require.True(t, fault.Is(first.Again(t.Context(), store.Deferral{}), fault.Fenced))
	require.NoError(t, second.Done(t.Context(), "C1", "2.0"))
	d, err := s.DeliveryState(t.Context(), "d0")
	require.NoError(t, err)
	require.Equal(t, []any{store.Delivered, "C1", "2.0", ""}, []any{d.Status, d.PostedTo, d.TS, d.LastError})
	require.NotNil(t, d.DeliveredAt)

	_, err = s.BeginDelivery(t.Context(), "d0", 0)
	require.Equal(t, "DELIVERY_ENDED", fault.ReasonOf(err))
	_, err = s.BeginDelivery(t.Context(), "unknown", 0)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestDelivery_Again_QueuesItWithWhatIsKnown(t *testing.T) {
	s, conn, _ := deliveries(t, 1)
	for _, step := range []struct {
		deferral store.Deferral
		attempts int
	}{
		{store.Deferral{Delay: time.Hour, Counted: false, Why: "slow down"}, 0},
		{store.Deferral{Delay: time.Hour, Counted: true, Why: "failed"}, 1},
		{store.Deferral{Delay: time.Hour, Counted: true, Uncertain: true, Why: "lost"}, 2},
	} {
		a, err := s.BeginDelivery(t.Context(), "d0", time.Hour)
		require.NoError(t, err)
		require.NoError(t, a.Again(t.Context(), step.deferral))
		d, err := s.DeliveryState(t.Context(), "d0")
		require.NoError(t, err)
		require.Equal(t, []any{store.Pending, step.attempts, step.deferral.Why}, []any{d.Status, d.Attempts, d.LastError})
	}
	require.Empty(t, waiting(t, conn, 59*time.Minute))
	require.Len(t, waiting(t, conn, time.Hour), 3, "no two share a deduplication id")
	_, err := s.BeginDelivery(t.Context(), "d0", time.Hour)
	require.Equal(t, "DELIVERY_BUSY", fault.ReasonOf(err), "an uncertain attempt is left time to settle")
	a, err := s.BeginDelivery(t.Context(), "d0", 0)
	require.NoError(t, err)
	require.True(t, a.Uncertain)
}

func TestResend_OnlyWhatFailed(t *testing.T) {
	s, conn, _ := deliveries(t, 3)
	failed, err := s.BeginDelivery(t.Context(), "d0", 0)
	require.NoError(t, err)
	require.NoError(t, failed.Posted(t.Context(), "C1", "1.0"))
	require.NoError(t, failed.Fail(t.Context(), "no such channel", true))
	done, err := s.BeginDelivery(t.Context(), "d1", 0)
	require.NoError(t, err)
	require.NoError(t, done.Done(t.Context(), "C1", "1.0"))

	d, err := s.Resend(t.Context(), "d0", nil)
	require.NoError(t, err)
	require.Equal(t, []any{store.Pending, 0, "", "1.0"}, []any{d.Status, d.Attempts, d.LastError, d.TS})
	_, err = s.Resend(t.Context(), "d0", nil)
	require.NoError(t, err, "asking twice is asking once")
	_, err = s.Resend(t.Context(), "d1", nil)
	require.True(t, fault.Is(err, fault.Precondition))
	d, err = s.Resend(t.Context(), "d2", nil)
	require.NoError(t, err)
	require.Equal(t, store.Pending, d.Status)
	_, err = s.Resend(t.Context(), "unknown", nil)
	require.True(t, fault.Is(err, fault.NotFound))
	require.Equal(t, []string{"d0"}, waiting(t, conn, 0))

	again, err := s.BeginDelivery(t.Context(), "d0", 0)
	require.NoError(t, err)
	require.True(t, again.Uncertain, "what was not known then is not known now")
}

func TestAnnounceDeliveries_OnlyTheSilentOnesAndOnce(t *testing.T) {
	s, conn, _ := deliveries(t, 3) // an hour old
	a, err := s.BeginDelivery(t.Context(), "d1", 0)
	require.NoError(t, err) // under way
	done, err := s.BeginDelivery(t.Context(), "d2", 0)
	require.NoError(t, err)
	require.NoError(t, done.Done(t.Context(), "C1", "1.0"))

	n, err := s.AnnounceDeliveries(t.Context(), 15*time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = s.AnnounceDeliveries(t.Context(), 15*time.Minute)
	require.NoError(t, err)
	require.Zero(t, n, "it waits in the outbox")
	require.Equal(t, []string{"d0"}, waiting(t, conn, 0))
	require.NoError(t, a.Fail(t.Context(), "x", false))
}

func TestDeliveries_Pages_ShowEachOnceNewestFirst(t *testing.T) {
	s, conn, job := deliveries(t, 7)
	_, err := conn.Exec(t.Context(), "UPDATE deliveries SET created_at = '2026-01-01' WHERE delivery_key IN ('d1', 'd2', 'd3')")
	require.NoError(t, err)
	var got []string
	var after store.DeliveryCursor
	for {
		page, err := s.Deliveries(t.Context(), store.DeliveryFilter{After: after, JobID: job, Status: store.Pending, Limit: 2})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			got = append(got, d.Key)
		}
		last := page[len(page)-1]
		after = store.DeliveryCursor{CreatedAt: last.CreatedAt, Key: last.Key}
	}
	require.Equal(t, []string{"d6", "d5", "d4", "d0", "d1", "d2", "d3"}, got)

	none, err := s.Deliveries(t.Context(), store.DeliveryFilter{JobID: uuid.Must(uuid.NewV7()), Limit: 2})
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestDelivery_Payload_IsWhatTheWorkerWrote keeps the two ends of the row together.
func TestDelivery_Payload_IsWhatTheWorkerWrote(t *testing.T) {
	s, conn, _ := deliveries(t, 1)
	_, err := conn.Exec(t.Context(), `UPDATE deliveries SET payload = '{"summary":"ä & <b>"}'`)
	require.NoError(t, err)
	d, err := s.DeliveryState(t.Context(), "d0")
	require.NoError(t, err)
	var payload map[string]string
	require.NoError(t, json.Unmarshal(d.Payload, &payload))
	require.Equal(t, "ä & <b>", payload["summary"])
}

func TestRetell_Delivered_IsOnItsWayAgainWithTheNewPayload(t *testing.T) {
	s, conn, _ := deliveries(t, 1)
	first, err := s.BeginDelivery(t.Context(), "d0", time.Minute)
	require.NoError(t, err)
	require.NoError(t, first.Done(t.Context(), "C1", "1.0"))

	for revision := 2; revision <= 3; revision++ {
		require.NoError(t, s.Retell(t.Context(), "d0", []byte(fmt.Sprintf(`{"n":%d}`, revision)), nil))
		d, err := s.DeliveryState(t.Context(), "d0")
		require.NoError(t, err)
		require.Equal(t, []any{store.Pending, "C1", "1.0", revision}, []any{d.Status, d.PostedTo, d.TS, d.Revision})
		require.Nil(t, d.DeliveredAt)
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, revision), string(d.Payload))
		require.Len(t, waiting(t, conn, 0), revision-1, "each change is told by a message of its own")
	}
	n, err := s.AnnounceDeliveries(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Zero(t, n, "it has changed just now: its message is not lost")
}

func TestRetell_DuringAnAttempt_TheAttemptDoesNotEndTheDelivery(t *testing.T) {
	for name, end := range map[string]func(*store.DeliveryAttempt) error{
		"told":   func(a *store.DeliveryAttempt) error { return a.Done(t.Context(), "C1", "1.0") },
		"failed": func(a *store.DeliveryAttempt) error { return a.Fail(t.Context(), "no such channel", false) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := deliveries(t, 1)
			old, err := s.BeginDelivery(t.Context(), "d0", time.Minute)
			require.NoError(t, err)
			require.NoError(t, s.Retell(t.Context(), "d0", []byte(`{"n":2}`), nil))
			_, err = s.BeginDelivery(t.Context(), "d0", time.Minute)
			require.Equal(t, "DELIVERY_BUSY", fault.ReasonOf(err), "two attempts at once could leave the older one's text")

			require.NoError(t, end(old))
			again, err := s.BeginDelivery(t.Context(), "d0", time.Minute)
			require.NoError(t, err, "what is new is still to be told")
			require.Equal(t, []any{2, 1}, []any{again.Revision, again.Attempts})
			require.JSONEq(t, `{"n":2}`, string(again.Payload))
			if name == "told" {
				require.Equal(t, "1.0", again.TS)
			}
			require.NoError(t, again.Done(t.Context(), "C1", "1.0"))
			d, err := s.DeliveryState(t.Context(), "d0")
			require.NoError(t, err)
			require.Equal(t, store.Delivered, d.Status)
		})
	}
}

func TestRetell_NoSuchDelivery_TellsNobody(t *testing.T) {
	s, conn, _ := deliveries(t, 0)
	require.NoError(t, s.Retell(t.Context(), "d0", []byte(`{}`), nil))
	require.Empty(t, waiting(t, conn, time.Hour))
}
