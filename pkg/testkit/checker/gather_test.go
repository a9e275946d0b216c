package checker_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/testkit/checker"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	job   = "0190a000-0000-7000-8000-000000000001"
	audit = "0190a000-0000-7000-8000-000000000002"
	asked = "0190a000-0000-7000-8000-000000000003"
)

// sources is a schema with a run in it, and the three simulators with one team.
func sources(t *testing.T) (checker.Sources, http.Handler) {
	o, err := org.Decode(strings.NewReader(`{"people":["ann","bob"],"teams":[{"tag":"team-a","name":"a","org":"acme","description":"A","maintainers":["ann"],"members":["bob"]}]}`))
	require.NoError(t, err)
	source, target, chat := cortex.New(cortex.Options{}), pagerduty.New(pagerduty.Options{Token: "key"}), slack.New(slack.Options{Token: "bot"})
	require.NoError(t, source.LoadOrg(o))
	require.NoError(t, target.LoadOrg(o))
	var urls []string
	for _, h := range []http.Handler{source, target, chat} {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ask(t, chat, http.MethodPost, "/api/chat.postMessage", "Bearer bot", "application/json",
		`{"channel":"C0OWNERSHIP","text":"hello","metadata":{"event_type":"x","event_payload":{"delivery_key":"key-1"}}}`)
	return checker.Sources{Database: testkit.Postgres(t), Cortex: urls[0], PagerDuty: urls[1], Slack: urls[2]}, target
}

func ask(t *testing.T, h http.Handler, method, path, credential, media, body string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", credential)
	r.Header.Set("Content-Type", media)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Less(t, w.Code, 300, w.Body.String())
}

func TestGather_ReadsBothSides(t *testing.T) {
	s, target := sources(t)
	require.NoError(t, s.InstallClaimLog(t.Context()))
	require.NoError(t, s.InstallClaimLog(t.Context()), "twice is once")
	known, err := s.KnownTeams(t.Context())
	require.NoError(t, err)
	require.Len(t, known, 1)

	conn, err := pgx.Connect(t.Context(), s.Database)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for _, sql := range []string{
		`SET application_name = 'worker-2'`,
		`INSERT INTO runs (job_id, type, team_id, status, requested_by, idempotency_key, request) VALUES ('` + job + `', 'reconcile', 'team-a', 'queued', 'dev', 'k1', '{}')`,
		`INSERT INTO leases (team_id, job_id, owner, fence, until) VALUES ('team-a', '` + job + `', 'o', 1, now())`,
		`UPDATE leases SET until = now() + interval '1 s'`, // renewed: no claim
		`UPDATE leases SET fence = 2`,
		`INSERT INTO changes (job_id, change_id, position, change, intended_at) VALUES
			('` + job + `', 'x', 0, '{"id":"x","kind":"add_member","user_id":"U1"}', '2026-03-01T12:00:00Z'),
			('` + job + `', 'y', 1, '{"id":"y","kind":"create_team"}', '2026-03-01T12:00:00Z')`,
		`INSERT INTO deliveries (delivery_key, job_id, medium, channel, payload) VALUES ('key-1', '` + job + `', 'slack', 'C', '{}')`,
		`INSERT INTO audits (audit_id, schedule_id, tick_at, status, phase, requested_by, request, read, teams_total, teams_done, cortex_calls, pagerduty_calls, report, finished_at)
			VALUES ('` + audit + `', 'nightly', '2026-03-01T12:00:00Z', 'succeeded', 'ended', 'schedule:nightly',
			'{"scope":{"include":["team-*"],"exclude":["x","y"]},"mode":"","notify":"on_change","slack_channel":"C"}', 'full', 3, 3, 1, 7,
			'{"counts":{"teams":3,"in_sync":2,"out_of_sync":1,"unknown":0,"missed":1}}', now())`,
		`INSERT INTO audits (audit_id, status, phase, requested_by, request) VALUES ('` + asked + `', 'queued', 'snapshot', 'dev', '{"scope":{},"mode":"auto"}')`,
		`INSERT INTO links (source, source_id, target, target_id, team_id) VALUES ('cortex', 'a', 'pagerduty', 'PA', 'team-a')`,
		`INSERT INTO audit_jobs (audit_id, job_no, done_at) VALUES ('` + audit + `', 0, now()), ('` + audit + `', 1, now()), ('` + audit + `', 2, NULL)`,
		`INSERT INTO audit_teams (audit_id, team_id, status, unread_reason) VALUES ('` + audit + `', 'team-a', NULL, ''), ('` + audit + `', 'team-b', 'unknown', 'AWAY')`,
		`INSERT INTO audit_findings (finding_id, team_id, kind, category, entity_ref, message, first_audit_id, last_audit_id)
			VALUES ('` + audit + `', 'team-a', 'add_member', 'drift', 'person:ann', '', '` + audit + `', '` + audit + `')`,
		`INSERT INTO audit_findings (finding_id, team_id, kind, category, entity_ref, message, status, first_audit_id, last_audit_id, resolved_at, resolved_by)
			VALUES ('` + asked + `', '', 'orphan_team', 'structure', 'target:P', '', 'resolved', '` + audit + `', '` + audit + `', now(), 'run:` + job + `')`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	var id, user string
	for id = range known {
	}
	e, err := s.Gather(t.Context())
	require.NoError(t, err)
	for u, email := range e.People {
		if email == "bob@example.org" {
			user = u
		}
	}
	ask(t, control.Via("worker-2", target), http.MethodDelete, "/teams/"+id+"/users/"+user, "Token token=key", "application/json", "")

	e, err = s.Gather(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]checker.Run{job: {Team: "team-a", Key: "k1", Status: "queued"}}, e.Runs)
	require.Len(t, e.Claims, 2)
	require.Equal(t, "worker-2", e.Claims[1].Worker)
	everybody := map[string]string{"ann@example.org": "manager", "bob@example.org": "responder"}
	require.Equal(t, map[string]checker.Team{"team-a": {Name: "acme/a", Description: "A", Members: everybody}}, e.Wanted)
	delete(everybody, "bob@example.org")
	require.Equal(t, map[string]checker.Team{id: {Name: "acme/a", Description: "A", Members: everybody}}, e.Found)
	require.Equal(t, []checker.Delivery{{Key: "key-1", JobID: job, Status: "pending"}}, e.Deliveries)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range e.Intents {
		e.Intents[i].At = e.Intents[i].At.UTC()
	}
	require.ElementsMatch(t, []checker.Intent{{At: noon, Team: "team-a", Kind: "add_member", Person: "U1"}, {At: noon, Team: "team-a", Kind: "create_team"}}, e.Intents)
	tick := e.Audits[audit].Tick
	require.Contains(t, tick, "2026-03-01")
	require.Equal(t, map[string]checker.Audit{
		audit: {
			Schedule: "nightly", Tick: tick, Status: "succeeded", Read: "full", Notify: "on_change", Channel: "C",
			Include: []string{"team-*"}, Exclude: []string{"x", "y"}, Total: 3, Done: 3, Missed: 1,
			Counts: checker.Counts{Teams: 3, InSync: 2, OutOfSync: 1}, Parts: 2, Calls: map[string]int{"cortex": 1, "pagerduty": 7},
		},
		asked: {
			Status: "queued", Notify: "always", Include: []string{}, Exclude: []string{}, Calls: map[string]int{"cortex": 0, "pagerduty": 0},
		},
	}, e.Audits)
	require.ElementsMatch(t, []checker.AuditTeam{{Audit: audit, Team: "team-a"}, {Audit: audit, Team: "team-b", Status: "unknown", Unread: "AWAY"}}, e.AuditTeams)
	require.Equal(t, map[string]string{"team-a": "PA"}, e.Links)
	require.ElementsMatch(t, []checker.AuditFinding{
		{Team: "team-a", Kind: "add_member", Category: "drift", Entity: "person:ann", Status: "open"},
		{Kind: "orphan_team", Category: "structure", Entity: "target:P", Status: "resolved", Resolved: true, By: "run:" + job},
	}, e.AuditFindings)
	require.Equal(t, "key-1", e.Messages[0].Key)
	require.Len(t, e.PagerDuty, 1)
	require.Equal(t, "worker-2", e.PagerDuty[0].Via)
	require.Equal(t, "remove_member "+id+" "+user, e.PagerDuty[0].Effect)

	l, err := s.Look(t.Context(), job, "team-a")
	require.NoError(t, err)
	require.Equal(t, "acme/a (A): ann@example.org=manager bob@example.org=responder", l.Want)
	require.Equal(t, "acme/a (A): ann@example.org=manager", l.Have)
	l, err = s.Look(t.Context(), job, "team-b")
	require.NoError(t, err)
	require.NotEqual(t, l.Want, l.Have)
}
