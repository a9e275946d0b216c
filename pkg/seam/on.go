//go:build seams

package seam

import (
	"os"
	"slices"
	"strings"
)

// Off reports whether a protection was taken away.
func Off(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("NTHLAYER_SEAMS"), ","), name)
}
