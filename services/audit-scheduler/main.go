// Command audit-scheduler keeps the schedules of audits, starts those that are due, and moves audits along.
package main

import (
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/wire"
)

func main() { service.Main("audit-scheduler", wire.Scheduler) }
