package upstream

import "github.com/nthlayer/nthlayer/pkg/config"

// Credentials is where the secret of a platform is had from. It is used by many calls at once.
type Credentials interface {
	// Current is the secret as it was last read. It does no I/O.
	Current() config.Secret
}
