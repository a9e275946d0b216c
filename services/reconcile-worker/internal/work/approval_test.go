package work_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// untouched is the team as it is before anything is applied.
var untouched = map[string]string{"ann": "manager", "dan": "responder"}

// startProtected starts a rig whose policy wants each change of the team approved.
func startProtected(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "params.yaml"), []byte("protected_teams: {teams: [payments]}\n"), 0o600))
	return startBy(t, dir, nil)
}

func vote(who string) policy.Vote {
	return policy.Vote{Principal: who, Roles: []string{"viewer", "approver"}, Via: "api", At: time.Now()}
}

// awaiting has a run stop for approval, and gives the hash of its plan.
func (r *rig) awaiting() (uuid.UUID, string) {
	r.t.Helper()
	id := r.accept()
	r.handle(id)
	return id, r.waits(id)
}

// waits proves that the run waits for approval and has changed nothing.
func (r *rig) waits(id uuid.UUID) string {
	r.t.Helper()
	require.Equal(r.t, store.Awaiting, r.run(id).Status, r.run(id).ErrorMessage)
	a, err := r.store.Approval(r.t.Context(), id)
	require.NoError(r.t, err)
	require.Equal(r.t, r.run(id).Result.Plan.Hash(), a.PlanHash)
	return a.PlanHash
}

func (r *rig) approve(id uuid.UUID, hash, who string) {
	r.t.Helper()
	_, err := r.store.Approve(r.t.Context(), id, hash, vote(who))
	require.NoError(r.t, err)
}

func TestHandle_NeedsApproval_WaitsAndAppliesThatPlanOnceApproved(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	require.Equal(t, untouched, r.members())
	require.Equal(t, []string{"add_member ben awaiting_approval", "add_member cem awaiting_approval", "remove_member dan awaiting_approval"}, r.trail(id))
	require.Equal(t, 1, r.told())
	r.handle(id) // a message that came twice
	r.waits(id)

	r.approve(id, hash, "bob")
	run := r.run(id)
	require.Equal(t, store.Queued, run.Status)
	r.approve(id, hash, "bob") // twice is once
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status, r.run(id).ErrorMessage)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{
		"add_member ben awaiting_approval", "add_member cem awaiting_approval", "remove_member dan awaiting_approval",
		"approve " + id.String() + " reported",
		"add_member ben applied", "add_member cem applied", "remove_member dan applied",
	}, r.trail(id))
	entries, err := r.store.Findings(t.Context(), store.FindingFilter{JobID: id, Limit: 100})
	require.NoError(t, err)
	require.Equal(t, "bob", entries[3].Actor)
	for _, e := range entries[4:] {
		require.Equal(t, hash, e.PlanHash)
		require.Equal(t, []string{"bob"}, e.ApprovedBy)
		require.Equal(t, "require_approval", e.Decision.Verdict)
		require.NotEmpty(t, e.Decision.Revision)
	}
	var verifier trail.Verifier
	for _, e := range entries {
		require.NoError(t, verifier.Next(e))
	}
}

