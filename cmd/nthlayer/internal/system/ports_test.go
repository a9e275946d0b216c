package system

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// The parts of a system are started, and started again, long after their ports were found: between, nobody else gives them
// out.
func TestPorts_Released_AreNobodyElsesWhileTheSystemLives(t *testing.T) {
	const systems, each = 100, 40
	seen := map[string]int{}
	for i := range systems {
		p := &ports{}
		t.Cleanup(func() { _ = p.close(t.Context()) })
		for range each {
			r, err := p.reserve(t.Context())
			require.NoError(t, err)
			r.release()
			other, given := seen[r.addr()]
			require.False(t, given, "%s was given to systems %d and %d", r.addr(), other, i)
			seen[r.addr()] = i
		}
	}
}

func TestPorts_MoreThanABlock_TakeAnother(t *testing.T) {
	p := &ports{}
	t.Cleanup(func() { _ = p.close(t.Context()) })
	for range 2 * blockSize {
		r, err := p.reserve(t.Context())
		require.NoError(t, err)
		t.Cleanup(r.release)
	}
	require.Len(t, p.blocks, 3)
}

func TestPorts_OneIsTaken_IsPassedOver(t *testing.T) {
	p := &ports{}
	first, err := p.reserve(t.Context())
	require.NoError(t, err)
	t.Cleanup(first.release)
	other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first.port()+1)))
	if err != nil {
		t.Skip("another program has that port already")
	}
	t.Cleanup(func() { _ = other.Close() })

	second, err := p.reserve(t.Context())
	require.NoError(t, err)
	t.Cleanup(second.release)
	require.Greater(t, second.port(), first.port()+1)

	require.NoError(t, p.close(t.Context()))
	l, err := listenOn(t.Context(), first.port()-1)
	require.NoError(t, err, "the block is given back")
	require.NoError(t, l.Close())
}
