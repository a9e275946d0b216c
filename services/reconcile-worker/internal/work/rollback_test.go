package work_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

func (r *rig) ask(request store.Request) uuid.UUID {
	r.t.Helper()
	id, _, err := r.store.Accept(r.t.Context(), store.NewRun{Principal: "alice", RequestHash: []byte("x"), TeamID: team, Request: request})
	require.NoError(r.t, err)
	r.handle(id)
	return id
}

func TestHandle_Rollback_TeamIsAsBefore(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	require.Equal(t, declared, r.members())
	undo := r.ask(store.Request{RollbackOf: id.String(), Reason: "too early"})
	run := r.run(undo)
	require.Equal(t, store.Succeeded, run.Status, run.ErrorMessage)
	require.Equal(t, store.TypeRollback, run.Type)
	require.Equal(t, "undone: 1 member added, 2 members removed", run.Summary)
	require.Equal(t, untouched, r.members())
	require.Equal(t, []string{"add_member dan applied", "remove_member ben applied", "remove_member cem applied"}, r.trail(undo))
	// And the way back again.
	redo := r.ask(store.Request{RollbackOf: undo.String()})
	require.Equal(t, store.Succeeded, r.run(redo).Status)
	require.Equal(t, declared, r.members())
	entries, err := r.store.Findings(t.Context(), store.FindingFilter{JobID: undo, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "too early", entries[0].Reason)
}

// What was changed since is shown and left alone; the rest is undone.
func TestHandle_RollbackOfWhatChangedSince_LeavesItAlone(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	r.pd("PUT", "ben", `{"role":"manager"}`)
	undo := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Succeeded, r.run(undo).Status)
	require.Equal(t, map[string]string{"ann": "manager", "ben": "manager", "dan": "responder"}, r.members())
	require.Equal(t, []string{"add_member dan applied", "remove_member cem applied", "changed_since ben reported"}, r.trail(undo))
}

func TestHandle_RollbackDry_ChangesNothing(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	undo := r.ask(store.Request{RollbackOf: id.String(), DryRun: true})
	require.Equal(t, store.Succeeded, r.run(undo).Status)
	require.Equal(t, declared, r.members())
	require.Len(t, r.run(undo).Result.Plan.Changes, 3)
}

func TestHandle_RollbackTwice_NothingIsLeftToDo(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	r.ask(store.Request{RollbackOf: id.String()})
	again := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Succeeded, r.run(again).Status)
	require.Equal(t, "undone: nothing to do", r.run(again).Summary)
	require.Equal(t, untouched, r.members())
}

// A rollback passes the same rules as any plan: here it would take more out of the team than may leave without approval.
func TestHandle_Rollback_PassesTheSameRules(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.approve(id, hash, "bob")
	r.handle(id)
	undo := r.ask(store.Request{RollbackOf: id.String()})
	back := r.waits(undo)
	require.Equal(t, declared, r.members())
	r.approve(undo, back, "bob")
	r.handle(undo)
	require.Equal(t, store.Succeeded, r.run(undo).Status)
	require.Equal(t, untouched, r.members())
}

// Killed between its changes, a rollback goes on and undoes each once.
func TestHandle_RollbackInterrupted_GoesOn(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	r.pagerduty.Control().ClearCalls()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "DELETE *", Status: 500, Times: 2}))
	undo := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Queued, r.run(undo).Status)
	r.due()
	r.handle(undo)
	require.Equal(t, store.Succeeded, r.run(undo).Status)
	require.Equal(t, untouched, r.members())
	require.Len(t, applied(r.trail(undo)), 3)
}

func TestHandle_Chosen_AppliesThatAlone(t *testing.T) {
	for name, c := range map[string]struct {
		request store.Request
		want    map[string]string
	}{
		"only adds":       {store.Request{Only: []string{"add_member"}}, map[string]string{"ann": "manager", "ben": "responder", "cem": "responder", "dan": "responder"}},
		"all but removal": {store.Request{Exclude: []string{"remove_member"}}, map[string]string{"ann": "manager", "ben": "responder", "cem": "responder", "dan": "responder"}},
		"one by its id":   {store.Request{Only: []string{"add_member:person:cem@example.org"}}, map[string]string{"ann": "manager", "cem": "responder", "dan": "responder"}},
		"all but one":     {store.Request{Exclude: []string{"add_member:person:cem@example.org"}}, map[string]string{"ann": "manager", "ben": "responder"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil)
			id := r.ask(c.request)
			run := r.run(id)
			require.Equal(t, store.Succeeded, run.Status, run.ErrorMessage)
			require.Equal(t, c.want, r.members())
			team, err := r.store.Team(t.Context(), team)
			require.NoError(t, err)
			require.EqualValues(t, "out_of_sync", team.SyncStatus, "what was left out is still to do")
			require.Contains(t, run.Summary, "left out")
		})
	}
}

// An id that the plan does not have was chosen from another plan: nothing is guessed.
func TestHandle_ChosenFromAnotherPlan_ChangesNothing(t *testing.T) {
	r := start(t, nil)
	id := r.ask(store.Request{Exclude: []string{"remove_member:person:eve@example.org"}})
	require.Equal(t, store.Failed, r.run(id).Status)
	require.Equal(t, "SELECTION_DIFFERS", r.run(id).ErrorReason)
	require.Equal(t, untouched, r.members())
}

// What nobody knows whether it happened is undone as far as it did: nobody who came in somebody's place leaves alone.
func TestHandle_RollbackOfAnUnknownChange_GoesByWhatIsThere(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "DELETE *", Drop: true, After: true}))
	r.onCall("DELETE", "/users/", func() {
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 500}))
	})
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Contains(t, r.trail(id), "remove_member dan unknown")
	r.pagerduty.Control().ClearFaults()
	require.NotContains(t, r.members(), "dan")
	undo := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Succeeded, r.run(undo).Status, r.run(undo).ErrorMessage)
	require.Equal(t, untouched, r.members())
}

// Where somebody cannot be put back, nobody leaves.
func TestHandle_RollbackCannotPutSomebodyBack_NobodyLeaves(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.handle(id)
	r.pd("PUT", "dan", `{"role":"observer"}`)
	undo := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Succeeded, r.run(undo).Status)
	require.Equal(t, map[string]string{"ann": "manager", "ben": "responder", "cem": "responder", "dan": "observer"}, r.members())
	require.Equal(t, []string{"changed_since dan reported", "removal_held ben reported", "removal_held cem reported"}, r.trail(undo))
}
