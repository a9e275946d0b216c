package work_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

// PagerDuty takes a change and PostgreSQL does not take its outcome: the change is found done, and stands once.
func TestHandle_OutcomeCannotBeWritten_IsLookedForNotRepeated(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	_, err := r.db.Exec(t.Context(), `
		CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM changes WHERE outcome IS NOT NULL) = 1 AND NOT EXISTS (SELECT FROM tripped) THEN
				PERFORM dblink_free(); -- there is no such function: an error that nobody knows
			END IF;
			RETURN NEW;
		END $$;
		CREATE TABLE tripped (at timestamptz);
		CREATE TRIGGER trip BEFORE UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION trip()`)
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status, "what nobody understands is tried again")
	require.Equal(t, 1, r.run(id).Attempt)
	_, err = r.db.Exec(t.Context(), "INSERT INTO tripped VALUES (now())")
	require.NoError(t, err)
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{"add_member ben applied", "add_member cem applied", "remove_member dan applied"}, r.trail(id))
	require.Equal(t, 3, r.pagerduty.Control().Calls().Writes, "no change was made twice")
}

// PagerDuty takes a change, its answer is lost, and PagerDuty stays away until the run is given up: nobody can know. The
// trail says so, and when the run lives again it says what had become of it.
func TestHandle_NobodyCanKnow_TrailSaysSo_AndSettlesItLater(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(
		control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true},
	))
	r.onCall("PUT", "/users/", func() {
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 500}))
	})
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, []string{"add_member ben unknown", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	require.Contains(t, r.members(), "ben")

	r.pagerduty.Control().ClearFaults()
	_, err := r.store.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{
		"add_member ben unknown", "add_member cem skipped", "remove_member dan skipped",
		"add_member ben applied", // what had become of it
		"add_member cem applied", "remove_member dan applied",
	}, r.trail(id))
	entries, err := r.store.Findings(t.Context(), store.FindingFilter{Limit: 100})
	require.NoError(t, err)
	var verifier trail.Verifier
	for _, e := range entries {
		require.NoError(t, verifier.Next(e))
	}
}

// A run is interrupted after its plan was made, and goes on much later. What was declared has changed: dan belongs to the
// team now.
func interruptedThenDanIsDeclared(t *testing.T, age string) (r *rig, id uuid.UUID) {
	r = start(t, nil)
	id = r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "DELETE *", Status: 500}))
	r.handle(id)
	r.pagerduty.Control().ClearFaults()
	require.Equal(t, store.Queued, r.run(id).Status)
	require.NotEqual(t, declared, r.members(), "it was interrupted")
	r.declare(`"members":["ben","cem"]`, `"members":["ben","cem","dan"]`)
	r.exec("UPDATE checkpoints SET updated_at = updated_at - $1::interval", age)
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	return r, id
}

func TestHandle_InterruptedForLong_PlansAnew(t *testing.T) {
	r, id := interruptedThenDanIsDeclared(t, "2 minutes")
	require.Contains(t, r.members(), "dan", "the old plan would have removed him")
	for _, line := range r.trail(id) {
		require.NotContains(t, line, "remove_member dan applied")
	}
	require.Contains(t, r.trail(id), "add_member ben applied")
	require.Contains(t, r.trail(id), "add_member cem applied")
}

// The control: a plan that is taken for young is applied as it was.
func TestControl_WithoutTheAgeOfThePlan_AnOldOneIsApplied(t *testing.T) {
	r, _ := interruptedThenDanIsDeclared(t, "0 minutes")
	require.NotContains(t, r.members(), "dan")
}

// Somebody removes the person at the same moment, and PagerDuty's reads lag: it does not find the membership any more,
// and still shows it.
func TestHandle_RemovedByAnotherWhileReadsLag_IsDone(t *testing.T) {
	r := start(t, nil)
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: 600})
	id := r.accept()
	r.onCall("DELETE", "/users/", func() { r.pd("DELETE", "dan", "") })
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, declared, r.members())
}

// Everything was applied before the run was interrupted and planned anew; there is nothing left to do, and yet it is told
// what was changed.
func TestHandle_AppliedInAnEarlierRound_IsTold(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	r.onCall("DELETE", "/users/", func() { r.exec("ALTER TABLE findings RENAME TO findings_away") })
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	require.Equal(t, declared, r.members())
	r.exec("ALTER TABLE findings_away RENAME TO findings")
	r.exec("UPDATE checkpoints SET updated_at = now() - interval '1 hour'")
	r.due()
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Succeeded, run.Status)
	require.Equal(t, "2 members added, 1 member removed", run.Summary)
	require.Len(t, applied(r.trail(id)), 3)
	require.Equal(t, 1, r.told())
}

// A run was begun by a program that knew no rounds, and is planned anew by this one: what it applies is what was decided
// on, not what the old program had intended.
func TestHandle_BegunBeforeThereWereRounds_AppliesWhatItPlanned(t *testing.T) {
	r := start(t, nil)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: 500}))
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE runs SET round = 0, available_at = now()") // as the old program left it
	r.exec("UPDATE changes SET round = 0")
	r.exec("UPDATE checkpoints SET round = 0, updated_at = now() - interval '20 minutes'")
	r.pd("DELETE", "dan", "")
	r.declare(`"maintainers":["ann"],"members":["ben","cem"]`, `"maintainers":["ben"],"members":["cem"]`)
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, map[string]string{"ben": "manager", "cem": "responder"}, r.members())
}

