// Package rate keeps each principal to its share of the API, over all gateways together: one bucket a principal in
// Redis (GCRA on the server's clock). While Redis is away each gateway keeps buckets of its own: callers go on, and none
// of them can take the service down.
package rate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	askWithin  = 100 * time.Millisecond // Redis stands in the way of every call: it must not add its own patience
	askAgainIn = 2 * time.Second        // after a failure, Redis is left alone for so long
	mostKnown  = 10_000                 // principals remembered while Redis is away
)

// Shared implements rpc.Rate.
type Shared struct {
	redis *redis_rate.Limiter
	limit redis_rate.Limit
	log   *slog.Logger

	mu       sync.Mutex
	askAfter time.Time
	own      map[string]*rate.Limiter // in use while Redis is away
}

// New gives each principal perMinute calls a minute, a tenth of them at once.
func New(client redis.UniversalClient, perMinute int, log *slog.Logger) *Shared {
	return &Shared{
		redis: redis_rate.NewLimiter(client), log: log, own: map[string]*rate.Limiter{},
		limit: redis_rate.Limit{Rate: perMinute, Burst: max(perMinute/10, 1), Period: time.Minute},
	}
}

// Take implements rpc.Rate.
func (s *Shared) Take(ctx context.Context, principal string) error {
	wait, ok := s.ask(ctx, principal)
	if !ok {
		wait = s.takeOwn(principal, time.Now())
	}
	if wait <= 0 {
		return nil
	}
	return fault.New(fault.Throttled, fmt.Sprintf("more than %d calls a minute; slow down", s.limit.Rate), nil).
		WithReason("RATE_LIMITED").WithRetryAfter(wait)
}

// ask takes from the bucket in Redis and says how long to wait, 0 or less where the call is allowed. It is not ok while
// Redis is away.
func (s *Shared) ask(ctx context.Context, principal string) (wait time.Duration, ok bool) {
	now := time.Now()
	s.mu.Lock()
	away := now.Before(s.askAfter)
	s.mu.Unlock()
	if away {
		return 0, false
	}
	// Subjects come from tokens: hashed, they are of one length and mean nothing to whoever reads Redis.
	subject := sha256.Sum256([]byte(principal))
	asked, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	result, err := s.redis.Allow(asked, "nthlayer:api:"+hex.EncodeToString(subject[:16]), s.limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if len(s.own) > 0 {
			s.log.InfoContext(ctx, "rate limits are shared again")
			clear(s.own)
		}
		return result.RetryAfter, true
	case ctx.Err() != nil:
		return 0, false // the caller is gone; that says nothing of Redis
	case now.After(s.askAfter):
		s.askAfter = now.Add(askAgainIn)
		s.log.WarnContext(ctx, "rate limits cannot reach Redis; this process counts for itself", "error", err)
	}
	return 0, false
}

func (s *Shared) takeOwn(principal string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, known := s.own[principal]
	if !known {
		if len(s.own) >= mostKnown {
			clear(s.own)
		}
		bucket = rate.NewLimiter(rate.Every(time.Minute/time.Duration(s.limit.Rate)), s.limit.Burst)
		s.own[principal] = bucket
	}
	taken := bucket.ReserveN(now, 1)
	wait := taken.DelayFrom(now)
	if wait > 0 {
		taken.CancelAt(now)
	}
	return wait
}
