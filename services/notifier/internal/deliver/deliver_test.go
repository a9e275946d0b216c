package deliver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	slacksim "github.com/nthlayer/nthlayer/pkg/simulator/slack"
	sqssim "github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	"github.com/nthlayer/nthlayer/services/notifier/internal/deliver"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	channel = "C0OWNERSHIP"
	post    = "POST /api/chat.postMessage"
)

// rig is a database and a Slack workspace.
type rig struct {
	store *store.Store
	sim   *slacksim.Server
	slack *slack.Client
	runs  int
}

func newRig(t *testing.T, channels ...string) *rig {
	t.Helper()
	db, err := store.Open(t.Context(), config.NewSecret(testkit.Postgres(t)), store.Options{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	sim := slacksim.New(slacksim.Options{Token: "xoxb-1", Channels: channels})
	sim.Control().SetLimits(control.Limits{})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	// One attempt: what the transport repeats by itself is tested with it.
	web := slack.HTTP(upstream.Config{Attempts: 1, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(web.CloseIdleConnections)
	return &rig{store: db, sim: sim, slack: slack.New(slack.Config{
		BaseURL: server.URL + "/api/", Token: config.NewSecret("xoxb-1"), HTTP: web,
	})}
}

// deliverer delivers to Slack itself, or to what stands in front of it. Attempts settle at once: what settling is for is
// a test of its own.
func (r *rig) deliverer(to deliver.Slack, opts deliver.Options) *deliver.Deliverer {
	if to == nil {
		to = r.slack
	}
	if opts.Settled == 0 {
		opts.Settled = time.Nanosecond
	}
	return deliver.New(r.store, to, slog.New(slog.DiscardHandler), opts)
}

// ended makes a run that ended with this to tell, and gives the key of the delivery.
func (r *rig) ended(t *testing.T, payload any) string {
	t.Helper()
	r.runs++
	team := fmt.Sprintf("team-%d", r.runs)
	jobID, _, err := r.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: team})
	require.NoError(t, err)
	claim, err := r.store.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	content, err := json.Marshal(payload)
	require.NoError(t, err)
	key := notice.Key(jobID.String(), "slack", channel)
	require.NoError(t, claim.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync,
		Tell: []store.Delivery{{Key: key, Medium: "slack", Channel: channel, Payload: content}},
	}))
	return key
}

func finished(changes int) notice.RunFinished {
	n := notice.RunFinished{JobID: uuid.NewString(), TeamID: "payments", TeamName: "Payments", Status: "succeeded", Summary: "done"}
	for i := range changes {
		n.Changes = append(n.Changes, notice.Change{
			Kind: "add_member", Who: fmt.Sprintf("person-%d@example.org", i), After: "responder", Outcome: "applied",
		})
	}
	return n
}

// long is a notice whose details fill several replies.
func long(t *testing.T) (n notice.RunFinished, replies int) {
	t.Helper()
	n = finished(400)
	_, details := render.RunFinished(n)
	require.GreaterOrEqual(t, len(details), 2)
	return n, len(details)
}

func handle(ctx context.Context, d *deliver.Deliverer, key string) error {
	return d.Handle(ctx, queue.Received{Body: []byte(`{"delivery_key":"` + key + `"}`)})
}

func (r *rig) state(t *testing.T, key string) store.DeliveryState {
	t.Helper()
	d, err := r.store.DeliveryState(t.Context(), key)
	require.NoError(t, err)
	return d
}

type posted struct {
	Channel  string `json:"channel"`
	TS       string `json:"ts"`
	ThreadTS string `json:"thread_ts"`
	Text     string `json:"text"`
	Metadata struct {
		Payload struct {
			Key string `json:"delivery_key"`
		} `json:"event_payload"`
	} `json:"metadata"`
}

// posted is everything on Slack, oldest first.
func (r *rig) posted(t *testing.T) []posted {
	t.Helper()
	content, err := json.Marshal(r.sim.State())
	require.NoError(t, err)
	var state struct {
		Messages []posted `json:"messages"`
	}
	require.NoError(t, json.Unmarshal(content, &state))
	return state.Messages
}

