package queue

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/nthlayer/nthlayer/pkg/seam"
)

// Outbox is where messages wait that were committed together with what they tell of.
type Outbox interface {
	// Drain locks up to limit due rows (FOR UPDATE SKIP LOCKED), gives their messages to send and deletes the rows whose
	// bool is true, also when send gives an error beside them, all in one transaction. It then returns send's error.
	Drain(ctx context.Context, limit int, send func(ctx context.Context, batch []Message) ([]bool, error)) (moved int, err error)
	// Announce puts runs back into the outbox that are queued although nobody works on them and no message is known.
	// Their messages need a new deduplication id, or SQS may take them for the old ones.
	Announce(ctx context.Context) (int, error)
}

// RelayOptions tune a Relay; the zero value is right for most.
type RelayOptions struct {
	Limit    int           // rows in one transaction; default 100
	Sweep    time.Duration // how often to look for rows nobody poked for; default 1 s
	Announce time.Duration // how often to look for stranded runs; default 5 s
}

// relayTimeout bounds one transaction of the outbox with its sends.
const relayTimeout = 30 * time.Second

// Relay moves messages from the outbox to SQS: at once when poked, and in a sweep for those whose poke was lost, which
// a process that died left behind, or which have become due. Any number of relays may run beside each other.
type Relay struct {
	outbox   Outbox
	producer *Producer
	log      *slog.Logger
	opts     RelayOptions
	poked    chan struct{} // room for one: pokes during a drain are one more drain
	moved    metric.Int64Counter
}

// NewRelay makes a relay; Run starts it.
func NewRelay(outbox Outbox, p *Producer, log *slog.Logger, opts RelayOptions) *Relay {
	if opts.Limit <= 0 {
		opts.Limit = 100
	}
	if opts.Sweep <= 0 {
		opts.Sweep = time.Second
	}
	if opts.Announce <= 0 {
		opts.Announce = 5 * time.Second
	}
	moved, _ := otel.Meter(scope).Int64Counter("nthlayer.outbox.relayed",
		metric.WithDescription("Messages moved from the outbox to SQS."))
	return &Relay{outbox: outbox, producer: p, log: log, opts: opts, poked: make(chan struct{}, 1), moved: moved}
}

// Poke tells that the outbox may hold something new. Call it after the commit; it never blocks.
func (r *Relay) Poke() {
	select {
	case r.poked <- struct{}{}:
	default:
	}
}

// Run works until ctx ends and then returns nil. Errors of outbox and queue are logged and tried again after a backoff.
func (r *Relay) Run(ctx context.Context) error {
	var loops errgroup.Group
	loops.Go(func() error { r.drainLoop(ctx); return nil })
	loops.Go(func() error { r.announceLoop(ctx); return nil })
	return loops.Wait()
}

func (r *Relay) drainLoop(ctx context.Context) {
	pause := newPause()
	for ctx.Err() == nil {
		moved, err := r.drain(ctx)
		r.moved.Add(ctx, int64(moved))
		switch {
		case err == nil && moved >= r.opts.Limit:
			pause.Reset() // there is probably more
			continue
		case err == nil:
			pause.Reset()
			r.awaitWork(ctx)
			continue
		case moved > 0:
			pause.Reset()
		}
		wait := pause.NextBackOff()
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "outbox not drained; trying again", "error", err, "moved", moved, "wait", wait)
		}
		sleep(ctx, wait) // not awaitWork: pokes must not hurry a queue in trouble
	}
}

// awaitWork returns at a poke, at the next sweep, or when ctx ends.
func (r *Relay) awaitWork(ctx context.Context) {
	timer := time.NewTimer(jittered(r.opts.Sweep))
	defer timer.Stop()
	select {
	case <-r.poked:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *Relay) drain(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	return r.outbox.Drain(ctx, r.opts.Limit, r.producer.Send)
}

func (r *Relay) announceLoop(ctx context.Context) {
	pause := newPause()
	for sleep(ctx, jittered(r.opts.Announce)) {
		announced, err := r.announce(ctx)
		if err != nil {
			wait := pause.NextBackOff()
			if ctx.Err() == nil {
				r.log.WarnContext(ctx, "stranded runs not announced; trying again", "error", err, "wait", wait)
			}
			sleep(ctx, wait)
			continue
		}
		pause.Reset()
		if announced > 0 {
			r.log.InfoContext(ctx, "stranded runs announced again", "count", announced)
			r.Poke()
		}
	}
}

func (r *Relay) announce(ctx context.Context) (int, error) {
	if seam.Off(seam.Announce) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	return r.outbox.Announce(ctx)
}

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 10*time.Second
	return pause
}

// jittered is d ± 20 %, so that relays started together do not sweep together.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
