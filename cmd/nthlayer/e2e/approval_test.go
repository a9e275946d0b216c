package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// large is a company of teams of 13 people each, "large-0" and so on, of whom the first is the maintainer.
func large(t testing.TB, teams int, members func(team, person int) bool) *org.Org {
	t.Helper()
	var people, declared []string
	for i := range 13 {
		people = append(people, fmt.Sprintf("%q", fmt.Sprintf("person-%02d", i)))
	}
	for n := range teams {
		var maintainers, others []string
		for i := range 13 {
			switch name := people[i]; {
			case !members(n, i):
			case i == 0:
				maintainers = append(maintainers, name)
			default:
				others = append(others, name)
			}
		}
		declared = append(declared, fmt.Sprintf(
			`{"tag":"large-%d","name":"large-%d","org":"acme","description":"","parent":null,"previously":[],"maintainers":[%s],"members":[%s]}`,
			n, n, strings.Join(maintainers, ","), strings.Join(others, ",")))
	}
	o, err := org.Decode(strings.NewReader(`{"people":[` + strings.Join(people, ",") + `],"teams":[` + strings.Join(declared, ",") + `]}`))
	require.NoError(t, err)
	return o
}

func everybody(int, int) bool { return true }

// outcomes counts a run's findings by action and outcome.
func outcomes(run *nthlayerv1.Run) map[string]int {
	found := map[string]int{}
	for _, f := range run.GetFindings() {
		found[f.GetAction()+" "+f.GetOutcome()]++
	}
	return found
}

func stepStatus(run *nthlayerv1.Run, name string) string {
	for _, s := range run.GetSteps() {
		if s.GetName() == name {
			return s.GetStatus()
		}
	}
	return ""
}

// The source empties a team, and nothing happens; it takes 4 of 13 away, and somebody approves that; it turns out to have been
// wrong, and is undone.
func TestApproval_WipeOutIsDenied_LargeRemovalIsApproved_AndUndone(t *testing.T) {
	r := start(t, large(t, 1, everybody), 1)
	ctx := t.Context()
	alice, bob := r.asRole("alice", "operator"), r.asRole("bob", "approver")
	run := r.reconcile("large-0")["large-0"]
	require.Equal(t, "succeeded", run.GetStatus())
	before, _ := r.pagerState()
	require.Len(t, before["acme/large-0"], 13)
	written := r.writes()

	require.NoError(t, r.cortex.LoadOrg(large(t, 1, func(int, int) bool { return false })))
	run = r.reconcile("large-0")["large-0"]
	require.Equal(t, "failed", run.GetStatus())
	require.Equal(t, "PLAN_DENIED", run.GetError().GetReason())
	require.Equal(t, map[string]int{"remove_member denied": 13}, outcomes(run))
	require.Equal(t, "deny", run.GetFindings()[0].GetDecision().GetVerdict())
	require.Equal(t, written, r.writes())

	require.NoError(t, r.cortex.LoadOrg(large(t, 1, func(_, person int) bool { return person < 9 })))
	job, err := alice.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: "large-0", Reason: "they moved to billing"})
	require.NoError(t, err)
	run, err = r.settled(ctx, job)
	require.NoError(t, err)
	require.Equal(t, "awaiting_approval", run.GetStatus())
	require.Equal(t, "alice", run.GetRequestedBy())
	require.Equal(t, run.GetPlan().GetHash(), run.GetApproval().GetPlanHash())
	require.Equal(t, map[string]int{"remove_member awaiting_approval": 4}, outcomes(run))
	require.Equal(t, written, r.writes())

	_, err = alice.Runs.ApproveRun(ctx, &nthlayerv1.ApproveRunRequest{JobId: job, PlanHash: run.GetPlan().GetHash()})
	require.Equal(t, fault.PermissionDenied, fault.KindOf(err))
	_, err = bob.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: "large-0"})
	require.Equal(t, fault.PermissionDenied, fault.KindOf(err))

	// Somebody who may not presses the button, then bob, whom Slack knows by his address.
	message := r.asked(job)
	require.Equal(t, 200, r.press(message, "approve_run", "person-05@example.org", slack.Press{}))
	require.Contains(t, r.whispered("person-05@example.org"), "nobody here is known by person-05@example.org")
	r.bind("person-00@example.org", "bob", "approver")
	require.Equal(t, 401, r.press(message, "approve_run", "person-00@example.org", slack.Press{Secret: "guessed"}))
	require.Equal(t, 401, r.press(message, "approve_run", "person-00@example.org", slack.Press{Age: 600}))
	still, err := r.client.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: job})
	require.NoError(t, err)
	require.Equal(t, "awaiting_approval", still.GetStatus())
	require.Equal(t, 200, r.press(message, "approve_run", "person-00@example.org", slack.Press{}))
	run, err = r.client.Wait(ctx, job)
	require.NoError(t, err)
	require.Equal(t, "succeeded", run.GetStatus(), run.GetError().GetMessage())
	require.Equal(t, map[string]int{"remove_member awaiting_approval": 4, "approve reported": 1, "remove_member applied": 4}, outcomes(run))
	require.Equal(t, "succeeded", stepStatus(run, "await_approval"))
	for _, f := range run.GetFindings()[5:] {
		require.Equal(t, []string{"bob"}, f.GetApprovedBy())
		require.Equal(t, "they moved to billing", f.GetReason())
		require.NotEmpty(t, f.GetRequestId())
		require.Equal(t, run.GetApproval().GetPlanHash(), f.GetPlanHash())
		require.Equal(t, "require_approval", f.GetDecision().GetVerdict())
	}
	require.Equal(t, "slack", run.GetApproval().GetVotes()[0].GetVia())
	require.Eventually(t, func() bool { return strings.Contains(r.asked(job).Text, "pproved") && r.asked(job).Edited != nil }, 20*time.Second, 20*time.Millisecond,
		"the message says what became of it")
	now, _ := r.pagerState()
	require.Len(t, now["acme/large-0"], 9)

	undo, err := alice.Rollback(ctx, "", &nthlayerv1.RollbackRunRequest{JobId: job, Reason: "they did not move"})
	require.NoError(t, err)
	run, err = r.settled(ctx, undo)
	require.NoError(t, err)
	require.Equal(t, "succeeded", run.GetStatus(), run.GetError().GetMessage())
	require.Equal(t, "team.rollback", run.GetType())
	require.Equal(t, job, run.GetRollbackOf())
	require.Equal(t, map[string]int{"add_member applied": 4}, outcomes(run))
	after, _ := r.pagerState()
	require.Equal(t, before, after)
	var actions []string
	for _, f := range r.trail() {
		actions = append(actions, f.GetAction())
	}
	require.True(t, slices.Contains(actions, "approve"))
}

