package deliver

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

func TestVerdict(t *testing.T) {
	opts := Options{MaxAttempts: 3, Settled: 35 * time.Second}
	kind := func(k fault.Kind) *fault.Error { return fault.New(k, "why", errors.New("secret cause")) }
	for name, c := range map[string]struct {
		attempts  int
		uncertain bool
		cause     error
		want      next
	}{
		"told":                              {1, false, nil, next{}},
		"permanent fails at once":           {1, false, kind(fault.Precondition), next{giveUp: true, counted: true, why: "why"}},
		"unclassified fails at once":        {1, true, errors.New("x"), next{giveUp: true, counted: true, why: "the message could not be posted"}},
		"passing waits":                     {1, false, kind(fault.Unavailable), next{counted: true, delay: 2 * time.Second, why: "why"}},
		"passing waits longer":              {2, false, kind(fault.Unavailable), next{counted: true, delay: 4 * time.Second, why: "why"}},
		"passing waits as asked":            {1, false, kind(fault.Unavailable).WithRetryAfter(time.Minute), next{counted: true, delay: time.Minute, why: "why"}},
		"passing too often fails":           {3, false, kind(fault.Unavailable), next{giveUp: true, counted: true, why: "why"}},
		"quota waits as asked":              {1, false, kind(fault.Throttled).WithRetryAfter(7 * time.Second), next{delay: 7 * time.Second, why: "why"}},
		"quota waits without being asked":   {1, false, kind(fault.Throttled), next{delay: quotaWait, why: "why"}},
		"quota is no attempt":               {3, false, kind(fault.Throttled), next{delay: quotaWait, why: "why"}},
		"open breaker is no attempt":        {3, false, kind(fault.Unavailable).WithReason("SLACK_BREAKER_OPEN"), next{delay: 8 * time.Second, why: "why"}},
		"uncertain waits to settle":         {1, true, kind(fault.Deadline), next{counted: true, delay: opts.Settled, why: "why"}},
		"uncertain gets a last look":        {3, true, kind(fault.Deadline), next{counted: true, delay: opts.Settled, why: "why"}},
		"uncertain for ever fails":          {6, true, kind(fault.Incomplete), next{giveUp: true, counted: true, delay: opts.Settled, why: "why"}},
		"a stop in the middle is uncertain": {3, true, kind(fault.Canceled), next{delay: opts.Settled, why: "why"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, verdict(c.attempts, opts, c.uncertain, c.cause))
		})
	}
}

func TestBackoff_GrowsToItsLimit(t *testing.T) {
	require.Equal(t, firstWait, backoff(1))
	last := time.Duration(0)
	for attempts := 1; attempts < 100; attempts++ {
		require.GreaterOrEqual(t, backoff(attempts), last)
		last = backoff(attempts)
	}
	require.Equal(t, lastWait, last)
}
