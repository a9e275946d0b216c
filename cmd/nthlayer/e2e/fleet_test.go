package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// generated is an organisation in order, of 60 teams.
func generated(t *testing.T) *org.Org {
	var text strings.Builder
	text.WriteString(`{"people":[`)
	for i := range 90 {
		fmt.Fprintf(&text, `%s"person-%02d"`, comma(i), i)
	}
	text.WriteString(`],"teams":[`)
	for i := range 60 {
		fmt.Fprintf(&text, `%s{"tag":"team-%02d","name":"team-%02d","org":"acme","description":"Team %d","parent":null,"previously":[],"maintainers":["person-%02d"],"members":["person-%02d","person-%02d","person-%02d","person-%02d"]}`,
			comma(i), i, i, i, i, i+1, i+2, i+3, i+30)
	}
	text.WriteString(`]}`)
	o, err := org.Decode(strings.NewReader(text.String()))
	require.NoError(t, err)
	return o
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// companyFile is the real ownership data of a company-sized organisation, nil where it does not lie beside the repository.
func companyFile(t testing.TB) *org.Org {
	file, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", "kubernetes-org.json"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	defer file.Close()
	o, err := org.Decode(file)
	require.NoError(t, err)
	return o
}

func company(t *testing.T) *org.Org {
	o := companyFile(t)
	if o == nil {
		t.Skip("the company-sized data set is not beside the repository (shared/data/kubernetes-org.json); TestFleet_Generated runs the same on a generated one")
	}
	return o
}

func TestFleet_Generated(t *testing.T) { fleet(t, generated(t), 0) }
func TestFleet_Company(t *testing.T)   { fleet(t, company(t), 0) }

// What a run has just changed is not to be seen for a while: verify looks until it is, and nothing is done twice.
func TestFleet_ReadsLagWrites(t *testing.T) { fleet(t, generated(t), 700*time.Millisecond) }

// fleet drifts 40 teams in eight ways, reconciles every team, and wants PagerDuty to equal Cortex, every change to stand
// in the trail once, and a second pass to write nothing. PagerDuty's reads lag what is written after the drift.
func fleet(t *testing.T, o *org.Org, lag time.Duration) {
	r := start(t, o, 2)
	all := make([]string, len(o.Teams))
	for i, team := range o.Teams {
		all[i] = team.Tag
	}
	drifted := r.drift(o)
	r.pagerduty.Control().SetLimits(control.Limits{StaleMS: int(lag.Milliseconds())})
	r.pagerduty.Control().ClearCalls()

	runs := r.reconcile(all...)
	// Each run looks at its team once, and once more where it changed something. A look that came too early is repeated.
	looks := r.pagerduty.Control().Calls().Counts["GET /teams/{id}/members"] - len(all) - len(drifted)
	require.Equal(t, lag > 0, looks > len(drifted)/2, "%d looks more than it takes when writes show at once", looks)
	require.Len(t, runs, len(all))
	for team, run := range runs {
		require.Equal(t, "succeeded", run.GetStatus(), "%s: %s", team, run.GetError())
		require.Equal(t, "in_sync", r.syncStatus(team), team)
	}
	wantMembers, wantDescriptions := r.declaredState()
	haveMembers, haveDescriptions := r.pagerState()
	require.Empty(t, cmp.Diff(wantMembers, haveMembers))
	require.Empty(t, cmp.Diff(wantDescriptions, haveDescriptions))

	seen := map[string]bool{}
	perTeam := map[string]int{}
	var verifier trail.Verifier
	for _, f := range r.trail() {
		entry, err := api.Entry(f)
		require.NoError(t, err)
		require.NoError(t, verifier.Next(entry))
		key := f.GetJobId() + " " + entry.ChangeID
		require.False(t, seen[key], "twice in the trail: %s", key)
		seen[key] = true
		require.Equal(t, "applied", f.GetOutcome(), "%s: %s", key, f.GetMessage())
		require.NotEmpty(t, f.GetApiCalls(), key)
		perTeam[f.GetTeamId()]++
	}
	require.Equal(t, drifted, perTeam, "changes per team in the trail")

	before := r.writes()
	for team, run := range r.reconcile(all...) {
		require.Equal(t, "succeeded", run.GetStatus(), team)
		require.Empty(t, run.GetPlan().GetChanges(), team)
	}
	require.Equal(t, before, r.writes(), "a second pass writes nothing")
}

// drift changes 40 teams on PagerDuty behind NthLayer's back, five in each of eight ways, and says how many changes each
// of them needs.
func (r *rig) drift(o *org.Org) map[string]int {
	type observed struct {
		ID, Name string
		Members  []struct {
			UserID string `json:"user_id"`
			Email  string
			Role   string
		}
	}
	var state struct {
		Teams []observed
		Users []struct{ ID, Email string }
	}
	r.state(r.pagerduty, &state)
	byName := map[string]observed{}
	for _, t := range state.Teams {
		byName[t.Name] = t
	}
	var candidates []org.Team
	for _, t := range o.Teams {
		if n := len(byName[t.FullName()].Members); n >= 4 && n <= 12 {
			candidates = append(candidates, t)
		}
	}
	require.GreaterOrEqual(r.t, len(candidates), 40)
	// Two ways need to know the team although its name or the team itself is gone: they are linked by a first run.
	var linked []string
	for _, t := range candidates[:5] {
		linked = append(linked, t.Tag)
	}
	for tag, run := range r.reconcile(linked...) {
		require.Equal(r.t, "succeeded", run.GetStatus(), tag)
	}
	stranger := func(t observed) string {
		for _, u := range state.Users {
			if !slices.ContainsFunc(t.Members, func(m struct {
				UserID string `json:"user_id"`
				Email  string
				Role   string
			}) bool {
				return m.UserID == u.ID
			}) {
				return u.ID
			}
		}
		r.t.Fatal("everybody is in the team")
		return ""
	}
	needs := map[string]int{}
	for i, t := range candidates[:40] {
		team := byName[t.FullName()]
		member := func(n int) string { return "/teams/" + team.ID + "/users/" + team.Members[n].UserID }
		role := func(n int) string {
			if team.Members[n].Role == "manager" {
				return `{"role":"responder"}`
			}
			return `{"role":"manager"}`
		}
		switch i / 5 {
		case 0: // renamed
			r.pd("PUT", "/teams/"+team.ID, fmt.Sprintf(`{"team":{"name":"renamed by hand %d"}}`, i))
			needs[t.Tag] = 1
		case 1: // a member is missing
			r.pd("DELETE", member(0), "")
			needs[t.Tag] = 1
		case 2: // a stranger is in
			r.pd("PUT", "/teams/"+team.ID+"/users/"+stranger(team), `{"role":"responder"}`)
			needs[t.Tag] = 1
		case 3: // a role is wrong
			r.pd("PUT", member(1), role(1))
			needs[t.Tag] = 1
		case 4: // everybody is missing
			for n := range team.Members {
				r.pd("DELETE", member(n), "")
			}
			needs[t.Tag] = len(team.Members)
		case 5: // the team is gone
			r.pd("DELETE", "/teams/"+team.ID, "")
			needs[t.Tag] = 1 + len(team.Members)
		case 6: // one missing, one stranger, one wrong role
			r.pd("DELETE", member(0), "")
			r.pd("PUT", member(1), role(1))
			r.pd("PUT", "/teams/"+team.ID+"/users/"+stranger(team), `{"role":"manager"}`)
			needs[t.Tag] = 3
		case 7: // described otherwise
			r.pd("PUT", "/teams/"+team.ID, `{"team":{"description":"written by hand"}}`)
			needs[t.Tag] = 1
			if t.Description == "" { // not declared: left as it is; put it back
				r.pd("PUT", "/teams/"+team.ID, `{"team":{"description":""}}`)
				r.pd("PUT", member(2), role(2))
			}
		}
	}
	return needs
}

func (r *rig) syncStatus(team string) string {
	r.t.Helper()
	got, err := r.client.Teams.GetTeam(r.t.Context(), getTeam(team))
	require.NoError(r.t, err)
	return got.GetSyncStatus()
}
