// Command reconcile-worker does the runs: it takes jobs from the queue, compares both platforms, and makes PagerDuty
// what Cortex declares.
package main

import (
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/wire"
)

func main() { service.Main("reconcile-worker", wire.Worker) }