// requireToldOnce demands the message and its replies, each once, in order and in one thread.
func (r *rig) requireToldOnce(t *testing.T, key string, replies int) {
	t.Helper()
	messages := r.posted(t)
	require.Len(t, messages, 1+replies)
	for i, m := range messages {
		if i == 0 {
			require.Equal(t, []string{key, ""}, []string{m.Metadata.Payload.Key, m.ThreadTS})
			continue
		}
		require.Equal(t, []string{fmt.Sprintf("%s#%d", key, i), messages[0].TS}, []string{m.Metadata.Payload.Key, m.ThreadTS})
	}
	d := r.state(t, key)
	require.Equal(t, []string{store.Delivered, channel, messages[0].TS, ""}, []string{d.Status, d.PostedTo, d.TS, d.LastError})
}

// sent counts the messages that wait in the outbox and are due, and takes them.
func (r *rig) sent(t *testing.T) (due int) {
	t.Helper()
	outbox := r.store.NewOutbox(store.Queues{Reconcile: "reconcile.fifo", Notifications: "notifications.fifo", Audit: "audit.fifo"}, time.Hour)
	_, err := outbox.Drain(t.Context(), 100, func(_ context.Context, batch []queue.Message) ([]bool, error) {
		sent := make([]bool, len(batch))
		for i, m := range batch {
			if sent[i] = true; m.Queue == "notifications.fifo" {
				due++
			}
		}
		return sent, nil
	})
	require.NoError(t, err)
	return due
}

func TestHandle_Twice_IsToldOnce(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	d := r.deliverer(nil, deliver.Options{})
	for range 3 {
		require.NoError(t, handle(t.Context(), d, key))
	}
	r.requireToldOnce(t, key, 0)
	require.Contains(t, r.posted(t)[0].Text, "Payments")
}

func TestHandle_LongDetails_AreRepliesInTheThread(t *testing.T) {
	r := newRig(t)
	n, replies := long(t)
	key := r.ended(t, n)
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	r.requireToldOnce(t, key, replies)
}

// failing is Slack with one post that fails, before or after it took effect.
type failing struct {
	deliver.Slack
	at     int // which post, from 0
	effect bool
	err    error
	n      int
}

func (f *failing) Post(ctx context.Context, m slack.Message) (slack.Posted, error) {
	if f.n++; f.n-1 != f.at {
		return f.Slack.Post(ctx, m)
	}
	if f.effect {
		if _, err := f.Slack.Post(ctx, m); err != nil {
			return slack.Posted{}, err
		}
	}
	return slack.Posted{}, f.err
}

// TestHandle_InterruptedAnywhere_IsToldOnce loses the outcome of every post in turn, also where it took effect.
func TestHandle_InterruptedAnywhere_IsToldOnce(t *testing.T) {
	n, replies := long(t)
	for at := range 1 + replies {
		for _, effect := range []bool{false, true} {
			for _, kind := range []fault.Kind{fault.Deadline, fault.Unavailable} {
				if effect && kind == fault.Unavailable {
					continue // the kind says that nothing was posted
				}
				t.Run(fmt.Sprintf("post %d, effect %t, %s", at, effect, kind), func(t *testing.T) {
					r := newRig(t)
					key := r.ended(t, n)
					d := r.deliverer(&failing{Slack: r.slack, at: at, effect: effect, err: fault.New(kind, "interrupted", nil)}, deliver.Options{})
					require.NoError(t, handle(t.Context(), d, key), "the message is done: the outbox has the next one")
					require.Equal(t, store.Pending, r.state(t, key).Status)
					require.NoError(t, handle(t.Context(), d, key))
					r.requireToldOnce(t, key, replies)
				})
			}
		}
	}
}

// blind is Slack that never finds what was posted: the control of the tests above.
type blind struct{ deliver.Slack }

func (blind) FindByMetadata(context.Context, string, string, time.Time) (slack.Posted, bool, error) {
	return slack.Posted{}, false, nil
}

func TestHandle_LostAnswer_TellsOnceBecauseItLooks(t *testing.T) {
	for name, c := range map[string]struct {
		look bool
		want int
	}{"looking": {true, 1}, "control: not looking": {false, 2}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			key := r.ended(t, finished(1))
			require.NoError(t, r.sim.Control().Inject(control.Fault{Match: post, Times: 1, Drop: true, After: true}))
			var to deliver.Slack = r.slack
			if !c.look {
				to = blind{r.slack}
			}
			d := r.deliverer(to, deliver.Options{})
			require.NoError(t, handle(t.Context(), d, key))
			require.NoError(t, handle(t.Context(), d, key))
			require.Len(t, r.posted(t), c.want)
			require.Equal(t, store.Delivered, r.state(t, key).Status)
		})
	}
}

