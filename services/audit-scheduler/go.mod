module github.com/nthlayer/nthlayer/services/audit-scheduler

go 1.26.0

require (
	github.com/nthlayer/nthlayer/pkg v0.0.0
	github.com/nthlayer/nthlayer/proto v0.0.0
)

replace github.com/nthlayer/nthlayer/proto => ../../proto

replace github.com/nthlayer/nthlayer/pkg => ../../pkg
