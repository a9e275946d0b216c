//go:build !seams

package seam_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/seam"
)

// Whatever the environment says: a program that was not built for it has every protection.
func TestOff_OrdinaryProgram_NothingCanBeTakenAway(t *testing.T) {
	t.Setenv("NTHLAYER_SEAMS", "announce,reobserve,permit,whole,guard,key,quota,chain,lookup,bury")
	for _, name := range []string{
		seam.Announce, seam.Reobserve, seam.Permit, seam.Whole, seam.Guard, seam.Key, seam.Quota, seam.Chain, seam.LookUp, seam.Bury,
	} {
		require.False(t, seam.Off(name), name)
	}
}
