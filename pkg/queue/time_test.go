package queue

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	simulator "github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

const timed = "timed.fifo"

// inProcess answers requests without a network, so that a bubble's clock runs while a long poll waits.
type inProcess struct{ http.Handler }

func (h inProcess) Do(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer.Result(), r.Context().Err()
}

// newBubble gives a simulator on the bubble's clock, with one queue that holds one message, and a client of it.
func newBubble(t *testing.T) (*simulator.Server, *Client) {
	server := simulator.New(simulator.Options{})
	t.Cleanup(server.Close)
	client := &Client{urls: make(map[string]string), transport: &http.Transport{}, api: awssqs.New(awssqs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://sqs"), HTTPClient: inProcess{server},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})}
	require.NoError(t, client.Ensure(t.Context(), Layout{MaxReceives: 1000}, timed))
	_, err := NewProducer(client).Send(t.Context(), []Message{{Queue: timed, Group: "g", Dedup: "1", Body: []byte("x")}})
	require.NoError(t, err)
	return server, client
}

func consume(t *testing.T, c *Client, opts ConsumerOptions, h Handler) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- NewConsumer(c, timed, h, slog.New(slog.DiscardHandler), opts).Run(ctx) }()
	return func() { cancel(); require.NoError(t, <-ended) }
}

func TestKeeper_HandlerTakesHours_MessageStaysIts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := newBubble(t)
		var handled atomic.Int32
		done := make(chan struct{})
		handler := func(ctx context.Context, _ Received) error {
			handled.Add(1)
			time.Sleep(3 * time.Hour)
			close(done)
			return ctx.Err()
		}
		stop, stopOther := consume(t, client, ConsumerOptions{}, handler), consume(t, client, ConsumerOptions{}, handler)
		<-done
		stop()
		stopOther()
		require.EqualValues(t, 1, handled.Load(), "another consumer got it meanwhile")
		require.InDelta(t, 3*time.Hour/(defaultVisibility/3), server.Calls()["ChangeMessageVisibilityBatch"], 2, "one heartbeat in a third of the visibility")
		depth, err := client.Depth(t.Context(), timed)
		require.NoError(t, err)
		require.Equal(t, Depth{}, depth)
	})
}

// A handler whose message cannot be kept is stopped before anybody else can have the message.
func TestKeeper_NoHeartbeatArrives_HandlerIsStoppedBeforeTheMessageComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := newBubble(t)
		server.Inject(simulator.Fault{Action: "ChangeMessageVisibilityBatch", Times: -1, Status: http.StatusInternalServerError})
		begun := time.Now()
		stopped, back := make(chan time.Duration, 1), make(chan time.Duration, 1)
		stop := consume(t, client, ConsumerOptions{}, func(ctx context.Context, m Received) error {
			if m.ReceiveCount > 1 {
				back <- time.Since(begun)
				return nil
			}
			<-ctx.Done()
			require.True(t, fault.Is(context.Cause(ctx), fault.Fenced))
			stopped <- time.Since(begun)
			return ctx.Err()
		})
		one, other := <-stopped, <-back
		stop()
		require.InDelta(t, defaultVisibility, one, float64(time.Second))
		require.LessOrEqual(t, one, other, "two handlers worked on it side by side")
	})
}

// A message that ends a long poll is hidden from then on, not from when the poll began.
func TestConsumer_MessageEndsALongPoll_HasItsWholeVisibility(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := newBubble(t)
		handled := make(chan int)
		stop := consume(t, client, ConsumerOptions{Visibility: 2 * time.Second}, func(ctx context.Context, m Received) error {
			time.Sleep(time.Second)
			handled <- m.ReceiveCount
			return ctx.Err()
		})
		require.Equal(t, 1, <-handled)
		time.Sleep(15 * time.Second) // into the poll
		_, err := NewProducer(client).Send(t.Context(), []Message{{Queue: timed, Group: "g", Dedup: "2", Body: []byte("y")}})
		require.NoError(t, err)
		require.Equal(t, 1, <-handled, "it came back although its handler was at work")
		stop()
	})
}

func TestConsumer_HandlerKeepsFailing_WaitsGrowToFiveMinutesAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := newBubble(t)
		failed := time.Now()
		waits := make(chan time.Duration)
		stop := consume(t, client, ConsumerOptions{}, func(context.Context, Received) error {
			waits <- time.Since(failed)
			failed = time.Now()
			return errors.New("no")
		})
		<-waits
		for _, seconds := range []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
			require.InDelta(t, seconds, (<-waits).Seconds(), 0.1)
		}
		stop()
	})
}

// clockOutbox answers as it is told and notes when it was asked.
type clockOutbox struct {
	answer func() (int, error)
	asked  chan time.Duration
	begun  time.Time
}

func (o *clockOutbox) Drain(context.Context, int, func(context.Context, []Message) ([]bool, error)) (int, error) {
	o.asked <- time.Since(o.begun)
	return o.answer()
}

func (o *clockOutbox) Announce(context.Context) (int, error) { return 0, nil }

func relay(t *testing.T, o *clockOutbox) (r *Relay, stop func()) {
	o.asked, o.begun = make(chan time.Duration), time.Now()
	r = NewRelay(o, nil, slog.New(slog.DiscardHandler), RelayOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() { cancel(); require.NoError(t, <-ended) }
}

func TestRelay_OutboxAway_PausesGrowAndPokesDoNotShortenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		o := &clockOutbox{answer: func() (int, error) {
			if !back.Load() {
				return 0, errors.New("away")
			}
			return 0, nil
		}}
		r, stop := relay(t, o)
		last := <-o.asked
		var pauses []time.Duration
		for range 40 {
			r.Poke()
			at := <-o.asked
			pauses, last = append(pauses, at-last), at
		}
		// Backoff of 0.1 s to 10 s, each ± half.
		require.Less(t, pauses[0], 151*time.Millisecond)
		for _, pause := range pauses {
			require.Greater(t, pause, 49*time.Millisecond)
			require.Less(t, pause, 15001*time.Millisecond)
		}
		require.Greater(t, pauses[20]+pauses[21]+pauses[22], 10*time.Second, "by now it is asked rarely")

		back.Store(true)
		<-o.asked
		at := <-o.asked // a poke from before counts once
		next := <-o.asked
		require.InDelta(t, time.Second, next-at, float64(201*time.Millisecond), "back to the sweep, jittered by a fifth")
		r.Poke()
		synctest.Wait()
		require.InDelta(t, next, <-o.asked, float64(time.Millisecond), "a poke is answered at once")
		stop()
	})
}

func TestRelay_Full_GoesOnWithoutAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 5
		o := &clockOutbox{answer: func() (int, error) {
			if left--; left >= 0 {
				return 100, nil // the limit: there is probably more
			}
			return 0, nil
		}}
		_, stop := relay(t, o)
		for range 6 {
			require.Zero(t, <-o.asked)
		}
		require.Greater(t, <-o.asked, 700*time.Millisecond)
		stop()
	})
}
