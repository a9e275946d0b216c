package controls

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Unknown is not empty: Cortex answers with 200 and with less than a team. Nobody is removed.
func TestPromise_UnknownIsNotEmpty(t *testing.T) {
	for _, team := range halfAnswered(t) {
		require.Equal(t, store.DeadLettered, team.run.GetStatus())
		require.Equal(t, "SOURCE_INCOMPLETE", team.run.GetError().GetReason())
		require.Len(t, team.members, 5)
	}
}

// The guard stands behind: it would deny a plan that removes everybody, so it is off too.
func TestControl_WithoutWhole_HalfAnAnswerEmptiesTheTeam(t *testing.T) {
	for _, team := range halfAnswered(t, seam.Whole, seam.Guard) {
		require.Equal(t, store.Succeeded, team.run.GetStatus())
		require.Empty(t, team.members)
	}
}

// reconciled is a team after a run.
type reconciled struct {
	run     *nthlayerv1.Run
	members []string // on PagerDuty
}

// halfAnswered has teams reconciled that are known, in order, and have five members, from answers that lack something.
func halfAnswered(t *testing.T, off ...string) (teams []reconciled) {
	answers := []string{
		`{}`,
		`{"teamTag":"team-01","catalogEntityTag":"team-01","type":"CORTEX","isArchived":false,"metadata":{"name":"acme/team-01"}}`,
	}
	r := start(t, setup{org: organisation(len(answers)), off: off})
	for i, answer := range answers {
		require.Equal(t, store.Succeeded, r.reconcile(tag(i)).GetStatus())
		require.Len(t, r.members(fullName(i)), 5)
		require.NoError(t, r.cortex.Control().Inject(control.Fault{
			Match: "GET /api/v1/teams/" + tag(i), Status: http.StatusOK, Body: json.RawMessage(answer),
		}))
		teams = append(teams, reconciled{r.reconcile(tag(i)), r.members(fullName(i))})
	}
	return teams
}

// Bounded blast radius: Cortex truthfully declares a team without members. Its pages would reach nobody.
func TestPromise_BoundedBlastRadius(t *testing.T) {
	got := declaredEmpty(t)
	require.Equal(t, store.Failed, got.run.GetStatus())
	require.Equal(t, "PLAN_DENIED", got.run.GetError().GetReason())
	require.Len(t, got.members, 3)
}

func TestControl_WithoutGuard_TheTeamIsEmptied(t *testing.T) {
	got := declaredEmpty(t, seam.Guard)
	require.Equal(t, store.Succeeded, got.run.GetStatus())
	require.Empty(t, got.members)
}

// declaredEmpty reconciles the team of the example organisation that is declared empty and has three members.
func declaredEmpty(t *testing.T, off ...string) reconciled {
	r := start(t, setup{org: org.Example(), off: off})
	require.Len(t, r.members("lumen/labs"), 3)
	return reconciled{r.reconcile("lumen-labs"), r.members("lumen/labs")}
}
