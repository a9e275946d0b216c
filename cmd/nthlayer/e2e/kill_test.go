package e2e

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// point is a place in a run at which the worker can be held still, to be killed there.
type point struct {
	name string
	hold func(t *testing.T, r *rig) (reached func(ctx context.Context) error, release func())
}

// atCall holds a request to a platform, before it is handled or after it took effect.
func atCall(platform func(*rig) *gate, method, contains string, skip int, after bool) func(*testing.T, *rig) (func(context.Context) error, func()) {
	return func(_ *testing.T, r *rig) (func(context.Context) error, func()) {
		h := platform(r).hold(method, contains, skip, after)
		return func(ctx context.Context) error {
			select {
			case <-h.reached:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func() { close(h.released) }
	}
}

// atTable holds the worker at its next write to a table: another transaction has it locked.
func atTable(table string) func(*testing.T, *rig) (func(context.Context) error, func()) {
	return func(t *testing.T, r *rig) (func(context.Context) error, func()) {
		locker, err := pgx.Connect(t.Context(), r.info.Postgres)
		require.NoError(t, err)
		tx, err := locker.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+table+" IN EXCLUSIVE MODE")
		require.NoError(t, err)
		reached := func(ctx context.Context) error {
			watch, err := pgx.Connect(ctx, r.info.Postgres)
			if err != nil {
				return err
			}
			defer watch.Close(context.WithoutCancel(ctx))
			for {
				var waiting int
				err := watch.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass", table).Scan(&waiting)
				if err != nil || waiting > 0 {
					return err
				}
				// PostgreSQL has no way to wait for somebody else to wait.
				if _, err := watch.Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil {
					return err
				}
			}
		}
		return reached, func() {
			require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context())))
			require.NoError(t, locker.Close(context.WithoutCancel(t.Context())))
		}
	}
}

func pager(r *rig) *gate  { return r.pager }
func source(r *rig) *gate { return r.source }

// The run in question adds two, changes a role and removes two; the points lie between every two steps, and before and
// behind each effect of apply.
var points = []point{
	{"before fetch_source", atCall(source, "GET", "/api/v1/teams/", 0, false)},
	{"after fetch_source", atCall(source, "GET", "/custom-data", 0, true)},
	{"between fetch and match", atCall(pager, "GET", "/teams", 0, false)},
	{"in match", atCall(pager, "GET", "/users", 0, true)},
	{"between match and plan", atCall(pager, "GET", "/escalation_policies", 0, false)},
	{"between plan, guard and apply", atTable("checkpoints")},
	{"in apply, before the intents", atTable("changes")},
	{"in apply, before the first change", atCall(pager, "PUT", "/users/", 0, false)},
	{"in apply, first change made, answer lost", atCall(pager, "PUT", "/users/", 0, true)},
	{"in apply, second change made, answer lost", atCall(pager, "PUT", "/users/", 1, true)},
	{"in apply, role changed, answer lost", atCall(pager, "PUT", "/users/", 2, true)},
	{"in apply, before a removal", atCall(pager, "DELETE", "/users/", 0, false)},
	{"in apply, one removed, answer lost", atCall(pager, "DELETE", "/users/", 0, true)},
	{"in apply, all removed, answer lost", atCall(pager, "DELETE", "/users/", 1, true)},
	{"between apply and verify", atCall(pager, "GET", "/members", 1, false)},
	{"between verify and record", atTable("trail_head")},
	{"between record and announce", atTable("deliveries")},
}

