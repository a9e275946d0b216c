package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

func TestRemovedLately_CountsWhatNobodyApproved(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	outcomes := map[string]string{"PA": trail.Applied, "PB": trail.Unknown, "PC": trail.Failed, "PD": trail.Skipped}
	changes := []ownership.Change{{ID: "add_member:PE", Kind: ownership.AddMember, UserID: "PE"}}
	for user := range outcomes {
		changes = append(changes, ownership.Change{ID: "remove_member:" + user, Kind: ownership.RemoveMember, UserID: user})
	}
	require.NoError(t, c.Intend(t.Context(), changes))
	require.NoError(t, c.Settle(t.Context(), "add_member:PE", trail.Applied, "", nil))
	removed := func(team string) []string {
		users, err := s.RemovedLately(t.Context(), team, 24*time.Hour)
		require.NoError(t, err)
		return users
	}
	require.Len(t, removed("payments"), 4, "what is open may have happened; whoever is still there does not count in the end")
	for user, outcome := range outcomes {
		require.NoError(t, c.Settle(t.Context(), "remove_member:"+user, outcome, "", nil))
	}
	require.ElementsMatch(t, []string{"PA", "PB"}, removed("payments"), "it took effect, or may have")
	require.Empty(t, removed("search"), "another team")
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.Failed}))
	require.Len(t, removed("payments"), 2, "also of a run that failed in the end")

	exec(t, db, "UPDATE runs SET approved = true WHERE job_id = $1", id)
	require.Empty(t, removed("payments"), "it was approved")
	exec(t, db, "UPDATE runs SET approved = false WHERE job_id = $1", id)
	require.Len(t, removed("payments"), 2)
	exec(t, db, "UPDATE changes SET done_at = now() - interval '24 hours 1 second' WHERE job_id = $1", id)
	require.Empty(t, removed("payments"), "long ago")
}