// Nobody knew what had become of a change. It is found out, and at that moment the trail cannot be written: what was found
// is not lost.
func TestHandle_FoundOutButNotSealed_IsSealedLater(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.onCall("PUT", "/users/", func() {
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 500}))
	})
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, "add_member ben unknown", r.trail(id)[0])
	r.pagerduty.Control().ClearFaults()
	_, err := r.store.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	r.exec("ALTER TABLE findings RENAME TO findings_away")
	require.Error(t, r.worker.Handle(t.Context(), message(id)))
	r.exec("ALTER TABLE findings_away RENAME TO findings")
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.exec("UPDATE runs SET available_at = now(), attempt = 0")
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Contains(t, r.trail(id), "add_member ben applied")
}

// A change took effect and nobody wrote that down; the run is canceled when its plan has become too old.
func TestHandle_CanceledInALaterRound_TrailKnowsTheEarlier(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	require.Contains(t, r.members(), "ben")
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE checkpoints SET updated_at = now() - interval '1 hour'")
	_, err := r.store.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Canceled, r.run(id).Status)
	require.Equal(t, []string{"add_member ben applied", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	require.Equal(t, 1, r.told(), "somebody was added")
}

// A change took effect, its answer is lost, and reads lag: the last look waits for it to show.
func TestHandle_GivenUpWhileReadsLag_WaitsForTheChangeToShow(t *testing.T) {
	r := start(t, func(o *work.Options) { o.MaxAttempts = 1 })
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: 800})
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Drop: true, After: true}))
	r.handle(id)
	require.Equal(t, store.DeadLettered, r.run(id).Status)
	require.Equal(t, []string{"add_member ben applied", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
}

// Two declared teams find the same team of the target at the same moment: one gets it, the other changes nothing.
func TestHandle_TwoTeamsOneTarget_OneChangesIt(t *testing.T) {
	r := start(t, nil)
	targetID, _ := r.account("ann")
	other, _, err := r.store.Accept(t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte("y"), TeamID: "other", Request: store.Request{Source: "cortex", Desired: &ownership.Desired{
			Name: "payments", TargetID: targetID, Members: []ownership.Member{{Email: "eve@example.org"}, {Email: "dan@example.org"}, {Email: "ann@example.org"}},
		}},
	})
	require.NoError(t, err)
	id := r.accept()
	var begun atomic.Bool
	r.mu.Lock()
	r.before = func(req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/members") && begun.CompareAndSwap(false, true) {
			r.handle(other)
		}
	}
	r.mu.Unlock()
	r.handle(id)
	runs := []store.Run{r.run(id), r.run(other)}
	t.Log(runs[0].Status, runs[0].ErrorReason, r.trail(id), runs[1].Status, runs[1].ErrorReason, r.trail(other))
	require.Equal(t, store.Succeeded, runs[1].Status)
	require.Equal(t, store.Failed, runs[0].Status)
	require.Equal(t, "LINKED_ELSEWHERE", runs[0].ErrorReason)
	require.Empty(t, applied(r.trail(id)), "two writers on one team")
}

// A run is given up for good, and its end cannot be written. Who takes it up afterwards does not take what was given up for
// done.
func TestHandle_EndCannotBeWritten_IsNoSuccess(t *testing.T) {
	r := start(t, nil)
	id := r.accept()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: 403}))
	r.exec("ALTER TABLE deliveries RENAME TO deliveries_away")
	require.Error(t, r.worker.Handle(t.Context(), message(id)))
	r.exec("ALTER TABLE deliveries_away RENAME TO deliveries")
	r.pagerduty.Control().ClearFaults()
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Len(t, applied(r.trail(id)), 3)
}

// What PagerDuty refused was not made: there is nothing to doubt.
func TestHandle_Refused_IsNotInDoubt(t *testing.T) {
	for _, refusal := range []int{429, 403} {
		r := start(t, func(o *work.Options) { o.Patience = 0 })
		id := r.accept()
		require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "PUT /teams/*/users/*", Status: refusal}))
		r.handle(id)
		require.Equal(t, []string{"add_member ben skipped", "add_member cem skipped", "remove_member dan skipped"}, r.trail(id))
	}
}

// fresh accepts a run for a team that PagerDuty does not have.
func (r *rig) fresh(team string, dry bool) uuid.UUID {
	r.t.Helper()
	id, _, err := r.store.Accept(r.t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte(team), TeamID: team, Request: store.Request{Source: "cortex", DryRun: dry, Desired: &ownership.Desired{
			Name: "fresh", Members: []ownership.Member{{Email: "eve@example.org"}},
		}},
	})
	require.NoError(r.t, err)
	return id
}

// PagerDuty has created a team, which is written down, and it is not written which team is linked to it.
func TestHandle_CreatedAndNotLinked_IsFoundAgain(t *testing.T) {
	r := start(t, nil)
	id := r.fresh("fresh", false)
	r.onCall("POST", "/teams", func() { r.exec("ALTER TABLE links RENAME TO links_away") })
	_ = r.worker.Handle(t.Context(), message(id)) // the end of the attempt can be written or not
	r.exec("ALTER TABLE links_away RENAME TO links")
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.due()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, []string{"create_team fresh applied", "add_member eve applied"}, r.trail(id))
	require.Len(t, r.pagerduty.State().(pagerdutysim.State).Teams, 2)
}

// Before a team is created, another run creates one of its name: that is not ours, in PagerDuty and in the trail.
func TestHandle_CreatedByAnother_IsNotOurs(t *testing.T) {
	r := start(t, nil)
	id, other := r.fresh("fresh", false), r.fresh("fresh2", false)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "POST /teams", Status: 500}))
	r.handle(id)
	require.Equal(t, store.Queued, r.run(id).Status)
	r.pagerduty.Control().ClearFaults()
	r.handle(other)
	require.Equal(t, store.Succeeded, r.run(other).Status)
	r.due()
	r.handle(id)
	require.Equal(t, "LINKED_ELSEWHERE", r.run(id).ErrorReason)
	require.Empty(t, applied(r.trail(id)))
}
