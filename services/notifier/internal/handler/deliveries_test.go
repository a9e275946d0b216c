package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/handler"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const settled = time.Minute

// rig is a handler on a database of its own.
type rig struct {
	*handler.Deliveries
	store *store.Store
	pokes int
	runs  int
}

func newRig(t *testing.T) *rig {
	db, err := store.Open(t.Context(), config.NewSecret(testkit.Postgres(t)), store.Options{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	r := &rig{store: db}
	r.Deliveries = &handler.Deliveries{Store: db, Poke: func() { r.pokes++ }}
	return r
}

// ended makes a run that ended, with a delivery to each channel, and gives its id.
func (r *rig) ended(t *testing.T, channels ...string) (jobID uuid.UUID) {
	r.runs++
	team := fmt.Sprintf("team-%d", r.runs)
	jobID, _, err := r.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: team})
	require.NoError(t, err)
	claim, err := r.store.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	ending := store.Ending{Status: store.Succeeded, Sync: ownership.InSync}
	for _, channel := range channels {
		ending.Tell = append(ending.Tell, store.Delivery{
			Key: notice.Key(jobID.String(), "slack", channel), Medium: "slack", Channel: channel, Payload: json.RawMessage(`{}`),
		})
	}
	require.NoError(t, claim.Finish(t.Context(), ending))
	return jobID
}

// attempt begins the delivery of a run to C1.
func (r *rig) attempt(t *testing.T, jobID uuid.UUID) *store.DeliveryAttempt {
	a, err := r.store.BeginDelivery(t.Context(), keyOf(jobID), settled)
	require.NoError(t, err)
	return a
}

func keyOf(jobID uuid.UUID) string { return notice.Key(jobID.String(), "slack", "C1") }

// drained takes what waits in the outbox and gives the deliveries named there.
func (r *rig) drained(t *testing.T) (keys []string) {
	outbox := r.store.NewOutbox(store.Queues{Reconcile: "reconcile.fifo", Notifications: "notifications.fifo", Audit: "audit.fifo"}, time.Minute)
	_, err := outbox.Drain(t.Context(), 100, func(_ context.Context, batch []queue.Message) ([]bool, error) {
		sent := make([]bool, len(batch))
		for i, m := range batch {
			sent[i] = true
			var body struct {
				Key string `json:"delivery_key"`
			}
			require.NoError(t, json.Unmarshal(m.Body, &body))
			if body.Key != "" {
				require.Equal(t, "notifications.fifo", m.Queue)
				keys = append(keys, body.Key)
			}
		}
		return sent, nil
	})
	require.NoError(t, err)
	return keys
}

func listed(deliveries []*nthlayerv1.Delivery) (keys []string) {
	for _, d := range deliveries {
		keys = append(keys, d.GetDeliveryKey())
	}
	return keys
}

func TestListDeliveries_ManyPages_EachOnceNewestFirst(t *testing.T) {
	r := newRig(t)
	var want []string
	for range 7 {
		want = append([]string{keyOf(r.ended(t, "C1"))}, want...)
	}
	// Deliveries of one run are made at the same moment: the key decides between them.
	jobID := r.ended(t, "C1", "C2", "C3")
	want = append([]string{notice.Key(jobID.String(), "slack", "C1"), notice.Key(jobID.String(), "slack", "C2"), notice.Key(jobID.String(), "slack", "C3")}, want...)

	for size := int32(1); size <= 11; size++ {
		request := &nthlayerv1.ListDeliveriesRequest{PageSize: size}
		var got []string
		for range 20 {
			page, err := r.ListDeliveries(t.Context(), request)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.GetDeliveries()), int(size))
			got = append(got, listed(page.GetDeliveries())...)
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		require.Equal(t, want, got, "pages of %d", size)
	}
}

func TestListDeliveries_Filters_SelectAndShowAll(t *testing.T) {
	r := newRig(t)
	pending, delivered, failed := r.ended(t, "C1"), r.ended(t, "C1"), r.ended(t, "C1")
	require.NoError(t, r.attempt(t, delivered).Done(t.Context(), "C0123456789", "1503435956.000247"))
	require.NoError(t, r.attempt(t, failed).Fail(t.Context(), "invite the bot", false))

	for status, want := range map[string]uuid.UUID{"pending": pending, "delivered": delivered, "failed": failed} {
		page, err := r.ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{Status: status})
		require.NoError(t, err)
		require.Equal(t, []string{keyOf(want)}, listed(page.GetDeliveries()), status)
	}
	page, err := r.ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{JobId: delivered.String()})
	require.NoError(t, err)
	require.Len(t, page.GetDeliveries(), 1)
	shown := page.GetDeliveries()[0]
	require.Equal(t, "C0123456789", shown.GetChannel(), "the id that Slack gave")
	require.Equal(t, "1503435956.000247", shown.GetTs())
	require.Equal(t, delivered.String(), shown.GetJobId())
	require.Equal(t, int32(1), shown.GetAttempts())
	require.NotNil(t, shown.GetDeliveredAt())
}

func TestListDeliveries_PageTokenThatDoesNotFit_IsRefusedByName(t *testing.T) {
	r := newRig(t)
	r.ended(t, "C1", "C2")
	page, err := r.ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{PageSize: 1})
	require.NoError(t, err)
	for name, request := range map[string]*nthlayerv1.ListDeliveriesRequest{
		"other filter": {Status: "failed", PageToken: page.GetNextPageToken()},
		"made up":      {PageToken: "AAAA"},
	} {
		_, err := r.ListDeliveries(t.Context(), request)
		f, ok := fault.As(err)
		require.True(t, ok, name)
		require.Equal(t, "page_token", f.Violations[0].Field, name)
	}
}

func TestResendDelivery_Failed_IsOnItsWayAgainAtOnce(t *testing.T) {
	r := newRig(t)
	jobID := r.ended(t, "C1")
	require.NoError(t, r.attempt(t, jobID).Fail(t.Context(), "invite the bot", false))
	require.Equal(t, []string{keyOf(jobID)}, r.drained(t), "what the run itself queued")

	got, err := r.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: keyOf(jobID)})
	require.NoError(t, err)
	require.Equal(t, "pending", got.GetStatus())
	require.Empty(t, got.GetLastError())
	require.Equal(t, 1, r.pokes)
	require.Equal(t, []string{keyOf(jobID)}, r.drained(t))

	_, err = r.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: keyOf(jobID)})
	require.NoError(t, err, "asking twice asks once")
	require.Empty(t, r.drained(t))
}

func TestResendDelivery_Delivered_IsRefused(t *testing.T) {
	r := newRig(t)
	jobID := r.ended(t, "C1")
	require.NoError(t, r.attempt(t, jobID).Done(t.Context(), "C1", "1.2"))
	r.drained(t)
	_, err := r.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: keyOf(jobID)})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Equal(t, "ALREADY_DELIVERED", fault.ReasonOf(err))
	require.Empty(t, r.drained(t))
}

func TestResendDelivery_Unknown_IsNotFound(t *testing.T) {
	r := newRig(t)
	_, err := r.ResendDelivery(t.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: "nobody"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}
