package audits_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	cortexsim "github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/audits"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	ours   = "our-account-key-0urs"
	theirs = "somebody-elses-key"

	part = 25 // teams of one part
	// settle covers what the simulator's clock is behind: PagerDuty's records are asked for in whole seconds, and what has
	// just happened shall be seen.
	settle, behind = time.Minute, 5 * time.Second
)

// fleet is a made-up company: each way in which teams drift, a share of rotations, teams that nobody declares.
func fleet(teams int) *org.Org {
	return org.Generate(org.GenerateOptions{Teams: teams, People: 3 * teams, Seed: 7, Drifted: teams / 4, Policies: 0.5, Orphans: 3})
}

// rig is workers with a real database and simulated platforms in the test's hands. The test moves audits along itself.
type rig struct {
	t *testing.T
	*store.Store
	db        *pgx.Conn
	org       *org.Org
	cortex    *cortexsim.Server
	pagerduty *pagerdutysim.Server
	client    *pagerduty.Client
	worker    *audits.Worker
	opts      audits.Options
	lag       atomic.Int64 // by how much PagerDuty's clock is behind
	make      func(audits.Options) *audits.Worker

	mu     sync.Mutex
	before func(*http.Request) // called with each request to PagerDuty
}

func start(t *testing.T, o *org.Org) *rig {
	url := testkit.Postgres(t)
	r := &rig{t: t, org: o, cortex: cortexsim.New(cortexsim.Options{Token: ours})}
	r.lag.Store(int64(behind))
	r.pagerduty = pagerdutysim.New(pagerdutysim.Options{Token: ours, Clock: func() time.Time {
		return time.Now().Add(-time.Duration(r.lag.Load()))
	}})
	var err error
	r.Store, err = store.Open(t.Context(), config.NewSecret(url), store.Options{MaxConns: 20})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.db, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })
	require.NoError(t, r.cortex.LoadOrg(o))
	require.NoError(t, r.pagerduty.LoadOrg(o))
	for _, c := range []*control.Control{r.cortex.Control(), r.pagerduty.Control()} {
		c.SetLimits(control.Limits{})
	}
	r.pagerduty.SetUserTokens(map[string]string{theirs: o.People[0].Address()})

	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	source := serve(r.cortex)
	target := serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		before := r.before
		r.mu.Unlock()
		if before != nil {
			before(req)
		}
		r.pagerduty.ServeHTTP(w, req)
	}))
	quick := upstream.Config{Attempts: 2, AttemptTimeout: 2 * time.Second, Breaker: upstream.Breaker{Requests: 1000}, Log: slog.New(slog.DiscardHandler)}
	ways := []*http.Client{cortex.HTTP(quick), pagerduty.HTTP(quick)}
	t.Cleanup(func() {
		for _, w := range ways {
			w.CloseIdleConnections()
		}
	})
	from := cortex.New(cortex.Config{BaseURL: source, Token: config.NewSecret(ours), HTTP: ways[0]})
	r.client = pagerduty.New(pagerduty.Config{BaseURL: target, Token: config.NewSecret(ours), HTTP: ways[1]})
	r.make = func(opts audits.Options) *audits.Worker {
		return audits.New(r.Store, from, r.client.Reader(), func() {}, slog.New(slog.NewTextHandler(t.Output(), nil)), opts)
	}
	r.opts = audits.Options{
		Owner: "worker", Lease: 30 * time.Second, Patience: time.Hour, Settle: settle, Shrink: 0.2,
		Roles: ownership.DefaultRoleMap(), CreateTeams: true, OwnToken: func() string { return pagerduty.Truncated(ours) },
	}
	r.worker = r.make(r.opts)
	return r
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.db.QueryRow(r.t.Context(), sql, args...).Scan(&n))
	return n
}

// on has the test called at each request to PagerDuty of that method whose path ends with a text, with its number from 1.
func (r *rig) on(method, ends string, do func(n int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counting sync.Mutex
	n := 0
	r.before = func(req *http.Request) {
		if req.Method == method && strings.HasSuffix(req.URL.Path, ends) {
			counting.Lock()
			n++
			here := n
			counting.Unlock()
			do(here)
		}
	}
}

func (r *rig) off() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = nil
}

// by changes PagerDuty with somebody's key.
func (r *rig) by(key, method, path, body string) {
	r.t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Token token="+key)
	answer := httptest.NewRecorder()
	r.pagerduty.ServeHTTP(answer, request)
	require.Less(r.t, answer.Code, 300, answer.Body.String())
}

