package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/testkit/checker"
)

const (
	credential    = "chaos-credential"
	byHand        = "chaos-by-hand" // a person's key: what PagerDuty records of it is not the workers' own
	scheduler     = "audit-scheduler"
	loadTeams     = 60 // team-00 …: the owners' teams; those above belong to the scenarios
	allTeams      = 68
	people        = 100
	lease         = 2 * time.Second
	patience      = 2 * time.Minute
	quietWithin   = 90 * time.Second // a breaker's pause and the longest backoff, and then some
	auditPatience = 2 * time.Second  // short: what cannot be read for so long is unknown, and an audit goes on
	auditSettle   = 5 * time.Second  // longer than any read lags
	toldWithin    = 3 * time.Minute  // an attempt of unknown outcome is looked after 35 s later, lost messages every minute
	plenty        = 1_000_000        // a quota that nobody uses up
)

var (
	workers   = []string{"reconcile-worker", "reconcile-worker-2", "reconcile-worker-3"}
	gateways  = []string{"gateway", "gateway-2"}
	notifiers = []string{"notifier", "notifier-2"}
	// clocks are wrong by more than any lease, token or certificate would forgive.
	clocks = map[string]string{"reconcile-worker-2": "10m", "reconcile-worker-3": "-10m"}
)

// rig is a running system, and everything that can be done to it.
type rig struct {
	system    *system.System
	cortex    *cortex.Server
	pagerduty *pagerduty.Server
	slack     *slack.Server
	gates     *gates
	database  *database
	redis     limits
	sqs       *messages
	dam       *dam // before gateway-2's database
	cable     *dam // between the last worker and its database
	sources   checker.Sources
	person    http.Handler // PagerDuty, as a person reaches it
	random    *rand.Rand   // of the scenarios; the owners have their own
	seed      uint64
	logs      string
	load      *load
	teams     map[string]string // PagerDuty's ids at the beginning
	lastAudit string            // empty: it has not come yet

	mu       sync.Mutex
	hurt     map[string]int // what was done, by kind
	accepted []checker.Accepted
	audits   []checker.Accepted
	looks    []checker.Look
	reported map[checker.Violation]bool
}

func (r *rig) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hurt[what]++
}

// organisation is one in order.
func organisation(t *testing.T) *org.Org {
	o := map[string]any{}
	var everybody []string
	for i := range people {
		everybody = append(everybody, handle(i))
	}
	var teams []any
	for i := range allTeams {
		teams = append(teams, map[string]any{
			"tag": tag(i), "name": tag(i), "org": "acme", "description": fmt.Sprintf("Team %d", i), "maintainers": []string{handle(i)},
			"members": []string{handle(i + 1), handle(i + 2), handle(i + 3), handle(i + 30)},
		})
	}
	o["people"], o["teams"] = everybody, teams
	content, err := json.Marshal(o)
	require.NoError(t, err)
	decoded, err := org.Decode(bytes.NewReader(content))
	require.NoError(t, err)
	return decoded
}

func tag(i int) string    { return fmt.Sprintf("team-%02d", i) }
func handle(i int) string { return fmt.Sprintf("person-%02d", i%people) }