// posted is a message on the simulated Slack.
type posted struct {
	Channel, TS, Text string
	Metadata          json.RawMessage
	Edited            *struct{ TS string }
}

// asked waits for the message that asks for the approval of a run.
func (r *rig) asked(job string) (found posted) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var state struct{ Messages []posted }
		r.state(r.slack, &state)
		i := slices.IndexFunc(state.Messages, func(m posted) bool { return strings.Contains(string(m.Metadata), job+"-") })
		if i >= 0 {
			found = state.Messages[i]
		}
		return i >= 0
	}, 20*time.Second, 10*time.Millisecond, "nobody was asked")
	return found
}

// press has somebody press a button of a message, and gives the status that Slack was answered with.
func (r *rig) press(m posted, action, user string, p slack.Press) int {
	r.t.Helper()
	p.Channel, p.TS, p.Action, p.User = m.Channel, m.TS, action, user
	answers, err := r.slack.Press(r.t.Context(), p)
	require.NoError(r.t, err)
	return answers[0].Status
}

// whispered waits for what somebody alone was shown.
func (r *rig) whispered(email string) (text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var state struct{ Ephemeral []struct{ User, Text string } }
		r.state(r.slack, &state)
		for _, w := range state.Ephemeral {
			if w.User == r.slack.UserID(email) {
				text = w.Text
			}
		}
		return text != ""
	}, 20*time.Second, 10*time.Millisecond)
	return text
}

// bind makes an address somebody's and gives them a role, and waits until both count.
func (r *rig) bind(email, subject, role string) {
	r.t.Helper()
	ctx := r.t.Context()
	_, err := r.client.Access.LinkIdentity(ctx, &nthlayerv1.LinkIdentityRequest{Email: email, Subject: subject})
	require.NoError(r.t, err)
	_, err = r.client.Access.GrantRole(ctx, &nthlayerv1.GrantRoleRequest{Subject: subject, Role: role, Reason: "on call"})
	require.NoError(r.t, err)
	require.Eventually(r.t, func() bool {
		answer, err := r.client.Access.CheckAccess(ctx, &nthlayerv1.CheckAccessRequest{Action: "runs.get", Subject: subject})
		return err == nil && answer.GetAllowed()
	}, 10*time.Second, 5*time.Millisecond)
}