func (r *rig) request(tune func(*store.AuditRequest)) uuid.UUID {
	r.t.Helper()
	request := store.AuditRequest{Mode: audit.Auto, AutoReconcile: audit.Observe}
	if tune != nil {
		tune(&request)
	}
	id, _, err := r.AcceptAudit(r.t.Context(), store.NewAudit{RequestedBy: "alice", Request: request}, "", []byte("x"))
	require.NoError(r.t, err)
	return id
}

func full(request *store.AuditRequest) { request.Mode = audit.Full }

// messages takes what is due out of the outbox of audits.
func (r *rig) messages() (due []queue.Received) {
	r.t.Helper()
	outbox := r.NewOutbox(store.Queues{Reconcile: "reconcile.fifo", Notifications: "notifications.fifo", Audit: "audit.fifo"}, time.Minute)
	_, err := outbox.Drain(r.t.Context(), 1000, func(_ context.Context, messages []queue.Message) (sent []bool, err error) {
		for i, m := range messages {
			sent = append(sent, m.Queue == "audit.fifo")
			if sent[i] {
				due = append(due, queue.Received{ID: m.Dedup, Queue: m.Queue, Group: m.Group, Body: m.Body, ReceiveCount: 1})
			}
		}
		return sent, nil
	})
	require.NoError(r.t, err)
	return due
}

// move does what the audit-scheduler does.
func (r *rig) move() {
	r.t.Helper()
	steps, err := r.AuditSteps(r.t.Context())
	require.NoError(r.t, err)
	for _, step := range steps {
		if step.Scan {
			_, err = r.HandOut(r.t.Context(), step.AuditID, 1000, part)
		} else {
			_, err = r.EndAudit(r.t.Context(), step.AuditID, func(store.Audit, notice.AuditFinished) ([]store.Delivery, error) { return nil, nil })
		}
		require.NoError(r.t, err)
	}
}

// step handles what is due and moves audits along; false: there was nothing to handle.
func (r *rig) step() bool {
	r.t.Helper()
	due := r.messages()
	for _, m := range due {
		require.NoError(r.t, r.worker.Handle(r.t.Context(), m))
	}
	r.move()
	return len(due) > 0
}

// finish works until the audit has ended or nothing is due any more.
func (r *rig) finish(id uuid.UUID) store.Audit {
	r.t.Helper()
	for r.step() || r.audit(id).Phase == store.PhaseScan || r.audit(id).Phase == store.PhaseSummary {
	}
	r.move()
	return r.audit(id)
}

// whole makes an audit from begin to end.
func (r *rig) whole(tune func(*store.AuditRequest)) store.Audit {
	r.t.Helper()
	a := r.finish(r.request(tune))
	require.NotNil(r.t, a.FinishedAt, "it is %s", a.Phase)
	return a
}

// due makes what was put back due at once.
func (r *rig) due() {
	r.t.Helper()
	r.exec("UPDATE audit_jobs SET available_at = now()")
	r.exec("UPDATE outbox SET available_at = now()")
}

// impatient makes it long ago that platforms began to keep parts from going on.
func (r *rig) impatient() {
	r.t.Helper()
	r.exec("UPDATE audit_jobs SET failing_since = now() - interval '2 hours' WHERE failing_since IS NOT NULL")
}

func (r *rig) audit(id uuid.UUID) store.Audit {
	r.t.Helper()
	a, err := r.Audit(r.t.Context(), id)
	require.NoError(r.t, err)
	return a
}

// findings are those with a status, "team kind entity", sorted.
func (r *rig) findings(status string) []string {
	r.t.Helper()
	list := []string{}
	for _, f := range r.all(status) {
		list = append(list, f.TeamID+" "+f.Kind+" "+f.EntityRef)
	}
	slices.Sort(list)
	return list
}

func (r *rig) all(status string) []store.AuditFinding {
	r.t.Helper()
	found, err := r.AuditFindings(r.t.Context(), store.AuditFindingFilter{Status: status, Limit: 10_000})
	require.NoError(r.t, err)
	return found
}

