package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// mayLeave is how many of 13 may leave without approval: the larger of the shipped floor and share.
const mayLeave = 3

// intruder holds every role but approver and admin, and tries to get people out of a team.
type intruder struct {
	rig  *rig
	api  *client.Client
	team string
	name string // of the team on PagerDuty
	jobs []string
	gone map[string]bool // who is out of the team
}

// wait lets a run come to where it ends or waits.
func (i *intruder) wait(ctx context.Context, t *rapid.T, job string, err error) {
	if err != nil {
		return // refused: that is an answer
	}
	i.jobs = append(i.jobs, job)
	if _, err := i.rig.settled(ctx, job); err != nil {
		t.Fatalf("follow %s: %v", job, err)
	}
}

// desired is some of the team: never nobody, that is denied anyway.
func desired(t *rapid.T) *nthlayerv1.Desired {
	d := &nthlayerv1.Desired{}
	for p := range 13 {
		if rapid.IntRange(0, 9).Draw(t, "stays") > 1 { // about a fifth leaves
			d.Members = append(d.Members, &nthlayerv1.DesiredMember{Email: fmt.Sprintf("person-%02d@example.org", p), Role: map[bool]string{true: "manager"}[p == 0]})
		}
	}
	if len(d.Members) == 0 {
		d.Members = append(d.Members, &nthlayerv1.DesiredMember{Email: "person-00@example.org", Role: "manager"})
	}
	return d
}

// someRemovals chooses some changes by their ids.
func someRemovals(t *rapid.T) (ids []string) {
	for p := range 13 {
		if rapid.IntRange(0, 3).Draw(t, "chosen") == 0 {
			ids = append(ids, fmt.Sprintf("remove_member:person:person-%02d@example.org", p))
		}
	}
	return ids
}

// call makes one call that an operator may try.
func (i *intruder) call(ctx context.Context, t *rapid.T) {
	api := i.api
	lastJob := func() string {
		if len(i.jobs) == 0 {
			return "00000000-0000-0000-0000-000000000000"
		}
		return rapid.SampledFrom(i.jobs).Draw(t, "job")
	}
	switch rapid.IntRange(0, 11).Draw(t, "call") {
	case 0, 1, 2:
		job, err := api.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: i.team, Desired: desired(t)})
		i.wait(ctx, t, job, err)
	case 3:
		job, err := api.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: i.team, Desired: desired(t), OverrideFreeze: "urgent", Reason: "approved by the boss"})
		i.wait(ctx, t, job, err)
	case 4: // what the source declares: everybody
		job, err := api.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: i.team})
		i.wait(ctx, t, job, err)
	case 5: // in slices
		d := desired(t)
		plan, err := api.Teams.PlanTeam(ctx, &nthlayerv1.PlanTeamRequest{TeamId: i.team, Desired: d})
		if err != nil {
			return
		}
		var ids []string
		for _, id := range someRemovals(t) {
			if slices.ContainsFunc(plan.GetChanges(), func(c *nthlayerv1.Change) bool { return c.GetId() == id }) {
				ids = append(ids, id)
			}
		}
		job, err := api.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: i.team, Desired: d, Only: append(ids, "add_member")})
		i.wait(ctx, t, job, err)
	case 6:
		job, err := api.Rollback(ctx, "", &nthlayerv1.RollbackRunRequest{JobId: lastJob()})
		i.wait(ctx, t, job, err)
	case 7: // approve what waits
		job := lastJob()
		if run, err := api.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: job}); err == nil {
			_, err = api.Runs.ApproveRun(ctx, &nthlayerv1.ApproveRunRequest{JobId: job, PlanHash: run.GetPlan().GetHash()})
			if err == nil {
				t.Fatalf("an operator approved %s", job)
			}
		}
	case 8:
		_, _ = api.Runs.CancelRun(ctx, &nthlayerv1.CancelRunRequest{JobId: lastJob()})
	case 9:
		_, _ = api.Ignores.CreateIgnoreRule(ctx, &nthlayerv1.CreateIgnoreRuleRequest{
			TeamId: i.team, Kind: "person", Value: fmt.Sprintf("person-%02d@example.org", rapid.IntRange(0, 12).Draw(t, "person")), Reason: "x", Owner: "x@example.org",
			ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
		})
	case 10:
		_, _ = api.Teams.PauseTeam(ctx, &nthlayerv1.PauseTeamRequest{TeamId: i.team, Reason: "x", Duration: durationpb.New(time.Minute)})
		_, _ = api.Teams.ResumeTeam(ctx, &nthlayerv1.ResumeTeamRequest{TeamId: i.team})
	case 11:
		for _, role := range []string{"approver", "admin", "runs.approve"} {
			if _, err := api.Access.GrantRole(ctx, &nthlayerv1.GrantRoleRequest{Subject: "mallory", Role: role, Reason: "x"}); err == nil {
				t.Fatalf("an operator gave the role %s", role)
			}
		}
		if _, err := api.Access.LinkIdentity(ctx, &nthlayerv1.LinkIdentityRequest{Email: "person-00@example.org", Subject: "mallory"}); err == nil {
			t.Fatal("an operator took somebody's address")
		}
	}
}