// Whoever approved saw another plan: it is shown anew, and the old approval counts for nothing.
func TestHandle_ChangedSinceItWasApproved_AsksAgain(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"the source":                  func(r *rig) { r.declare(`"members":["ben","cem"]`, `"members":["ben","cem","eve"]`) },
		"the target":                  func(r *rig) { r.pd("PUT", "eve", `{"role":"responder"}`) },
		"the target, not the changes": func(r *rig) { r.pd("PUT", "cem", `{"role":"responder"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			r := startProtected(t)
			id, hash := r.awaiting()
			change(r)
			before := r.members()
			r.approve(id, hash, "bob")
			r.handle(id)
			again := r.waits(id)
			require.NotEqual(t, hash, again)
			require.Equal(t, before, r.members())
			require.Empty(t, applied(r.trail(id)))
			_, err := r.store.Approve(t.Context(), id, hash, vote("bob"))
			require.Equal(t, "PLAN_CHANGED", fault.ReasonOf(err))
			r.approve(id, again, "bob")
			r.handle(id)
			require.Equal(t, store.Succeeded, r.run(id).Status)
		})
	}
}

// The control: where the old approval is taken for one of the plan as it is now, what nobody has seen is applied.
func TestControl_ApprovalCarriedOverToAnotherPlan_AppliesWhatNobodySaw(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.declare(`"members":["ben","cem"]`, `"members":["ben","cem","eve"]`)
	r.approve(id, hash, "bob")
	var votes string
	require.NoError(t, r.db.QueryRow(t.Context(), "SELECT votes FROM approvals").Scan(&votes))
	r.handle(id)
	r.waits(id)
	r.exec("UPDATE approvals SET votes = $1", votes)
	r.exec("UPDATE runs SET status = 'queued', awaiting_until = NULL, available_at = now()")
	r.handle(id)
	require.Contains(t, r.members(), "eve")
}

func TestApprove_WhoDoesNotCount_IsRefused(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	for reason, v := range map[string]policy.Vote{"SELF_APPROVAL": vote("alice"), "ROLE_NOT_ASKED": {Principal: "olga", Roles: []string{"viewer", "operator"}}} {
		_, err := r.store.Approve(t.Context(), id, hash, v)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
		require.Equal(t, fault.PermissionDenied, fault.KindOf(err))
	}
	_, err := r.store.Approve(t.Context(), uuid.New(), hash, vote("bob"))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	r.waits(id)
	require.NotContains(t, r.trail(id), "approve "+id.String()+" reported")
}

// Two people are asked for: one of them is not enough, however often.
func TestApprove_TwoPersonRule_WaitsForTheSecond(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.exec(`UPDATE approvals SET decision = jsonb_set(decision, '{approvers}', '[{"role":"approver","count":2}]')`)
	r.approve(id, hash, "bob")
	r.approve(id, hash, "bob")
	r.waits(id)
	r.approve(id, hash, "carol")
	require.Equal(t, store.Queued, r.run(id).Status)
}

func TestHandle_NobodyApproves_EndsWithNothingChanged(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.exec("UPDATE runs SET available_at = now(), awaiting_until = now() - interval '1 second'")
	_, err := r.store.Approve(t.Context(), id, hash, vote("bob"))
	require.Equal(t, "APPROVAL_EXPIRED", fault.ReasonOf(err))
	calls := len(r.pagerduty.Control().Calls().Calls)
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Failed, run.Status)
	require.Equal(t, "APPROVAL_EXPIRED", run.ErrorReason)
	require.NotNil(t, run.Result, "what it waited with is still shown")
	require.Len(t, r.pagerduty.Control().Calls().Calls, calls)
	require.Equal(t, untouched, r.members())
}

func TestReject_EndsTheRun_WhoAndWhyStandInTheTrail(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	_, err := r.store.Reject(t.Context(), id, "0"+hash[1:], "bob", "", "api")
	require.Equal(t, "PLAN_CHANGED", fault.ReasonOf(err))
	_, err = r.store.Reject(t.Context(), id, hash, "bob", "dan stays", "slack")
	require.NoError(t, err)
	_, err = r.store.Approve(t.Context(), id, hash, vote("carol"))
	require.Equal(t, "NOT_AWAITING_APPROVAL", fault.ReasonOf(err))
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Canceled, run.Status)
	require.Equal(t, "canceled by bob: the plan was rejected: dan stays", run.ErrorMessage)
	require.Equal(t, untouched, r.members())
	require.Contains(t, r.trail(id), "reject "+id.String()+" reported")
}

// The rules have become stricter since the approval: the plan is judged by those of today.
func TestHandle_DeniedSinceItWasApproved_IsNotApplied(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.approve(id, hash, "bob")
	r.exec("UPDATE approvals SET votes = '[]'") // as if they had asked for somebody else
	r.handle(id)
	r.waits(id)
	require.Equal(t, untouched, r.members())
}

// A worker dies with an approved run in its hands: whoever takes it up needs no second approval for the same plan.
func TestHandle_ApprovedAndWorkerDies_NextOneApplies(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.approve(id, hash, "bob")
	_, err := r.store.Claim(t.Context(), id, store.Terms{Owner: "dead", Lease: time.Minute})
	require.NoError(t, err)
	r.exec("UPDATE leases SET until = to_timestamp(0)")
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
}

// While a run waits, others may work on its team.
func TestHandle_WhileOneWaits_AnotherRunOfTheTeamIsDone(t *testing.T) {
	r := startProtected(t)
	first, hash := r.awaiting()
	second, secondHash := r.awaiting()
	require.Equal(t, hash, secondHash)
	r.approve(second, secondHash, "bob")
	r.handle(second)
	require.Equal(t, declared, r.members())
	r.approve(first, hash, "bob")
	r.handle(first)
	require.Equal(t, store.Succeeded, r.run(first).Status)
	require.Empty(t, applied(r.trail(first)), "there was nothing left to do")
}

func TestCancel_WhileItWaits_EndsIt(t *testing.T) {
	r := startProtected(t)
	id, _ := r.awaiting()
	_, err := r.store.Cancel(t.Context(), id, "alice", "changed my mind")
	require.NoError(t, err)
	r.handle(id)
	require.Equal(t, store.Canceled, r.run(id).Status)
	require.Equal(t, untouched, r.members())
}

func TestHandle_DryRunThatNeedsApproval_SaysSo(t *testing.T) {
	r := startProtected(t)
	id, _, err := r.store.Accept(t.Context(), store.NewRun{Principal: "alice", RequestHash: []byte("d"), TeamID: team, Request: store.Request{DryRun: true}})
	require.NoError(t, err)
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Succeeded, run.Status)
	require.Equal(t, "dry run: 2 members added, 1 member removed; needs approval", run.Summary)
}

// asking are the messages that ask for approvals, each with what it says now, the oldest first.
func (r *rig) asking() (said []notice.ApprovalRequested) {
	r.t.Helper()
	deliveries, err := r.store.Deliveries(r.t.Context(), store.DeliveryFilter{Limit: 100})
	require.NoError(r.t, err)
	for _, d := range slices.Backward(deliveries) {
		n, err := notice.Decode(d.Payload)
		require.NoError(r.t, err)
		if n.Approval != nil {
			require.Equal(r.t, store.Pending, d.Status)
			said = append(said, *n.Approval)
		}
	}
	return said
}

// The message that asks for an approval says what became of that, in the transaction in which it became so.
func TestApproval_MessageSaysWhatBecameOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(r *rig, id uuid.UUID, hash string)
		outcome string
		message string
		votes   int
	}{
		"waits":    {func(*rig, uuid.UUID, string) {}, "", "", 0},
		"approved": {func(r *rig, id uuid.UUID, hash string) { r.approve(id, hash, "bob") }, "approved", "", 1},
		"applied":  {func(r *rig, id uuid.UUID, hash string) { r.approve(id, hash, "bob"); r.handle(id) }, "approved", "2 members added", 1},
		"rejected": {func(r *rig, id uuid.UUID, hash string) {
			_, err := r.store.Reject(r.t.Context(), id, hash, "bob", "dan stays", "slack")
			require.NoError(r.t, err)
			r.handle(id)
		}, "rejected", "rejected by bob: dan stays", 0},
		"canceled": {func(r *rig, id uuid.UUID, _ string) {
			_, err := r.store.Cancel(r.t.Context(), id, "alice", "changed my mind")
			require.NoError(r.t, err)
			r.handle(id)
		}, "canceled", "canceled by alice: changed my mind", 0},
		"expired": {func(r *rig, id uuid.UUID, _ string) {
			r.exec("UPDATE runs SET available_at = now(), awaiting_until = now() - interval '1 second'")
			r.handle(id)
		}, "expired", "", 0},
		"asked again for the same plan": {func(r *rig, id uuid.UUID, hash string) {
			r.approve(id, hash, "bob")
			r.exec("UPDATE approvals SET votes = '[]'")
			r.handle(id)
			r.waits(id)
		}, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := startProtected(t)
			id, hash := r.awaiting()
			c.do(r, id, hash)
			said := r.asking()
			require.Len(t, said, 1)
			require.Equal(t, []string{id.String(), hash, c.outcome}, []string{said[0].ApprovalOf, said[0].PlanHash, said[0].Outcome})
			require.Contains(t, said[0].Message, c.message)
			require.Len(t, said[0].Votes, c.votes)
			require.Len(t, said[0].Changes, 3, "what it asked for still stands there")
		})
	}
}

func TestApproval_AnotherPlanTookItsPlace_EachMessageSaysItsOwn(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.pd("PUT", "eve", `{"role":"responder"}`)
	r.approve(id, hash, "bob")
	r.handle(id)
	again := r.waits(id)
	said := r.asking()
	require.Len(t, said, 2)
	require.Equal(t, []string{hash, "replaced", again, ""}, []string{said[0].PlanHash, said[0].Outcome, said[1].PlanHash, said[1].Outcome})
	r.approve(id, again, "carol")
	said = r.asking()
	require.Equal(t, []string{"replaced", "approved"}, []string{said[0].Outcome, said[1].Outcome})
	require.Equal(t, "carol", said[1].Votes[0].By)
}

// Who approved one life of a run did not approve the next: weeks may lie between.
func TestHandle_ApprovedAndRequeued_AsksAgain(t *testing.T) {
	r := startProtected(t)
	id, hash := r.awaiting()
	r.approve(id, hash, "bob")
	r.exec("UPDATE runs SET status = 'dead_lettered', finished_at = now()")
	r.exec("INSERT INTO dead_letters (letter_id, kind, queue, team_id, reason, error, attempts) VALUES ($1, 'run', 'reconcile', 'payments', 'X', 'x', 1)", id)
	_, err := r.store.Requeue(t.Context(), store.Which{ID: id}, "olga")
	require.NoError(t, err)
	r.handle(id)
	r.waits(id)
	require.Equal(t, untouched, r.members())
}