// expected are the findings that the company has, from what it declares and what is observed alone.
func expected(o *org.Org) []string {
	observed := o.Observed()
	emails, byName, paged := map[string]string{}, map[string]org.PagerDutyTeam{}, map[string]map[string]bool{}
	for _, u := range observed.Users {
		emails[u.ID] = u.Email
	}
	for _, t := range observed.Teams {
		byName[t.Name], paged[t.ID] = t, map[string]bool{}
	}
	for _, p := range observed.Policies {
		for _, u := range p.Users {
			paged[p.TeamID][u] = true
		}
		for _, s := range observed.Schedules {
			for _, u := range s.Users {
				paged[p.TeamID][u] = paged[p.TeamID][u] || slices.Contains(p.Schedules, s.ID)
			}
		}
	}
	list := []string{}
	add := func(team, kind, entity string) { list = append(list, team+" "+kind+" "+entity) }
	declared := map[string]bool{}
	for _, d := range o.Declared() {
		declared[d.Name] = true
		t, there := byName[d.Name]
		if !there {
			add(d.Tag, "create_team", "team:"+d.Tag)
		} else if t.Description != d.Description {
			add(d.Tag, "update_team", "team:"+d.Tag)
		}
		is := map[string]string{}
		for _, m := range t.Members {
			is[emails[m.UserID]] = m.Role
		}
		shall := map[string]string{}
		for _, m := range d.Members {
			shall[m.Email] = "responder"
			if len(m.Roles) > 0 {
				shall[m.Email] = m.Roles[0]
			}
		}
		for email, role := range shall {
			switch is[email] {
			case role:
			case "":
				add(d.Tag, "add_member", "person:"+email)
			default:
				add(d.Tag, "change_role", "person:"+email)
			}
		}
		for _, m := range t.Members {
			switch email := emails[m.UserID]; {
			case shall[email] != "":
			case paged[t.ID][m.UserID]:
				add(d.Tag, "on_escalation_policy", "person:"+email)
			default:
				add(d.Tag, "remove_member", "person:"+email)
			}
		}
	}
	for _, t := range observed.Teams {
		if !declared[t.Name] {
			add("", "orphan_team", "target:"+t.ID)
		}
	}
	slices.Sort(list)
	return list
}

// targets are the declared teams that PagerDuty has: tag → id.
func (r *rig) targets() map[string]string {
	ids := map[string]string{}
	for _, t := range r.org.Observed().Teams {
		if t.Tag != "" {
			ids[t.Tag] = t.ID
		}
	}
	return ids
}

// quiet are the tags of teams without drift, in order.
func (r *rig) quiet() (tags []string) {
	for _, t := range r.org.Teams {
		d := r.org.PagerDuty.Teams[t.Tag]
		if d.Description == nil && !d.Absent && len(d.Missing)+len(d.Extra)+len(d.Roles) == 0 {
			tags = append(tags, t.Tag)
		}
	}
	return tags
}

// unheld gives the id and the address of somebody in the team whom no policy pages, with the role.
func (r *rig) unheld(tag string) (userID, email, role string) {
	r.t.Helper()
	state := r.pagerduty.State().(pagerdutysim.State)
	held := map[string]bool{}
	for _, s := range state.Schedules {
		for _, u := range s.Users {
			held[u] = true
		}
	}
	for _, t := range state.Teams {
		if t.ID != r.targets()[tag] {
			continue
		}
		for _, m := range t.Members {
			if !held[m.UserID] && m.Email != r.org.People[0].Address() {
				return m.UserID, m.Email, m.Role
			}
		}
	}
	r.t.Fatalf("everybody in %s is on a rotation", tag)
	return "", "", ""
}

// calls counts requests to PagerDuty by route since they were last forgotten.
func (r *rig) calls() map[string]int { return r.pagerduty.Control().Calls().Counts }

func (r *rig) forgetCalls() {
	r.cortex.Control().ClearCalls()
	r.pagerduty.Control().ClearCalls()
}

const memberReads = "GET /teams/{id}/members"

// onlyReads fails where anything but reads reached a platform.
func (r *rig) onlyReads() {
	r.t.Helper()
	for platform, c := range map[string]*control.Control{"cortex": r.cortex.Control(), "pagerduty": r.pagerduty.Control()} {
		calls := c.Calls()
		require.Zero(r.t, calls.Writes, platform)
		require.NotZero(r.t, calls.Total, platform)
		for _, call := range calls.Calls {
			require.Equal(r.t, http.MethodGet, call.Method, "%s %s", platform, call.Path)
			require.Empty(r.t, call.Effect)
		}
	}
}

// forgotten lets the next audit's records begin now.
func (r *rig) forgotten() { r.exec("UPDATE fleet SET records_until = now()") }

func message(id uuid.UUID, no int) queue.Received {
	body, _ := json.Marshal(map[string]any{"audit_id": id, "job_no": no})
	return queue.Received{ID: fmt.Sprint("m", no), Queue: "audit.fifo", Body: body, ReceiveCount: 1}
}
