// Package auditreport makes a report of what the API says of an audit.
//
// The API keeps findings as they stand now. The report is of the end of its audit: what was first seen later is left out,
// and what has been resolved since is still in it, with that status.
package auditreport

import (
	"cmp"
	"slices"
	"time"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/report"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Counts reports whether an audit came to its end by itself: only then is it part of a trend.
func Counts(a *nthlayerv1.Audit) bool {
	return audit.Ended(a.GetStatus()) && a.GetStatus() != audit.Canceled
}

// Make makes the report of an audit that has ended. before are the audits before it that count, the newest first; findings
// are all there are.
func Make(a *nthlayerv1.Audit, before []*nthlayerv1.Audit, findings []*nthlayerv1.AuditFinding) report.Report {
	n := notice.AuditFinished{
		AuditID: a.GetAuditId(), ScheduleID: a.GetScheduleId(), RequestedBy: a.GetRequestedBy(), Status: a.GetStatus(), Summary: a.GetSummary(),
		Read: a.GetRead(), ReadReason: a.GetReadReason(), StartedAt: a.GetCreatedAt().AsTime(), FinishedAt: a.GetFinishedAt().AsTime(),
		Counts: counts(a.GetCounts()),
		Calls: notice.AuditCalls{
			Cortex: int(a.GetProgress().GetCortexCalls()), PagerDuty: int(a.GetProgress().GetPagerdutyCalls()),
		},
		RunsStarted: int(a.GetRunsStarted()), ErrorReason: a.GetError().GetReason(), ErrorMessage: a.GetError().GetMessage(),
	}
	if a.GetStartedAt() != nil { // absent of one that was canceled before
		n.StartedAt = a.GetStartedAt().AsTime()
	}
	if a.GetPrevious() != nil {
		previous := counts(a.GetPrevious())
		n.Previous = &previous
	}
	for _, k := range a.GetKinds() {
		n.Kinds = append(n.Kinds, notice.AuditKind{
			Kind: k.GetKind(), Open: int(k.GetOpen()), Acknowledged: int(k.GetAcknowledged()), New: int(k.GetNew()), Resolved: int(k.GetResolved()),
		})
	}
	for _, t := range a.GetTopTeams() {
		n.TopTeams = append(n.TopTeams, notice.AuditTeam{TeamID: t.GetTeamId(), Name: t.GetName(), Open: int(t.GetOpen())})
	}
	for _, r := range a.GetIgnoreRules() {
		rule := r.GetRule()
		n.IgnoreRules = append(n.IgnoreRules, notice.AuditRule{
			RuleID: rule.GetRuleId(), TeamID: rule.GetTeamId(), Kind: rule.GetKind(), Value: rule.GetValue(), Reason: rule.GetReason(),
			Owner: rule.GetOwner(), Until: rule.GetExpiresAt().AsTime(), Ignored: int(r.GetIgnored()),
		})
	}
	for _, u := range a.GetUnread() {
		n.Unread = append(n.Unread, notice.AuditUnread{Reason: u.GetReason(), Message: u.GetMessage(), Teams: int(u.GetTeams())})
	}
	for _, past := range slices.Backward(before) {
		n.Trend = append(n.Trend, point(past))
	}
	n.Trend = append(n.Trend, point(a))

	scope := api.Scope(a.GetScope())
	seen := moment{audit: a, whole: scope.Whole(), teams: scope.Compile(), began: n.StartedAt, since: a.GetCreatedAt().AsTime()}
	if len(before) > 0 {
		seen.since = before[0].GetFinishedAt().AsTime()
	}
	r := report.Report{Audit: n}
	for _, f := range ordered(findings) {
		if !seen.inScope(f) {
			continue
		}
		if seen.stood(f) {
			r.Findings = append(r.Findings, item(f))
			if seen.fresh(f) {
				r.Audit.New = append(r.Audit.New, item(f))
			}
		}
		if seen.gone(f) {
			r.Audit.Resolved = append(r.Audit.Resolved, item(f))
		}
	}
	return r
}

// moment is the end of an audit, at which findings are looked at.
type moment struct {
	audit *nthlayerv1.Audit
	whole bool // nothing is out of scope
	teams audit.Teams
	began time.Time
	since time.Time // when the audit before ended
}

// inScope: what concerns no team of the source is part of audits that leave nothing out.
func (m moment) inScope(f *nthlayerv1.AuditFinding) bool {
	if f.GetTeamId() == "" {
		return m.whole
	}
	return m.teams.Matches(f.GetTeamId())
}

// stood reports a finding that was there and not resolved. Of one that came back later nobody knows.
func (m moment) stood(f *nthlayerv1.AuditFinding) bool {
	end := m.audit.GetFinishedAt().AsTime()
	switch {
	case f.GetFirstAuditId() != m.audit.GetAuditId() && f.GetFirstSeenAt().AsTime().After(end):
		return false
	case f.GetReopenedAt() != nil && f.GetReopenedAt().AsTime().After(end):
		return false
	default:
		return f.GetResolvedAt() == nil || f.GetResolvedAt().AsTime().After(end)
	}
}

// fresh reports a finding that the audit saw first, or saw return.
func (m moment) fresh(f *nthlayerv1.AuditFinding) bool {
	if f.GetFirstAuditId() == m.audit.GetAuditId() {
		return true
	}
	return f.GetReopenedAt() != nil && f.GetReopenedAt().AsTime().After(m.began)
}

// gone reports a finding that was resolved between the end of the audit before and that of this one.
func (m moment) gone(f *nthlayerv1.AuditFinding) bool {
	if f.GetResolvedAt() == nil {
		return false
	}
	at := f.GetResolvedAt().AsTime()
	return at.After(m.since) && !at.After(m.audit.GetFinishedAt().AsTime())
}

// ordered has what concerns a team together.
func ordered(findings []*nthlayerv1.AuditFinding) []*nthlayerv1.AuditFinding {
	return slices.SortedStableFunc(slices.Values(findings), func(a, b *nthlayerv1.AuditFinding) int {
		return cmp.Or(cmp.Compare(a.GetTeamId(), b.GetTeamId()), cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetEntityRef(), b.GetEntityRef()))
	})
}

func item(f *nthlayerv1.AuditFinding) notice.AuditItem {
	return notice.AuditItem{
		FindingID: f.GetFindingId(), TeamID: f.GetTeamId(), Kind: f.GetKind(), Category: f.GetCategory(), Entity: f.GetEntityRef(),
		Message: f.GetMessage(), Status: f.GetStatus(), Since: f.GetFirstSeenAt().AsTime(), Returned: f.GetReopened() > 0, ChangedBy: f.GetChangedBy(),
	}
}

func point(a *nthlayerv1.Audit) notice.AuditPoint {
	c := a.GetCounts()
	return notice.AuditPoint{
		At: a.GetFinishedAt().AsTime(), InSync: int(c.GetInSync()), OutOfSync: int(c.GetOutOfSync()), Unknown: int(c.GetUnknown()), Open: int(c.GetOpen()),
	}
}

func counts(c *nthlayerv1.AuditCounts) notice.AuditCounts {
	return notice.AuditCounts{
		Teams: int(c.GetTeams()), InSync: int(c.GetInSync()), OutOfSync: int(c.GetOutOfSync()), Unknown: int(c.GetUnknown()), Unread: int(c.GetUnread()),
		Open: int(c.GetOpen()), Acknowledged: int(c.GetAcknowledged()), New: int(c.GetNew()), Reopened: int(c.GetReopened()),
		Resolved: int(c.GetResolved()), Missed: int(c.GetMissed()), Ignored: int(c.GetIgnored()),
	}
}
