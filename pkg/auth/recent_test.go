package auth

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecent_MoreThanItMayHold_ForgetsTheLeastRecentlyUsed(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	digest := func(name string) tokenDigest { return sha256.Sum256([]byte(name)) }
	r := newRecent(2)
	for _, name := range []string{"a", "b"} {
		r.put(digest(name), remembered{kid: name, until: now.Add(time.Minute)})
	}
	_, ok := r.get(digest("a"), now)
	require.True(t, ok)
	r.put(digest("c"), remembered{kid: "c", until: now.Add(time.Minute)})
	_, ok = r.get(digest("b"), now)
	require.False(t, ok)
	_, ok = r.get(digest("a"), now)
	require.True(t, ok)
	_, ok = r.get(digest("a"), now.Add(time.Minute))
	require.False(t, ok)
	require.Equal(t, 1, r.order.Len())
	require.Len(t, r.byToken, 1)
}
