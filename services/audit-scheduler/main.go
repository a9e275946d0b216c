// Command audit-scheduler keeps the schedules of audits. There are none yet: it is up, healthy, and says so.
package main

import (
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/wire"
)

func main() { service.Main("audit-scheduler", wire.Scheduler) }
