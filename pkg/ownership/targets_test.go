package ownership_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// A team without a team to be compared with is unknown, loses nobody, and its issue names what somebody can do about it.
func TestTargets_NothingToCompareWith_SaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		issue ownership.Issue
		kind  ownership.IssueKind
		says  []string
	}{
		"archived":         {ownership.Archived("t"), ownership.ArchivedTeam, []string{"take it down there by hand"}},
		"ambiguous":        {ownership.Ambiguous("t", "acme/t", 3), ownership.AmbiguousTeam, []string{"3 teams", `"acme/t"`, "pagerduty-team-id"}},
		"nameless":         {ownership.Nameless("t"), ownership.TeamNotFound, []string{"team t ", "declare one"}},
		"nowhere":          {ownership.Nowhere("t", "acme/t"), ownership.TeamNotFound, []string{`"acme/t"`, "create it there"}},
		"declared nowhere": {ownership.DeclaredNowhere("t", "P1"), ownership.TeamNotFound, []string{"team P1", "correct"}},
		"elsewhere":        {ownership.Elsewhere("t", "P1", "other"), ownership.LinkedElsewhere, []string{"team P1", "belongs to other"}},
	} {
		require.Equal(t, c.kind, c.issue.Kind, name)
		require.Equal(t, "team:t", c.issue.EntityRef, name)
		require.True(t, c.issue.BlocksRemovals, name)
		for _, part := range c.says {
			require.Contains(t, c.issue.Message, part, name)
		}
	}
}