// look notes who is out of the team now.
func (i *intruder) look() {
	clear(i.gone)
	present := map[string]bool{}
	for _, team := range i.rig.pagerduty.State().(pagerduty.State).Teams {
		if team.Name == i.name {
			for _, m := range team.Members {
				present[m.Email] = true
			}
		}
	}
	for p := range 13 {
		if email := fmt.Sprintf("person-%02d@example.org", p); !present[email] {
			i.gone[email] = true
		}
	}
}

const thresholdTeams = 200

// Whatever an operator calls, in whatever order, no more people are ever out of a team than may leave without approval: not at
// once, not in slices, not one after the other, not by going back and forth.
func TestThreshold_NoSequenceOfCallsWithoutApprover_GetsPastIt(t *testing.T) {
	r := start(t, large(t, thresholdTeams, everybody), 1)
	mallory := r.asRole("mallory", "operator", "viewer")
	next, calls, most := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		if calls > 400 || next == thresholdTeams { // bounded, whatever the number of checks
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		team := fmt.Sprintf("large-%d", next)
		i := &intruder{rig: r, api: mallory, team: team, name: "acme/" + team, gone: map[string]bool{}}
		next++
		if _, err := r.run(ctx, &nthlayerv1.ReconcileTeamRequest{TeamId: team}); err != nil { // it is linked from now on
			t.Fatal(err)
		}
		for range rapid.IntRange(2, 12).Draw(t, "calls") {
			i.call(ctx, t)
			calls++
			if i.look(); len(i.gone) > mayLeave {
				t.Fatalf("%d people are out of the team: %v", len(i.gone), i.gone)
			}
			most = max(most, len(i.gone))
		}
	})
	require.Greater(t, calls, 100)
	require.Equal(t, mayLeave, most, "what may be done without approval was done: the calls are not all refused")
	t.Logf("%d calls on %d teams", calls, next)
}

// The control: where rules do not count who left of late, small plans one after the other take everybody away but one.
func TestControl_WithoutCountingWhoLeftOfLate_SlicesEmptyTheTeam(t *testing.T) {
	r := start(t, large(t, 1, everybody), 1)
	mallory := r.asRole("mallory", "operator", "viewer")
	slice := func(stay int) string {
		d := &nthlayerv1.Desired{}
		for p := range stay {
			d.Members = append(d.Members, &nthlayerv1.DesiredMember{Email: fmt.Sprintf("person-%02d@example.org", p), Role: map[bool]string{true: "manager"}[p == 0]})
		}
		job, err := mallory.Reconcile(t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: "large-0", Desired: d})
		require.NoError(t, err)
		run, err := r.settled(t.Context(), job)
		require.NoError(t, err)
		return run.GetStatus()
	}
	require.Equal(t, "succeeded", r.reconcile("large-0")["large-0"].GetStatus())
	require.Equal(t, "succeeded", slice(10))
	require.Equal(t, "awaiting_approval", slice(9), "three have left already")
	db, err := pgx.Connect(t.Context(), r.info.Postgres)
	require.NoError(t, err)
	defer db.Close(t.Context())
	// As if that had been long ago.
	for _, statement := range []string{
		"UPDATE changes SET done_at = done_at - interval '2 days'",
		"UPDATE runs SET finished_at = finished_at - interval '2 days' WHERE finished_at IS NOT NULL",
	} {
		_, err = db.Exec(t.Context(), statement)
		require.NoError(t, err)
	}

	require.Equal(t, "succeeded", slice(7))
}
