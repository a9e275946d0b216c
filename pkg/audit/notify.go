package audit

import (
	"fmt"

	"github.com/nthlayer/nthlayer/pkg/notice"
)

// The rules by which an audit is told of.
const (
	Always        = "always"
	OnChange      = "on_change"
	OnNewFindings = "on_new_findings"
	Never         = "never"
)

// Tells says whether an audit is to be told of under a rule, and why. An audit that could read less than the one before is
// always a change: silence would be taken for health.
func Tells(rule string, a notice.AuditFinished) (tell bool, why string) {
	c := a.Counts
	fresh := c.New + c.Reopened
	switch rule {
	case Never:
		return false, "the schedule tells nobody"
	case OnNewFindings:
		if fresh == 0 && !worse(a) {
			return false, "nothing new was found"
		}
	case OnChange:
		if fresh+c.Resolved == 0 && a.Previous != nil && !moved(c, *a.Previous) {
			return false, "nothing has changed since the audit before"
		}
	default:
		return true, "the schedule tells of every audit"
	}
	switch {
	case worse(a) && c.Unread == 0:
		return true, "nothing could be read"
	case worse(a):
		return true, fmt.Sprintf("%d teams could not be read", c.Unread)
	case fresh > 0:
		return true, fmt.Sprintf("%d findings are new or have returned", fresh)
	case a.Previous == nil:
		return true, "it is the first audit"
	default:
		return true, "findings or statuses are other than at the audit before"
	}
}

// worse reports that more teams could not be read than at the audit before. Of a fleet that was never read no team is
// known that could be counted.
func worse(a notice.AuditFinished) bool {
	if a.Status == Failed && a.Previous == nil {
		return true
	}
	return a.Counts.Unread > 0 && (a.Previous == nil || a.Counts.Unread > a.Previous.Unread)
}

// moved compares what a reader would see.
func moved(a, b notice.AuditCounts) bool {
	return a.InSync != b.InSync || a.OutOfSync != b.OutOfSync || a.Unknown != b.Unknown || a.Unread != b.Unread ||
		a.Open != b.Open || a.Acknowledged != b.Acknowledged
}
