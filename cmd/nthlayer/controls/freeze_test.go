package controls

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// One writer per team: a worker is frozen between two attempts of a call. When it wakes up its lease is over, another worker
// has done the run, and somebody has changed the team again. The second attempt must not leave.
func TestPromise_OneWriterPerTeam(t *testing.T) {
	got := frozen(t)
	require.Empty(t, got.written)
	require.NotContains(t, got.members, got.gone)
}

func TestControl_WithoutPermit_AFrozenWorkerWritesAgain(t *testing.T) {
	got := frozen(t, seam.Permit)
	require.Len(t, got.written, 1, "its outcome meets the fence, so it is the last")
	require.NotEmpty(t, got.written[0].Effect)
	require.Contains(t, got.members, got.gone, "who had left is back")
}

type awakened struct {
	written []control.Call // of the team, by the worker that was frozen, after it woke up
	members []string       // of the team
	gone    string         // who left it meanwhile
}

// frozen freezes a worker that has two runs, wakes it when the lease of one of them is over, and tells of that one.
//
// Three things stop who wakes up late: the queue's timer for the message, the renewal of the lease, and the permit. The
// second is kept from the database here. The first must not be due yet, so the lease must end well before the message is
// shown again. Leases are renewed as often as messages are hidden, only not at the same time: of two runs that were begun
// half a period apart, one is always at least half a period ahead.
func frozen(t *testing.T, off ...string) awakened {
	const (
		leased   = 9 * time.Second
		period   = leased / 3 // of renewals, and of heartbeats
		tryAgain = "7"        // seconds: the freeze begins before, and no lease ends before
	)
	o := organisation(2)
	o.PagerDuty.Teams[tag(0)] = org.TeamDrift{Missing: []string{person(1)}}
	o.PagerDuty.Teams[tag(1)] = org.TeamDrift{Missing: []string{person(2)}}
	r := start(t, setup{org: o, workers: 2, off: off, env: []string{
		"NTHLAYER_LEASE=" + leased.String(), "NTHLAYER_CONCURRENCY=2", // with two runs in hand it asks for no more, with which it would freeze
	}})
	r.takeDown(secondWorker)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{
		Match: "PUT /teams/*/users/*", Status: http.StatusServiceUnavailable, Headers: map[string]string{"Retry-After": tryAgain}, Times: 2,
	}))
	jobs := make([]string, 2)
	for i := range jobs {
		if i > 0 {
			time.Sleep(period / 2) // not for something to happen: the distance is what is wanted
		}
		jobs[i] = r.accept(tag(i))
		until(t, "an attempt fails", func() bool { return r.pagerduty.Control().Calls().Writes == i+1 })
	}
	child := r.system.Service(worker)
	r.awaitHeartbeat()
	require.NoError(t, child.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = child.Signal(syscall.SIGCONT) }) // also when the test fails: what is frozen does not stop
	r.system.Service(secondWorker).Release()

	conn := r.connect()
	var job string
	ask(t, conn, "SELECT job_id::text FROM leases ORDER BY until LIMIT 1", &job)
	i := slices.Index(jobs, job)
	until(t, "the lease is over", holds(t, conn, "SELECT until < now() FROM leases WHERE job_id = '"+job+"'"))
	r.hint(job)
	require.Equal(t, store.Succeeded, r.end(job).GetStatus())
	got := awakened{gone: address(i + 1)}
	require.Contains(t, r.members(fullName(i)), got.gone, "another worker has done it")
	r.leave(fullName(i), got.gone)
	seen := len(r.pagerduty.Control().Calls().Calls)

	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE leases IN EXCLUSIVE MODE")
	require.NoError(t, err)
	require.NoError(t, child.Signal(syscall.SIGCONT))
	lost := func() bool { return r.logged(worker, job, "run lost to another worker") }
	members := "/teams/" + r.teams(fullName(i))[0].ID + "/users/"
	written := func() []control.Call {
		return slices.DeleteFunc(r.pagerduty.Control().Calls().Calls[seen:], func(c control.Call) bool {
			return c.Via != worker || !c.Write || !strings.HasPrefix(c.Path, members)
		})
	}
	until(t, "it writes or gives up", func() bool { return len(written()) > 0 || lost() })
	require.NoError(t, tx.Rollback(t.Context()))
	until(t, "it gives up", lost)
	got.written, got.members = written(), r.members(fullName(i))
	return got
}

func address(i int) string { return person(i) + "@example.org" } // on both sides

// awaitHeartbeat waits until a worker has hidden its messages anew, and knows it.
func (r *rig) awaitHeartbeat() {
	r.t.Helper()
	heartbeats := func() int {
		var calls map[string]int
		r.askSQS(http.MethodGet, "calls", &calls)
		return calls["ChangeMessageVisibilityBatch"]
	}
	before := heartbeats()
	until(r.t, "there is a heartbeat", func() bool { return heartbeats() > before })
	time.Sleep(50 * time.Millisecond) // it is answered in two; nothing tells from outside that the answer was read
}

// hint sends a message of a run beside the one that the frozen worker has, and that hides all others of the team: messages
// are only hints.
func (r *rig) hint(job string) {
	r.t.Helper()
	client, err := queue.Open(r.t.Context(), queue.Config{Endpoint: r.info.SQS})
	require.NoError(r.t, err)
	defer client.Close()
	body, err := json.Marshal(map[string]string{"job_id": job})
	require.NoError(r.t, err)
	_, err = queue.NewProducer(client).Send(r.t.Context(), []queue.Message{{Queue: reconcileQueue, Group: "hint", Dedup: "hint", Body: body}})
	require.NoError(r.t, err)
}

// leave takes somebody off a team on PagerDuty, as a person would.
func (r *rig) leave(name, address string) {
	r.t.Helper()
	for _, team := range r.teams(name) {
		for _, m := range team.Members {
			if m.Email == address {
				request := httptest.NewRequest(http.MethodDelete, "/teams/"+team.ID+"/users/"+m.UserID, http.NoBody)
				request.Header.Set("Authorization", "Token token="+credential)
				answer := httptest.NewRecorder()
				r.pagerduty.ServeHTTP(answer, request)
				require.Equal(r.t, http.StatusNoContent, answer.Code, answer.Body.String())
			}
		}
	}
	require.NotContains(r.t, r.members(name), address)
}

// logged reports whether a process has said something of a run.
func (r *rig) logged(process, job, message string) bool {
	r.t.Helper()
	content, err := os.ReadFile(r.system.Service(process).Log())
	require.NoError(r.t, err)
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, job) && strings.Contains(line, message) {
			return true
		}
	}
	return false
}
