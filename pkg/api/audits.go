package api

import (
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Scope reads which teams are audited.
func Scope(s *nthlayerv1.AuditScope) audit.Scope {
	return audit.Scope{Include: s.GetInclude(), Exclude: s.GetExclude()}
}

// ShowScope shows which teams are audited.
func ShowScope(s audit.Scope) *nthlayerv1.AuditScope {
	return &nthlayerv1.AuditScope{Include: s.Include, Exclude: s.Exclude}
}

// AuditCounts shows what an audit came to.
func AuditCounts(c notice.AuditCounts) *nthlayerv1.AuditCounts {
	return &nthlayerv1.AuditCounts{
		Teams: int32(c.Teams), InSync: int32(c.InSync), OutOfSync: int32(c.OutOfSync), Unknown: int32(c.Unknown), Unread: int32(c.Unread),
		Open: int32(c.Open), Acknowledged: int32(c.Acknowledged), New: int32(c.New), Reopened: int32(c.Reopened), Resolved: int32(c.Resolved),
		Missed: int32(c.Missed), Ignored: int32(c.Ignored),
	}
}
