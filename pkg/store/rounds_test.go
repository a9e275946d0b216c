package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

func TestRounds_YoungPlanGoesOn_OldOneIsMadeAnew(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.Equal(t, 1, c.Run.Round)
	add := []ownership.Change{{ID: "add", Kind: ownership.AddMember}, {ID: "remove", Kind: ownership.RemoveMember}}
	require.NoError(t, c.Save(t.Context(), []byte(`{"plan":"one"}`)))
	require.NoError(t, c.Intend(t.Context(), add))
	require.NoError(t, c.Settle(t.Context(), "add", trail.Applied, "", nil))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))

	c = claim(t, s, id)
	require.Equal(t, 1, c.Run.Round, "the plan is young enough")
	snapshot, err := c.Load(t.Context())
	require.NoError(t, err)
	require.JSONEq(t, `{"plan":"one"}`, string(snapshot))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))

	exec(t, db, "UPDATE checkpoints SET updated_at = now() - interval '2 minutes'")
	c = claim(t, s, id)
	require.Equal(t, 2, c.Run.Round)
	snapshot, err = c.Load(t.Context())
	require.NoError(t, err)
	require.Nil(t, snapshot)
	changes, err := c.Changes(t.Context())
	require.NoError(t, err)
	require.Empty(t, changes, "this round has intended nothing yet")
	earlier, err := c.Earlier(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"add", "remove"}, []string{earlier[0].Ref, earlier[1].Ref})
	require.Equal(t, []string{trail.Applied, ""}, []string{earlier[0].Outcome, earlier[1].Outcome})

	// The same change may be needed once more, and is another intent.
	require.NoError(t, c.Intend(t.Context(), add))
	changes, err = c.Changes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"add#2", "remove#2"}, []string{changes[0].Ref, changes[1].Ref})
	require.Equal(t, "add", changes[0].ID)
	require.Empty(t, changes[0].Outcome)
	require.NoError(t, c.Settle(t.Context(), "remove", trail.Unknown, "", nil))
	require.NoError(t, c.Settle(t.Context(), "remove", trail.Applied, "", nil), "what was unknown may become known")
	earlier, err = c.Earlier(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{trail.Applied, trail.Applied}, []string{earlier[0].Outcome, earlier[1].Outcome})
}

// A run that a program began which knew no rounds is planned anew: its new intents are another round's.
func TestClaim_BegunBeforeThereWereRounds_IsAnotherRound(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.NoError(t, c.Save(t.Context(), []byte(`{}`)))
	removal := func(id string) ownership.Change { return ownership.Change{ID: id, Kind: ownership.RemoveMember} }
	require.NoError(t, c.Intend(t.Context(), []ownership.Change{removal("a")}))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))
	exec(t, db, "UPDATE runs SET round = 0; UPDATE changes SET round = 0; UPDATE checkpoints SET round = 0, updated_at = now() - interval '1 hour'")
	c = claim(t, s, id)
	require.Equal(t, 2, c.Run.Round)
	require.NoError(t, c.Intend(t.Context(), []ownership.Change{removal("a"), removal("b")}))
	changes, err := c.Changes(t.Context())
	require.NoError(t, err)
	require.Len(t, changes, 2)
	earlier, err := c.Earlier(t.Context())
	require.NoError(t, err)
	require.Len(t, earlier, 1)
}

// The same, but its plan was young: it is given up in its old round, and its next life is another.
func TestClaim_BegunBeforeThereWereRounds_NextLifeIsAnotherRound(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.NoError(t, c.Save(t.Context(), []byte(`{}`)))
	require.NoError(t, c.Defer(t.Context(), store.Postponement{}))
	exec(t, db, "UPDATE runs SET round = 0; UPDATE checkpoints SET round = 0")
	c = claim(t, s, id)
	require.Zero(t, c.Run.Round)
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "X", Sync: ownership.Unknown}))
	_, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Equal(t, 2, claim(t, s, id).Run.Round)
}
