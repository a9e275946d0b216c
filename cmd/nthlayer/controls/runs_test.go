package controls

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Accepted is durable: a run whose message is lost with the queue's memory, before a worker took it, ends.
func TestPromise_AcceptedIsDurable(t *testing.T) {
	require.Equal(t, store.Succeeded, messageLost(t))
}

func TestControl_WithoutAnnounce_ALostMessageStrandsTheRun(t *testing.T) {
	require.Equal(t, store.Queued, messageLost(t, seam.Announce))
}

// twoAnnouncements is how long it takes until stranded runs have been looked for twice: every 5 s ± 20 % (pkg/queue).
const twoAnnouncements = 12 * time.Second

// messageLost gives the status that the run ends with, or the one it still has when a later run of another team has long
// been done and stranded runs should have been looked for twice.
func messageLost(t *testing.T, off ...string) (status string) {
	r := start(t, setup{org: organisation(2), off: off})
	r.takeDown(worker)
	job := r.accept(tag(0))
	until(t, "the message is in the queue", func() bool { return r.queued() == 1 })
	r.askSQS(http.MethodDelete, "state", nil)
	r.system.Service(worker).Release()

	require.Equal(t, store.Succeeded, r.reconcile(tag(1)).GetStatus())
	within(t, twoAnnouncements, func() bool { status = r.status(job); return store.Terminal(status) })
	until(t, "nothing is under way", func() bool { return r.queued() == 0 })
	return status
}

// Once in effect: a worker dies when PagerDuty has created the team and before it says so. There is one team in the end.
func TestPromise_OnceInEffect(t *testing.T) {
	require.Equal(t, 1, workerDies(t))
}

func TestControl_WithoutReobserve_TheTeamIsCreatedTwice(t *testing.T) {
	require.Equal(t, 2, workerDies(t, seam.Reobserve))
}

// workerDies counts the teams of the name that was to be created.
func workerDies(t *testing.T, off ...string) (teams int) {
	o := organisation(1)
	o.PagerDuty.Teams[tag(0)] = org.TeamDrift{Absent: true}
	r := start(t, setup{org: o, off: off})
	created := r.gate.hold("POST /teams")
	job := r.accept(tag(0))
	r.await(created)
	r.kill()
	require.Equal(t, store.Succeeded, r.end(job).GetStatus())
	return len(r.teams(fullName(0)))
}

// Poison is visible: what fails in each of N attempts is given up, and stands among the dead letters.
func TestPromise_PoisonIsVisible(t *testing.T) {
	got := poison(t)
	require.Equal(t, fate{status: store.DeadLettered, attempts: poisonAttempts, letters: 1}, got)
}

func TestControl_WithoutBury_PoisonIsTriedForEver(t *testing.T) {
	got := poison(t, seam.Bury)
	require.False(t, store.Terminal(got.status), got.status)
	require.Greater(t, got.attempts, 3*poisonAttempts)
	require.Zero(t, got.letters)
}

const poisonAttempts = 2

type fate struct {
	status            string
	attempts, letters int
}

// poison tells what becomes of a run of a team for which Cortex never gives a whole answer, until it ends or has had three
// times the attempts that it may have.
func poison(t *testing.T, off ...string) (f fate) {
	r := start(t, setup{org: organisation(1), off: off, env: []string{fmt.Sprint("NTHLAYER_MAX_ATTEMPTS=", poisonAttempts)}})
	require.NoError(t, r.cortex.Control().Inject(control.Fault{Match: "GET /api/v1/teams/" + tag(0), Status: http.StatusOK, Body: json.RawMessage(`{}`)}))
	job := r.accept(tag(0))
	conn := r.connect()
	until(t, "the run ends, or has had its attempts three times over", func() bool {
		ask(t, conn, "SELECT status, attempt FROM runs", &f.status, &f.attempts)
		return store.Terminal(f.status) || f.attempts > 3*poisonAttempts
	})
	for letter, err := range r.client.ListDeadLetters(t.Context(), &nthlayerv1.ListDeadLettersRequest{TeamId: tag(0), Status: "dead"}) {
		require.NoError(t, err)
		require.Equal(t, job, letter.GetLetterId())
		f.letters++
	}
	return f
}
