// Package settings is what the audit-scheduler reads from its environment.
package settings

import "github.com/nthlayer/nthlayer/pkg/config"

// Settings of the audit-scheduler.
type Settings struct {
	config.Process
	Internal config.Internal
	TLS      config.InternalTLS
}
