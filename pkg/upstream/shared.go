package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/nthlayer/nthlayer/pkg/config"
)

const (
	askWithin  = 250 * time.Millisecond // a limiter in the way of every call must not add Redis's own patience to it
	askAgainIn = 2 * time.Second        // after a failure, Redis is left alone for so long
)

// SharedConfig describes a quota that several processes use together.
type SharedConfig struct {
	Platform   string
	Credential config.Secret // quotas belong to credentials; only a hash of it is stored
	PerMinute  int           // until the platform states another limit
	Shares     int           // the most processes expected: without Redis each takes 1/Shares of the quota; 4
	Log        *slog.Logger  // nil: slog.Default()
}

// Shared limits the calls of all processes that use the same credential, through one bucket in Redis (GCRA on the
// server's clock). While Redis is away every process keeps to its share of the quota instead: slower, never over.
type Shared struct {
	platform string
	key      string
	rates    *redis_rate.Limiter
	pace     *pace
	share    *Local
	log      *slog.Logger

	// turn lets one caller of this process at a time ask Redis: a queue in memory costs nothing, one in Redis would
	// cost a round trip for every loser of every token. Its holder owns the two fields below.
	turn     chan struct{}
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
	credential := sha256.Sum256([]byte(cfg.Credential.Reveal()))
	return &Shared{
		platform: cfg.Platform,
		key:      "nthlayer:" + cfg.Platform + ":" + hex.EncodeToString(credential[:8]),
		rates:    redis_rate.NewLimiter(client),
		pace:     pace,
		share:    &Local{platform: cfg.Platform, pace: pace, shares: cfg.Shares},
		log:      cfg.Log.With("platform", cfg.Platform),
		turn:     make(chan struct{}, 1),
	}
}

// Observe implements Limiter.
func (s *Shared) Observe(h http.Header) { s.pace.observe(h, time.Now()) }

// Wait implements Limiter.
func (s *Shared) Wait(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return gaveUp(ctx, s.platform, 0)
	}
	for {
		wait, ok := s.ask(ctx)
		if ctx.Err() != nil {
			return gaveUp(ctx, s.platform, wait)
		}
		if !ok {
			return s.share.Wait(ctx)
		}
		if wait <= 0 {
			return nil
		}
		if err := sleep(ctx, s.platform, wait); err != nil {
			return err
		}
	}
}

// ask says how long to wait before asking again; 0: go. It is not ok while Redis is away.
func (s *Shared) ask(ctx context.Context) (wait time.Duration, ok bool) {
	now := time.Now()
	if now.Before(s.askAfter) {
		return 0, false
	}
	rate, burst, until := s.pace.state(1)
	if now.Before(until) {
		return until.Sub(now), true
	}
	asked, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	result, err := s.rates.Allow(asked, s.key, redis_rate.Limit{Rate: rate, Burst: burst, Period: time.Minute})
	if err != nil {
		if ctx.Err() == nil {
			s.askAfter = now.Add(askAgainIn)
			s.changed(true, err)
		}
		return 0, false
	}
	s.changed(false, nil)
	return max(result.RetryAfter, 0), true // RetryAfter is -1 when the call is allowed
}

func (s *Shared) changed(degraded bool, cause error) {
	switch {
	case degraded == s.degraded:
		return
	case degraded:
		s.log.Warn("shared limiter cannot reach Redis; this process keeps to its own share", "error", cause)
	default:
		s.log.Info("shared limiter reaches Redis again")
	}
	s.degraded = degraded
}
