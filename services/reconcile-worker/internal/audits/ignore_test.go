package audits_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// What a rule hides opens no finding, and closes one that was open, until the rule has expired.
func TestAudit_IgnoreRule_HidesWhatIsFound_UntilItExpires(t *testing.T) {
	r := known(t, 8)
	tag := r.quiet()[0]
	userID, email, _ := r.unheld(tag)
	missing := tag + " add_member person:" + email
	r.by(theirs, http.MethodDelete, "/teams/"+r.targets()[tag]+"/users/"+userID, "")
	before := r.whole(nil).Report.Counts
	require.Contains(t, r.findings(store.FindingOpen), missing)

	rule, err := r.CreateIgnoreRule(t.Context(), ownership.IgnoreRule{
		TeamID: tag, Kind: ownership.IgnorePerson, Value: email, Reason: "on loan", Owner: "sre@example.org",
	}, "bob")
	require.NoError(t, err)
	a := r.whole(nil)
	require.NotContains(t, r.findings(store.FindingOpen), missing)
	require.Equal(t, before.OutOfSync-1, a.Report.Counts.OutOfSync)
	require.Equal(t, 1, a.Report.Counts.Ignored)
	require.Equal(t, rule.ID, a.Report.IgnoreRules[0].RuleID)

	r.exec("UPDATE ignore_rules SET expires_at = now()")
	a = r.whole(nil)
	require.Contains(t, r.findings(store.FindingOpen), missing)
	require.Equal(t, 1, a.Report.Counts.Reopened)
	require.Equal(t, before.OutOfSync, a.Report.Counts.OutOfSync)
}

// A team that the source does not declare any more is left alone as well where a rule says so.
func TestAudit_IgnoredTeamVanishes_IsNoFinding(t *testing.T) {
	r := known(t, 8)
	linked := r.org.Teams[7].Tag
	r.exec("INSERT INTO links (team_id, source, target, target_id) VALUES ($1, 'cortex', 'pagerduty', $2)", linked, r.targets()[linked])
	smaller := *r.org
	smaller.Teams = r.org.Teams[:7]
	require.NoError(t, r.cortex.LoadOrg(&smaller))
	_, err := r.CreateIgnoreRule(t.Context(), ownership.IgnoreRule{
		TeamID: linked, Kind: ownership.IgnoreTeam, Value: linked, Reason: "being moved", Owner: "sre@example.org",
	}, "bob")
	require.NoError(t, err)
	vanished := linked + " team_vanished team:" + linked
	a := r.whole(nil)
	require.Equal(t, 1, a.Report.Counts.Ignored)
	require.NotContains(t, r.findings(store.FindingOpen), vanished)

	r.exec("UPDATE ignore_rules SET expires_at = now()")
	r.whole(nil)
	require.Contains(t, r.findings(store.FindingOpen), vanished, "control: without the rule")
}
