package audit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
)

func TestTells_ByRule(t *testing.T) {
	before := &notice.AuditCounts{Teams: 10, InSync: 8, OutOfSync: 2, Open: 3}
	same := notice.AuditCounts{Teams: 10, InSync: 8, OutOfSync: 2, Open: 3}
	with := func(change func(*notice.AuditCounts)) notice.AuditCounts {
		c := same
		change(&c)
		return c
	}
	unread := &notice.AuditCounts{Teams: 10, InSync: 8, Unknown: 2, Unread: 2}
	for name, c := range map[string]struct {
		audit                    notice.AuditFinished
		always, onChange, onNews bool
		why                      string
	}{
		"nothing changed": {notice.AuditFinished{Counts: same, Previous: before}, true, false, false, ""},
		"the first, and all is well": {
			notice.AuditFinished{Counts: notice.AuditCounts{Teams: 10, InSync: 10}}, true, true, false, "it is the first audit"},
		"something new": {
			notice.AuditFinished{Counts: with(func(c *notice.AuditCounts) { c.New = 1; c.Open = 4 }), Previous: before}, true, true, true, "1 findings are new or have returned"},
		"something returned": {
			notice.AuditFinished{Counts: with(func(c *notice.AuditCounts) { c.Reopened = 1 }), Previous: before}, true, true, true, "1 findings are new or have returned"},
		"something is gone": {
			notice.AuditFinished{Counts: with(func(c *notice.AuditCounts) { c.Resolved = 1 }), Previous: before}, true, true, false, "findings or statuses are other than at the audit before"},
		"a team is in sync again": {
			notice.AuditFinished{Counts: with(func(c *notice.AuditCounts) { c.InSync, c.OutOfSync = 9, 1 }), Previous: before}, true, true, false, "findings or statuses are other than at the audit before"},
		"something was acknowledged": {
			notice.AuditFinished{Counts: with(func(c *notice.AuditCounts) { c.Open, c.Acknowledged = 2, 1 }), Previous: before}, true, true, false, "findings or statuses are other than at the audit before"},
		"teams could not be read": {
			notice.AuditFinished{Counts: *unread, Previous: before}, true, true, true, "2 teams could not be read"},
		"teams could not be read, at the first": {
			notice.AuditFinished{Counts: *unread}, true, true, true, "2 teams could not be read"},
		"the same teams could not be read": {notice.AuditFinished{Counts: *unread, Previous: unread}, true, false, false, ""},
		"teams can be read again": {
			notice.AuditFinished{Counts: same, Previous: unread}, true, true, false, "findings or statuses are other than at the audit before"},
		"nothing was read of a fleet that nobody knows yet": {
			notice.AuditFinished{Status: audit.Failed}, true, true, true, "nothing could be read"},
	} {
		for rule, want := range map[string]bool{
			audit.Always: c.always, "": c.always, audit.OnChange: c.onChange, audit.OnNewFindings: c.onNews, audit.Never: false,
		} {
			tells, why := audit.Tells(rule, c.audit)
			require.Equal(t, want, tells, "%s: %q", name, rule)
			require.NotEmpty(t, why)
			if tells && rule != audit.Always && rule != "" {
				require.Equal(t, c.why, why, "%s: %q", name, rule)
			}
		}
	}
}

func TestEnded_AndCategories(t *testing.T) {
	for status, ended := range map[string]bool{
		audit.Queued: false, audit.Running: false, audit.Succeeded: true, audit.Incomplete: true, audit.Failed: true, audit.Canceled: true,
	} {
		require.Equal(t, ended, audit.Ended(status), status)
	}
	for kind, category := range map[string]string{
		"create_team": audit.Drift, "update_team": audit.Drift, "add_member": audit.Drift, "change_role": audit.Drift, "remove_member": audit.Drift,
		"removal_held": audit.Drift, "missing_email": audit.Identity, "user_not_found": audit.Identity, "ambiguous_user": audit.Identity,
		"cannot_join": audit.Identity, "fixed_role": audit.Identity, "on_escalation_policy": audit.Structure, "team_not_found": audit.Structure,
		"team_archived": audit.Structure, audit.OrphanTeam: audit.Structure, audit.SinglePersonTeam: audit.Structure,
		audit.SharedTarget: audit.Structure, audit.VanishedTeam: audit.Structure,
	} {
		require.Equal(t, category, audit.CategoryOf(kind), kind)
	}
}