// start brings everything up.
func start(t *testing.T, seed uint64) *rig {
	t.Helper()
	ctx := t.Context()
	state, err := os.MkdirTemp("", "nthlayer-chaos-") //nolint:usetesting // kept when the suite fails: the logs tell why
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs are in %s", filepath.Join(state, "logs"))
			return
		}
		_ = os.RemoveAll(state)
	})
	bin := filepath.Join(state, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, build(bin))

	r := &rig{
		cortex:    cortex.New(cortex.Options{Token: credential}),
		pagerduty: pagerduty.New(pagerduty.Options{Token: credential}),
		slack:     slack.New(slack.Options{Token: credential}),
		gates:     &gates{}, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), logs: filepath.Join(state, "logs"),
		hurt: map[string]int{}, reported: map[checker.Violation]bool{},
	}
	o := organisation(t)
	for _, platform := range []interface{ LoadOrg(*org.Org) error }{r.cortex, r.pagerduty, r.slack} {
		require.NoError(t, platform.LoadOrg(o))
	}
	r.pagerduty.Control().SetLimits(control.Limits{PerMinute: plenty})
	r.cortex.Control().SetLimits(control.Limits{})
	r.slack.Control().SetLimits(control.Limits{})
	r.person = control.Via("person", r.pagerduty)
	_, users := r.observed(tag(0))
	r.pagerduty.SetUserTokens(map[string]string{byHand: users[0].ID})

	r.startParts(t)
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	r.sources = checker.Sources{Database: r.database.url(), Cortex: serve(r.cortex), PagerDuty: serve(r.pagerduty), Slack: serve(generous(r.slack))}
	env := r.environment(t, serve)

	r.system, err = system.Start(ctx, system.Config{
		StateDir: state, BinDir: bin, Gateways: len(gateways), Workers: len(workers), Notifiers: len(notifiers),
		Log: slog.New(slog.DiscardHandler), ServiceEnv: func(name string) []string { return env[name] },
		Outside: system.Outside{
			CortexURL: r.sources.Cortex, PagerDutyURL: r.sources.PagerDuty, SlackURL: r.sources.Slack + "/api/",
			CortexToken: config.NewSecret(credential), PagerDutyToken: config.NewSecret(credential), SlackToken: config.NewSecret(credential),
			DatabaseURL: config.NewSecret(r.sources.Database), SQSEndpoint: r.sqs.endpoint(), RedisAddr: r.redis.server.Addr(),
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		r.thaw()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		require.NoError(t, r.system.Stop(stopping))
	})
	require.NoError(t, r.sources.InstallClaimLog(ctx))
	require.NoError(t, r.exec(ctx, sabotage))
	r.teams, err = r.sources.KnownTeams(ctx)
	require.NoError(t, err)
	require.Len(t, r.teams, allTeams)
	r.load = newLoad(t, r)
	r.schedule(t)
	return r
}

func (r *rig) startParts(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	var err error
	r.database, err = startDatabase(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.database.stop(ctx)) })
	r.redis = limits{miniredis.NewMiniRedis()}
	require.NoError(t, r.redis.server.Start())
	t.Cleanup(r.redis.server.Close)
	r.sqs, err = startMessages(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.sqs.stop()) })
	address, err := url.Parse(r.database.url())
	require.NoError(t, err)
	for _, d := range []**dam{&r.dam, &r.cable} {
		*d, err = startDam(t.Context(), address.Host)
		require.NoError(t, err)
		t.Cleanup((*d).stop)
	}
}

// environment gives each process its own: the workers a way of their own to PagerDuty and a name in the database, two of
// them a wrong clock, one gateway the dam, one worker the cable.
func (r *rig) environment(t *testing.T, serve func(http.Handler) string) map[string][]string {
	env := map[string][]string{}
	// Chaos takes more people out of each team, within minutes, than a person would let pass without a look: nobody is here to approve.
	rules := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(rules, "params.yaml"), []byte("removals: {share: 1}\n"), 0o600))
	for _, name := range workers {
		env[name] = []string{
			"NTHLAYER_PAGERDUTY_URL=" + serve(control.Via(name, r.gates.before(name, r.pagerduty))),
			"NTHLAYER_DATABASE_URL=" + r.sources.Database + "&application_name=" + name,
			"NTHLAYER_LEASE=" + lease.String(), "NTHLAYER_RETRY_AFTER=100ms", "NTHLAYER_MAX_ATTEMPTS=8", "NTHLAYER_PATIENCE=" + patience.String(),
			fmt.Sprint("NTHLAYER_CORTEX_PER_MINUTE=", plenty), fmt.Sprint("NTHLAYER_PAGERDUTY_PER_MINUTE=", plenty),
			"NTHLAYER_CREATE_TEAMS=true", "NTHLAYER_VERIFY_WITHIN=15s", "NTHLAYER_POLICY_DIR=" + rules,
			"NTHLAYER_AUDIT_PATIENCE=" + auditPatience.String(), "NTHLAYER_AUDIT_SETTLE=" + auditSettle.String(),
			skewVariable + "=" + clocks[name],
		}
	}
	for _, name := range gateways {
		env[name] = []string{fmt.Sprint("NTHLAYER_RATE_PER_MINUTE=", plenty)}
	}
	env[scheduler] = []string{"NTHLAYER_TICK_EVERY=500ms"}
	through := func(d *dam) string { return strings.Replace(r.sources.Database, d.to, d.l.Addr().String(), 1) }
	env["gateway-2"] = append(env["gateway-2"], "NTHLAYER_DATABASE_URL="+through(r.dam))
	last := workers[len(workers)-1]
	env[last] = append(env[last], "NTHLAYER_DATABASE_URL="+through(r.cable)+"&application_name="+last)
	return env
}