func TestHandle_ProcessDiedAfterPosting_IsFoundAgain(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	_, err := r.store.BeginDelivery(t.Context(), key, time.Minute)
	require.NoError(t, err)
	_, err = r.slack.Post(t.Context(), slack.Message{Channel: channel, Text: "t", Metadata: slack.Delivery(key)})
	require.NoError(t, err)

	err = handle(t.Context(), r.deliverer(nil, deliver.Options{Settled: time.Hour}), key)
	require.Error(t, err, "the dead one might still be posting: come back later")
	require.Len(t, r.posted(t), 1)
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	r.requireToldOnce(t, key, 0)
}

func TestHandle_LookingFails_PostsNothing(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	require.NoError(t, r.sim.Control().Inject(
		control.Fault{Match: post, Times: 1, Drop: true, After: true},
		control.Fault{Match: "POST /api/conversations.history", Times: 1, Truncate: 20},
	))
	d := r.deliverer(nil, deliver.Options{})
	require.NoError(t, handle(t.Context(), d, key))
	require.NoError(t, handle(t.Context(), d, key))
	require.Equal(t, store.Pending, r.state(t, key).Status)
	require.NoError(t, handle(t.Context(), d, key))
	r.requireToldOnce(t, key, 0)
}

func TestHandle_PermanentRefusal_FailsAtOnceWithAdvice(t *testing.T) {
	r := newRig(t, "C0ELSEWHERE")
	key := r.ended(t, finished(1))
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	d := r.state(t, key)
	require.Equal(t, []any{store.Undelivered, 1}, []any{d.Status, d.Attempts})
	require.Contains(t, d.LastError, "channel_not_found; check NTHLAYER_SLACK_CHANNEL")
	r.sent(t)
	require.Zero(t, r.sent(t))
}

func TestHandle_SlackKeepsFailing_IsGivenUpAfterTheAttempts(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	require.NoError(t, r.sim.Control().Inject(control.Fault{Match: post, Body: json.RawMessage(`{"ok":false,"error":"internal_error"}`)}))
	d := r.deliverer(nil, deliver.Options{MaxAttempts: 3})
	for attempts := 1; attempts <= 3; attempts++ {
		require.Equal(t, store.Pending, r.state(t, key).Status)
		require.NoError(t, handle(t.Context(), d, key))
		require.Equal(t, attempts, r.state(t, key).Attempts)
	}
	require.Equal(t, store.Undelivered, r.state(t, key).Status)
	require.NoError(t, handle(t.Context(), d, key), "what failed stays failed until somebody asks")

	r.sim.Control().ClearFaults()
	_, err := r.store.Resend(t.Context(), key, nil)
	require.NoError(t, err)
	require.NoError(t, handle(t.Context(), d, key))
	r.requireToldOnce(t, key, 0)
}

func TestHandle_QuotaUsedUp_WaitsAsAskedAndCountsNothing(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	require.Equal(t, 1, r.sent(t))
	require.NoError(t, r.sim.Control().Inject(control.Fault{
		Match: post, Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "3600"},
		Body: json.RawMessage(`{"ok":false,"error":"ratelimited"}`),
	}))
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{MaxAttempts: 1}), key))
	d := r.state(t, key)
	require.Equal(t, []any{store.Pending, 0}, []any{d.Status, d.Attempts})
	require.Zero(t, r.sent(t), "not before an hour")
	require.Empty(t, r.posted(t))
	n, err := r.store.AnnounceDeliveries(t.Context(), time.Nanosecond)
	require.NoError(t, err)
	require.Zero(t, n, "it waits in the outbox, so it is not lost")
}

// stopping is Slack that posts, and is told to stop before the answer comes.
type stopping struct {
	deliver.Slack
	stop func()
}

func (s stopping) Post(ctx context.Context, m slack.Message) (slack.Posted, error) {
	_, err := s.Slack.Post(ctx, m)
	s.stop()
	return slack.Posted{}, errors.Join(err, fault.New(fault.Canceled, "the service stops", ctx.Err()))
}

