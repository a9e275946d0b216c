package audits_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func pages(rows int) int { return max((rows+99)/100, 1) }

func TestFullAudit_Fleet_FindsWhatDriftedInTheFewestReads(t *testing.T) {
	r := start(t, fleet(220))
	a := r.whole(nil)
	require.Equal(t, audit.Succeeded, a.Status, a.Summary)
	require.Equal(t, audit.Full, a.Read)
	require.Equal(t, "no audit has read every team yet", a.ReadReason)
	want := expected(r.org)
	require.GreaterOrEqual(t, len(want), 50)
	require.Equal(t, want, r.findings(""))
	require.Equal(t, len(want), a.Report.Counts.New)
	require.Equal(t, 220, a.Report.Counts.Teams)
	require.Equal(t, 220-220/4, a.Report.Counts.InSync)
	require.Equal(t, 220/4, a.Report.Counts.OutOfSync)
	r.onlyReads()

	observed := r.org.Observed()
	listed := pages(len(observed.Teams)) + pages(len(observed.Users)) + pages(len(observed.Policies)) + pages(len(observed.Schedules))
	require.Equal(t, map[string]int{
		memberReads: len(r.targets()), "GET /audit/records": 1, "GET /teams": pages(len(observed.Teams)), "GET /users": pages(len(observed.Users)),
		"GET /escalation_policies": pages(len(observed.Policies)), "GET /schedules": pages(len(observed.Schedules)),
	}, r.calls())
	require.Equal(t, len(r.targets())+listed+1, a.PagerDutyCalls)
	require.Equal(t, map[string]int{"GET /api/v1/catalog": 1}, r.cortex.Control().Calls().Counts)
	require.Equal(t, 1, a.CortexCalls)
	require.Equal(t, 220, a.TeamsDone)
	require.Equal(t, len(r.targets()), a.ReadsDone)

	statuses := map[string]int{}
	teams, err := r.Teams(t.Context(), store.TeamFilter{Limit: 1000})
	require.NoError(t, err)
	for _, team := range teams {
		statuses[string(team.SyncStatus)]++
	}
	require.Equal(t, map[string]int{"in_sync": 165, "out_of_sync": 55}, statuses)
}

// Control: a write by the same transport would be noticed.
func TestControl_WriteByTheSameTransport_IsNoticed(t *testing.T) {
	r := start(t, fleet(8))
	r.whole(nil)
	r.onlyReads()
	tag := r.quiet()[0]
	userID, _, _ := r.unheld(tag)
	require.NoError(t, r.client.RemoveMember(t.Context(), r.targets()[tag], userID))
	calls := r.pagerduty.Control().Calls()
	require.Equal(t, 1, calls.Writes)
	require.Equal(t, http.MethodDelete, calls.Calls[len(calls.Calls)-1].Method)
	require.NotEmpty(t, calls.Calls[len(calls.Calls)-1].Effect)
}

func TestFullAudit_Twice_FindsNothingNewAndSaysWhatIsMended(t *testing.T) {
	r := start(t, fleet(40))
	r.whole(nil)
	before := r.findings(store.FindingOpen)
	a := r.whole(full)
	require.Equal(t, before, r.findings(store.FindingOpen))
	require.Zero(t, a.Report.Counts.New)
	require.Zero(t, a.Report.Counts.Missed)

	mended := *r.org
	mended.PagerDuty = org.Drift{}
	require.NoError(t, r.pagerduty.LoadOrg(&mended))
	r.org = &mended
	a = r.whole(full)
	require.Empty(t, r.findings(store.FindingOpen))
	require.Equal(t, before, r.findings(store.FindingResolved))
	require.Equal(t, len(before), a.Report.Counts.Resolved)
	require.Equal(t, 40, a.Report.Counts.InSync)
	require.Positive(t, a.Report.Counts.Missed, "changes without a record")
}

func TestFullAudit_Scope_LeavesOthersAlone(t *testing.T) {
	r := start(t, fleet(40))
	a := r.whole(func(request *store.AuditRequest) {
		request.Scope = audit.Scope{Include: []string{"team-000[0-9]*", "team-0001?", "TEAM-00020"}, Exclude: []string{"*11"}}
	})
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, 10, a.Report.Counts.Teams, "team-00010 to 19 without 11, and 20: brackets are no pattern")
	for _, f := range r.all("") {
		require.Regexp(t, `^team-000(1[02-9]|20)$`, f.TeamID, "orphans of a part are none")
	}
	require.Equal(t, audit.Full, r.whole(nil).Read, "a part is no read of the fleet")
}

// More accounts than PagerDuty's lists reach: people are looked up one by one, where a team does not show them already.
func TestFullAudit_MoreUsersThanListsReach_LooksThoseUpWhoAreMissed(t *testing.T) {
	r := start(t, org.Generate(org.GenerateOptions{Teams: 20, People: 10_200, Seed: 3, MembersMax: 6, Drifted: 10}))
	a := r.whole(nil)
	require.Equal(t, audit.Succeeded, a.Status, a.Summary)
	require.False(t, a.UsersListed)
	require.True(t, a.TargetsListed)
	want := expected(r.org)
	require.NotEmpty(t, want)
	require.Equal(t, want, r.findings(""))
	missing := 0
	for _, f := range r.all("") {
		if f.Kind == "add_member" {
			missing++
		}
	}
	require.Positive(t, missing)
	require.LessOrEqual(t, r.calls()["GET /users"], 2+missing, "two looks at the list, and one at each who is not in the team")
	require.Equal(t, len(r.targets()), r.calls()[memberReads])
	r.onlyReads()
}

func TestFullAudit_Enforce_AsksForRunsWhereTheyAreWanted(t *testing.T) {
	r := start(t, fleet(40))
	r.whole(nil)
	drifted := map[string]bool{}
	for _, f := range r.all(store.FindingOpen) {
		if f.TeamID != "" {
			drifted[f.TeamID] = true
		}
	}
	require.Len(t, drifted, 10)
	require.Zero(t, r.count("SELECT count(*) FROM runs"), "observing asks for nothing")
	var spared, chosen string
	for tag := range drifted {
		if spared == "" {
			spared = tag
		} else {
			chosen = tag
		}
	}

	_, err := r.SetAutoReconcile(t.Context(), chosen, audit.Enforce)
	require.NoError(t, err)
	a := r.whole(full)
	require.Equal(t, 1, a.RunsStarted, "what a team says for itself counts more")
	require.Equal(t, 1, r.count("SELECT count(*) FROM runs WHERE team_id = $1", chosen))

	_, err = r.SetAutoReconcile(t.Context(), spared, audit.Observe)
	require.NoError(t, err)
	r.exec("DELETE FROM outbox")
	a = r.whole(func(request *store.AuditRequest) { request.Mode, request.AutoReconcile = audit.Full, audit.Enforce })
	require.Equal(t, 9, a.RunsStarted)
	require.Equal(t, 9, a.Report.RunsStarted)
	require.Zero(t, r.count("SELECT count(*) FROM runs WHERE team_id = $1", spared))
	require.Equal(t, 10, r.count("SELECT count(*) FROM runs WHERE requested_by = 'alice'"))
	require.Equal(t, 9, r.count("SELECT count(*) FROM outbox WHERE queue = $1", store.ReconcileQueue))
	r.onlyReads()
}