// generous has Slack state a quota that makes notifiers quicker than the one message a second that they keep to by
// themselves: eight minutes of load would take an hour to tell.
func generous(slack http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ratelimit-limit", fmt.Sprint(plenty))
		slack.ServeHTTP(w, r)
	})
}

// sabotage is what the scenarios do inside the database.
const sabotage = `
-- The next so many outcomes of changes cannot be written: a sequence counts what a rolled-back transaction would forget.
CREATE SEQUENCE chaos_outcomes;
CREATE TABLE chaos_fail (until bigint NOT NULL, team text NOT NULL); -- '': of any team
INSERT INTO chaos_fail VALUES (0, '');
CREATE FUNCTION chaos_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.outcome IS NULL AND NEW.outcome IS NOT NULL THEN
        IF EXISTS (SELECT FROM chaos_fail, runs WHERE runs.job_id = NEW.job_id AND team IN ('', runs.team_id))
            AND nextval('chaos_outcomes') <= (SELECT until FROM chaos_fail) THEN
            RAISE EXCEPTION 'chaos: this outcome is not to be written';
        END IF;
        -- Whoever holds the lock sees the outcomes of team-60 wait for it.
        PERFORM pg_advisory_xact_lock_shared(4711) FROM runs WHERE runs.job_id = NEW.job_id AND runs.team_id = 'team-60';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chaos_outcome BEFORE UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION chaos_outcome();
-- And whoever holds this one sees the findings of team-67 wait, in a transaction that has the trail's head.
CREATE FUNCTION chaos_finding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.team_id = 'team-67' THEN
        PERFORM pg_advisory_xact_lock_shared(4712);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chaos_finding BEFORE INSERT ON findings FOR EACH ROW EXECUTE FUNCTION chaos_finding();`