func TestHandle_StoppedInTheMiddle_IsNoAttemptAndFinishedLater(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, finished(1))
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, handle(ctx, r.deliverer(stopping{r.slack, stop}, deliver.Options{}), key))
	require.Error(t, ctx.Err())
	require.Equal(t, []any{store.Pending, 0}, []any{r.state(t, key).Status, r.state(t, key).Attempts})
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	r.requireToldOnce(t, key, 0)
}

func TestHandle_NoticeThatCannotBeRead_Fails(t *testing.T) {
	r := newRig(t)
	key := r.ended(t, "not an object")
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	require.Equal(t, store.Undelivered, r.state(t, key).Status)
}

func TestHandle_Poison_EndsAmongTheDeadLettersOnce(t *testing.T) {
	r := newRig(t)
	d := r.deliverer(nil, deliver.Options{})
	bodies := []string{"", "{", `{}`, `{"delivery_key":7}`, `{"delivery_key":"unknown"}`, "\xff\x00"}
	for i, body := range bodies {
		m := queue.Received{ID: fmt.Sprint(i), Body: []byte(body), ReceiveCount: 1}
		require.NoError(t, d.Handle(t.Context(), m), body)
		require.NoError(t, d.Handle(t.Context(), m), "the queue delivers at least once")
	}
	require.Empty(t, r.posted(t))
	letters, err := r.store.DeadLetters(t.Context(), store.DeadLetterFilter{Kind: store.MessageLetter, Limit: 100})
	require.NoError(t, err)
	require.Len(t, letters, len(bodies))
	for _, l := range letters {
		require.Equal(t, store.NotificationsQueue, l.Queue)
		require.NotEmpty(t, l.Error)
	}
}

func TestHandleDead_NamedDelivery_IsLeftToItsAnnouncement(t *testing.T) {
	r := newRig(t)
	d := r.deliverer(nil, deliver.Options{})
	require.NoError(t, d.HandleDead(t.Context(), queue.Received{ID: "1", Body: []byte(`{"delivery_key":"k"}`)}))
	require.NoError(t, d.HandleDead(t.Context(), queue.Received{ID: "2", Body: []byte(`nonsense`)}))
	letters, err := r.store.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, "nonsense", letters[0].Body)
}

// TestPipeline_OutboxToSlack runs the real thing: relay, SQS, consumer, Slack. Messages come twice, and each is told once.
func TestPipeline_OutboxToSlack(t *testing.T) {
	r := newRig(t)
	sim := sqssim.New(sqssim.Options{})
	server := httptest.NewServer(sim)
	t.Cleanup(func() { sim.Close(); server.Close() })
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: server.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo"))

	const runs = 8
	want := map[string]bool{}
	for range runs {
		want[r.ended(t, finished(2))] = true
	}
	producer := queue.NewProducer(client)
	for key := range want { // each also comes a second time, under an id of its own
		_, err := producer.Send(t.Context(), []queue.Message{{
			Queue: "notifications.fifo", Group: channel, Dedup: uuid.NewString(), Body: []byte(`{"delivery_key":"` + key + `"}`),
		}})
		require.NoError(t, err)
	}

	log := slog.New(slog.DiscardHandler)
	deliverer := r.deliverer(nil, deliver.Options{})
	handled := make(chan error, 4*runs)
	consumer := queue.NewConsumer(client, "notifications.fifo", func(ctx context.Context, m queue.Received) error {
		err := deliverer.Handle(ctx, m)
		handled <- err
		return err
	}, log, queue.ConsumerOptions{Wait: time.Second})
	relay := queue.NewRelay(r.store.NewOutbox(store.Queues{Reconcile: "reconcile.fifo", Notifications: "notifications.fifo", Audit: "audit.fifo"}, time.Hour), producer, log, queue.RelayOptions{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- consumer.Run(ctx) }()
	go func() { ended <- relay.Run(ctx) }()
	for range 2 * runs {
		require.NoError(t, <-handled)
	}
	stop()
	require.NoError(t, errors.Join(<-ended, <-ended))

	messages := r.posted(t)
	require.Len(t, messages, runs)
	for _, m := range messages {
		require.True(t, want[m.Metadata.Payload.Key])
		delete(want, m.Metadata.Payload.Key)
		require.Equal(t, m.TS, r.state(t, m.Metadata.Payload.Key).TS)
		require.NotContains(t, m.Text, "\n\n\n")
	}
}
