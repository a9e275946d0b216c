package upstream

import (
	"context"
	"crypto/sha256"
	_ "embed" // the script
	"encoding/hex"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	askWithin  = 250 * time.Millisecond // a limiter in the way of every call must not add Redis's own patience to it
	askAgainIn = 2 * time.Second        // after a failure, Redis is left alone for so long
	transit    = 20 * time.Millisecond  // by which the ways of two questions to Redis may differ
)

//go:embed gcra.lua
var gcra string

// SharedConfig describes a quota that several processes use together.
type SharedConfig struct {
	Platform    string
	Credentials Credentials  // quotas belong to credentials: a new one has a new bucket; only a hash of it is stored
	PerMinute   int          // until the platform states another limit
	Shares      int          // the most processes expected: without Redis each takes 1/Shares of the quota; 4
	Log         *slog.Logger // nil: slog.Default()
}

// Shared limits the calls of all processes that use the same credential, through one bucket in Redis (GCRA on the
// server's clock). A pause that one of them is told of holds for all. A bucket that is lost gives no second burst. While
// Redis is away every process keeps to its share of the quota instead: slower, never over.
type Shared struct {
	platform    string
	credentials Credentials
	redis       redis.UniversalClient
	script      *redis.Script
	gate        *gate
	pace        *pace
	share       *Local
	log         *slog.Logger

	mu       sync.Mutex
	key      string    // of the bucket in use
	tat      time.Time // of the bucket as last seen, on this process's clock
	askAfter time.Time
	degraded bool
}

// NewShared makes the shared limiter of one platform and credential.
func NewShared(client redis.UniversalClient, cfg SharedConfig) *Shared {
	if cfg.Shares <= 0 {
		cfg.Shares = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	pace := &pace{perMinute: cfg.PerMinute}
	return &Shared{
		platform:    cfg.Platform,
		credentials: cfg.Credentials,
		redis:       client,
		script:      redis.NewScript(gcra),
		gate:        newGate(cfg.Platform, pace),
		pace:        pace,
		share:       &Local{pace: pace, shares: cfg.Shares},
		log:         cfg.Log.With("platform", cfg.Platform),
	}
}

// Wait implements Limiter.
func (s *Shared) Wait(ctx context.Context) error {
	return s.gate.pass(ctx, func(ctx context.Context, p Priority) time.Duration {
		if wait, ok := s.ask(ctx, p, 1); ok || ctx.Err() != nil {
			return wait
		}
		return s.share.take(p, time.Now())
	})
}

// Observe implements Limiter. A pause is told to the others at once: this process may not ask again before it is over.
func (s *Shared) Observe(ctx context.Context, h http.Header, throttled bool) {
	if s.pace.observe(h, throttled, time.Now()) {
		_, _ = s.ask(context.WithoutCancel(ctx), Interactive, 0)
	}
}

// Quota implements Limiter.
func (s *Shared) Quota() Quota {
	now := time.Now()
	if s.ownShare() {
		return s.share.quota(LimiterOwnShare, now)
	}
	s.mu.Lock()
	ahead := max(s.tat.Sub(now), 0) // the distance from a zero time is as negative as can be
	s.mu.Unlock()
	plan := s.pace.plan(1)
	q := Quota{Limiter: LimiterShared, Limit: s.pace.limit(), Remaining: plan.remaining(ahead)}
	// Calls alone never bring the TAT so far; a pause does, whoever was told of it.
	if pause := max(s.pace.pause(now), ahead-plan.full()); pause > 0 {
		q.Remaining, q.PausedUntil = 0, now.Add(pause)
	}
	return q
}

// ask takes calls from the bucket in one round trip, or says how long to wait before asking again; with no calls it only
// tells of a pause. It is not ok while Redis is away.
func (s *Shared) ask(ctx context.Context, p Priority, calls int) (wait time.Duration, ok bool) {
	now := time.Now()
	key, seen, ok := s.bucket(now)
	if !ok {
		return 0, false
	}
	plan := s.pace.plan(1)
	pause := s.pace.pause(now)
	if s.ownShare() {
		// What was sent meanwhile is not in the bucket, so that counts as used up.
		pause = max(pause, plan.interval)
	}
	asked, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := s.script.Run(asked, s.redis, []string{key},
		plan.interval.Microseconds(), plan.tolerance(p).Microseconds(), plan.tolerance(Interactive).Microseconds(),
		calls, seen.Microseconds(), pause.Microseconds()).Int64Slice()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && len(answer) == 2:
		s.changed(false, nil)
		if key == s.key {
			s.tat = now.Add(micros(answer[1]))
		}
		return micros(answer[0]), true
	case ctx.Err() == nil: // else the caller gave up, which says nothing of Redis
		s.askAfter = now.Add(askAgainIn)
		s.changed(true, err)
	}
	return 0, false
}

// bucket gives the key of the current credential's bucket and how far ahead its TAT is at least, by what was seen of it:
// measured on this process's clock, which does not change when another Redis takes over. It is not ok while Redis is left
// alone.
func (s *Shared) bucket(now time.Time) (key string, seen time.Duration, ok bool) {
	credential := sha256.Sum256([]byte(s.credentials.Current().Reveal()))
	key = "nthlayer:" + s.platform + ":" + hex.EncodeToString(credential[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != s.key {
		if s.key != "" {
			s.pace.resume() // the pause was the old credential's
		}
		s.key, s.tat = key, time.Time{}
	}
	return key, max(s.tat.Add(-transit).Sub(now), 0), !now.Before(s.askAfter)
}

func (s *Shared) ownShare() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.degraded
}

func (s *Shared) changed(degraded bool, cause error) {
	switch {
	case degraded == s.degraded:
		return
	case degraded:
		s.share.useUp(time.Now()) // the burst may have been had from the shared bucket a moment ago
		s.log.Warn("shared limiter cannot reach Redis; this process keeps to its own share", "error", cause)
	default:
		s.log.Info("shared limiter reaches Redis again")
	}
	s.degraded = degraded
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
