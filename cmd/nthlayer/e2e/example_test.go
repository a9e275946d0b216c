package e2e

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// Each team of the example organisation is a mess of its own kind (docs/simulators.md). What can be mended is, the rest is
// named, and a second pass finds nothing more to do.
func TestExample_EachMessIsNamed(t *testing.T) {
	type outcome struct{ Status, Reason, Sync, Summary, Issues string }
	want := map[string]outcome{
		"lumen-payments":       {"succeeded", "", "in_sync", "1 team updated, 2 members added, 1 role changed, 1 member removed", ""},
		"lumen-checkout":       {"succeeded", "", "in_sync", "nothing to do", ""},
		"lumen-legacy-billing": {"succeeded", "", "unknown", "nothing to do; 1 issue needs attention", "team_archived "},
		"lumen-search":         {"succeeded", "", "out_of_sync", "nothing to do; 3 issues need attention", "missing_email removal_held removal_held "},
		"lumen-mobile":         {"succeeded", "", "out_of_sync", "nothing to do; 2 issues need attention", "removal_held user_not_found "},
		"lumen-data-platform":  {"succeeded", "", "out_of_sync", "nothing to do; 2 issues need attention", "ambiguous_user removal_held "},
		"lumen-sre":            {"succeeded", "", "out_of_sync", "1 member removed; 2 issues need attention", "on_escalation_policy on_escalation_policy "},
		"lumen-security":       {"succeeded", "", "in_sync", "1 member added; 1 issue needs attention", "fixed_role "},
		"lumen-support":        {"succeeded", "", "out_of_sync", "1 member added; 1 issue needs attention", "cannot_join "},
		"lumen-identity":       {"succeeded", "", "in_sync", "1 team updated, 1 member removed", ""},
		"lumen-labs":           {"failed", "PLAN_DENIED", "out_of_sync", "", ""},
		"lumen-growth":         {"succeeded", "", "in_sync", "1 team created, 3 members added", ""},
		"lumen-web":            {"failed", "AMBIGUOUS_TEAM", "unknown", "", "ambiguous_team "},
	}
	o := org.Example()
	r := start(t, o, 2)
	var all []string
	for _, team := range o.Teams {
		all = append(all, team.Tag)
	}
	got := map[string]outcome{}
	for team, run := range r.reconcile(all...) {
		var kinds []string
		for _, issue := range run.GetPlan().GetIssues() {
			require.NotEmpty(t, issue.GetMessage(), team)
			kinds = append(kinds, issue.GetKind()+" ")
		}
		slices.Sort(kinds)
		o := outcome{Status: run.GetStatus(), Reason: run.GetError().GetReason(), Sync: r.syncStatus(team)}
		if o.Status == "succeeded" {
			o.Summary = run.GetSummary()
		}
		for _, kind := range kinds {
			o.Issues += kind
		}
		got[team] = o
	}
	require.Empty(t, cmp.Diff(want, got))

	_, left := r.pagerTeam("lumen/labs")
	require.Len(t, left, 3, "not emptied")
	before := r.writes()
	r.reconcile(all...)
	require.Equal(t, before, r.writes())
}
