// Command notifier tells people what the runs did: it takes deliveries from the queue and posts them to Slack, each once.
package main

import (
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/notifier/internal/wire"
)

func main() { service.Main("notifier", wire.Notifier) }