func (r *rig) exec(ctx context.Context, sql string, args ...any) error {
	return r.query(ctx, func(conn *pgx.Conn) error {
		if len(args) == 0 { // many statements at once
			_, err := conn.Exec(ctx, sql)
			return err
		}
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

func (r *rig) query(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.sources.Database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// thaw lets everybody go on that was frozen.
func (r *rig) thaw() {
	for _, names := range [][]string{workers, gateways, notifiers, {scheduler}} {
		for _, name := range names {
			_ = r.system.Service(name).Signal(syscall.SIGCONT) // one that is down needs none
		}
	}
}

// heal ends every fault.
func (r *rig) heal() {
	r.thaw()
	for _, c := range []*control.Control{r.cortex.Control(), r.pagerduty.Control(), r.slack.Control()} {
		c.ClearFaults()
	}
	r.sqs.clear()
	r.stale(0)
}

// stale has PagerDuty's reads lag its writes.
func (r *rig) stale(d time.Duration) {
	limits := r.pagerduty.Control().Limits()
	limits.StaleMS = int(d.Milliseconds())
	r.pagerduty.Control().SetLimits(limits)
}

// within is a deadline for what a scenario waits for.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %s", d))
	t.Cleanup(cancel)
	return ctx
}

// until asks again and again until something is so.
func until(ctx context.Context, what string, so func(context.Context) (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := so(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// settle ends a scenario: the owners rest, the system becomes quiet, and the checker judges everything so far. What it
// found before it does not tell again.
func (r *rig) settle(t *testing.T) {
	t.Helper()
	r.heal()
	r.load.rest(t)
	r.awaitQuiet(t)
	r.judge(t, true)
}

// freeze stops a process for a while.
func (r *rig) freeze(ctx context.Context, name string, d time.Duration) {
	r.note("SIGSTOP " + serviceOf(name))
	child := r.system.Service(name)
	if child.Signal(syscall.SIGSTOP) == nil {
		pause(ctx, d)
		_ = child.Signal(syscall.SIGCONT) // it was not killed meanwhile: one thing is done at a time
	}
}

func (r *rig) awaitQuiet(t *testing.T) {
	t.Helper()
	err := until(within(t, quietWithin), "no run is under way", func(ctx context.Context) (bool, error) {
		err := r.query(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, `SELECT format('%s %s %s attempt %s, due in %s: %s %s', job_id, team_id, status, attempt, available_at - now(), error_reason, error_message)
				FROM runs WHERE status NOT IN ('succeeded', 'failed', 'dead_lettered', 'canceled')`)
			if err != nil {
				return err
			}
			left, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%d runs are left, as %s", len(left), left[0])
			}
			return err
		})
		return err == nil, err
	})
	if err != nil {
		t.Error(err)
	}
}

// judge gathers the evidence and has it checked. While audits and notifications are under way their end is not asked for.
func (r *rig) judge(t *testing.T, underWay bool) checker.Report {
	t.Helper()
	e, err := r.sources.Gather(within(t, time.Minute))
	require.NoError(t, err)
	r.mu.Lock()
	e.Accepted, e.Looks, e.Teams, e.Workers, e.Patience = r.accepted, r.looks, r.teams, workers, patience
	e.AcceptedAudits, e.LastAudit, e.Telling, e.Auditing = r.audits, r.lastAudit, underWay, underWay
	r.mu.Unlock()
	report := e.Check()
	for _, v := range report.Violations {
		if !r.reported[v] {
			r.reported[v] = true
			t.Error(v)
		}
	}
	return report
}

// awaitTold waits until every notification has been told. The messages that SQS lost are announced again after 15 minutes:
// for those, the time is made to have passed.
func (r *rig) awaitTold(t *testing.T) {
	t.Helper()
	err := until(within(t, toldWithin), "everybody is told", func(ctx context.Context) (bool, error) {
		pending := 0
		err := r.query(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `SELECT count(*) FROM deliveries WHERE status = 'pending'`).Scan(&pending)
		})
		if err == nil && pending > 0 {
			err = fmt.Errorf("%d deliveries are pending", pending)
			_ = r.age(ctx)
		}
		return err == nil, err
	})
	if err != nil {
		t.Error(err)
	}
}

// age makes deliveries that nobody is at look as old as the notifiers wait for before they announce them again. An attempt
// is over after 35 s (services/notifier). So it does to parts of audits, for which that can be ten minutes.
func (r *rig) age(ctx context.Context) error {
	if err := r.exec(ctx, `UPDATE audit_jobs SET announced_at = announced_at - interval '10 minutes'
		WHERE done_at IS NULL AND available_at < now() AND until < now() AND announced_at > now() - interval '10 minutes'`); err != nil {
		return err
	}
	return r.exec(ctx, `UPDATE deliveries SET created_at = created_at - interval '16 minutes', attempted_at = attempted_at - interval '16 minutes'
		WHERE status = 'pending' AND (attempted_at IS NULL OR attempted_at < now() - interval '40 s')
		AND coalesce(attempted_at, created_at) > now() - interval '15 minutes'`)
}