// killedRun drifts a team, has the worker killed at the point, and tells how it all ended.
func killedRun(t *testing.T, r *rig, team string, p *point) (run *nthlayerv1.Run, trail []string) {
	t.Helper()
	id, users := r.pagerTeam("acme/" + team)
	_, strangers := r.pagerTeam("acme/team-59")
	r.pd("DELETE", "/teams/"+id+"/users/"+users[1], "")
	r.pd("DELETE", "/teams/"+id+"/users/"+users[2], "")
	r.pd("PUT", "/teams/"+id+"/users/"+users[0], `{"role":"observer"}`)
	r.pd("PUT", "/teams/"+id+"/users/"+strangers[0], `{"role":"responder"}`)
	r.pd("PUT", "/teams/"+id+"/users/"+strangers[1], `{"role":"manager"}`)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if p != nil {
		reached, release := p.hold(t, r)
		job, err := r.client.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: team})
		require.NoError(t, err)
		require.NoError(t, reached(ctx), "the run never came to the point %q", p.name)
		worker := r.system.Service("reconcile-worker")
		lives := worker.Lives()
		require.NoError(t, worker.Signal(syscall.SIGKILL))
		require.NoError(t, worker.AwaitLife(ctx, lives+1))
		release()
		run, err = r.client.Wait(ctx, job)
		require.NoError(t, err)
	} else {
		var err error
		run, err = r.run(ctx, &nthlayerv1.ReconcileTeamRequest{TeamId: team})
		require.NoError(t, err)
	}
	for f, err := range r.client.ListFindings(ctx, &nthlayerv1.ListFindingsRequest{TeamId: team, PageSize: 1000}) {
		require.NoError(t, err)
		trail = append(trail, fmt.Sprintf("%s %s %v -> %v %s", f.GetAction(), f.GetEntityRef(), f.GetBefore(), f.GetAfter(), f.GetOutcome()))
	}
	sort.Strings(trail)
	return run, trail
}

func TestRun_WorkerKilledAnywhere_EndsAsIfItHadNot(t *testing.T) {
	r := start(t, generated(t), 1)
	want, _ := r.declaredState()
	for i, p := range points {
		t.Run(p.name, func(t *testing.T) {
			team := fmt.Sprintf("team-%02d", i)
			run, trail := killedRun(t, r, team, &p)

			require.Equal(t, "succeeded", run.GetStatus(), run.GetError())
			have, _ := r.pagerState()
			require.Empty(t, cmp.Diff(want["acme/"+team], have["acme/"+team]))
			require.Len(t, trail, 5, strings.Join(trail, "\n"))
			for _, line := range trail {
				require.True(t, strings.HasSuffix(line, " applied"), line)
			}
			require.Equal(t, 1, deliveries(t, r, run.GetJobId()))
		})
	}
	t.Run("and the trail is that of a run left alone", func(t *testing.T) {
		_, killed := killedRun(t, r, "team-20", &points[8])
		_, alone := killedRun(t, r, "team-21", nil)
		require.Len(t, killed, len(alone))
		words := func(lines []string) (out []string) {
			for _, l := range lines {
				action, _, _ := strings.Cut(l, " ")
				out = append(out, action)
			}
			return out
		}
		require.Equal(t, words(alone), words(killed))
	})
}

// The database dies in the middle of a run, when a change is made and not written down yet. It comes back by itself, what
// was accepted before goes on, and who asks meanwhile is answered when it is back.
func TestRun_PostgresKilled_GoesOnByItself(t *testing.T) {
	if _, err := pgserver.Installed(); err != nil {
		testkit.SkipFor(t, err.Error())
	}
	r := startOn(t, "", generated(t), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r.driftBy("team-00")
	r.driftBy("team-01")
	reached, release := atCall(pager, "PUT", "/users/", 0, true)(t, r)
	before, err := r.client.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: "team-00"})
	require.NoError(t, err)
	require.NoError(t, reached(ctx))

	pid := r.system.Info().PIDs["postgres"]
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	r.said.Await(t, "output", "PostgreSQL died")
	var meanwhile string
	for meanwhile == "" && ctx.Err() == nil { // each time the client tries for seconds
		meanwhile, err = r.client.Reconcile(ctx, "asked-while-it-was-down", &nthlayerv1.ReconcileTeamRequest{TeamId: "team-01"})
	}
	require.NoError(t, err)
	r.said.Await(t, "output", "PostgreSQL is back")
	require.NotEqual(t, pid, r.system.Info().PIDs["postgres"])
	release()

	for team, job := range map[string]string{"team-00": before, "team-01": meanwhile} {
		run, err := r.client.Wait(ctx, job)
		require.NoError(t, err, team)
		require.Equal(t, "succeeded", run.GetStatus(), "%s: %s", team, run.GetError())
		require.Len(t, run.GetFindings(), 1, team)
		require.Equal(t, "applied", run.GetFindings()[0].GetOutcome(), team)
	}
	want, _ := r.declaredState()
	have, _ := r.pagerState()
	require.Empty(t, cmp.Diff(want, have))
}

func deliveries(t *testing.T, r *rig, job string) (n int) {
	t.Helper()
	for _, err := range r.client.ListDeliveries(t.Context(), &nthlayerv1.ListDeliveriesRequest{JobId: job}) {
		require.NoError(t, err)
		n++
	}
	return n
}
