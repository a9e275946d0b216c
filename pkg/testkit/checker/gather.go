package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Sources say where the evidence is. The platforms are given by the base URL under which they have /_control/.
type Sources struct{ Database, Cortex, PagerDuty, Slack string }

// claimLog keeps every claim of a team with the moment in which it was made. application_name says who claimed: give each
// worker a database URL with a name of its own.
const claimLog = `
CREATE TABLE IF NOT EXISTS checker_claims (
    seq     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL,
    team_id text        NOT NULL,
    fence   bigint      NOT NULL,
    worker  text        NOT NULL
);
CREATE OR REPLACE FUNCTION checker_note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.fence <> OLD.fence THEN
        INSERT INTO checker_claims (at, team_id, fence, worker)
        VALUES (clock_timestamp(), NEW.team_id, NEW.fence, current_setting('application_name'));
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER checker_claims AFTER INSERT OR UPDATE ON leases
    FOR EACH ROW EXECUTE FUNCTION checker_note_claim();`

// InstallClaimLog begins to log claims. Call it before the first worker runs.
func (s Sources) InstallClaimLog(ctx context.Context) error {
	return s.query(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, claimLog)
		return err
	})
}

func (s Sources) query(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.Database)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // every statement's own error was seen
	return f(conn)
}

// Gather reads everything. The caller adds what it knows itself.
func (s Sources) Gather(ctx context.Context) (*Evidence, error) {
	e := &Evidence{}
	if err := s.query(ctx, func(conn *pgx.Conn) error {
		// One moment of everything: audits may be under way.
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			return e.readDatabase(ctx, tx)
		})
	}); err != nil {
		return nil, err
	}
	source, target, err := s.sides(ctx)
	if err != nil {
		return nil, err
	}
	e.Names, e.Wanted, e.Found, e.People = map[string]string{}, map[string]Team{}, map[string]Team{}, map[string]string{}
	for _, t := range source.Teams {
		e.Names[t.Name], e.Wanted[t.Tag] = t.Tag, Team{t.Name, t.Description, t.members()}
	}
	for _, t := range target.Teams {
		e.Found[t.ID] = Team{t.Name, t.Description, t.members()}
	}
	for _, u := range target.Users {
		e.People[u.ID] = u.Email
	}
	for _, log := range []struct {
		platform string
		into     *[]Call
	}{{s.PagerDuty, &e.PagerDuty}, {s.Cortex, &e.Cortex}, {s.Slack, &e.Slack}} {
		var calls struct {
			Total int
			Calls []Call
		}
		if err := read(ctx, log.platform+"/_control/calls", &calls); err != nil {
			return nil, err
		}
		if calls.Total > len(calls.Calls) {
			return nil, fmt.Errorf("%s answered %d calls and kept %d of them: there is no telling what the others did", log.platform, calls.Total, len(calls.Calls))
		}
		slices.SortStableFunc(calls.Calls, func(a, b Call) int { return a.Time.Compare(b.Time) })
		*log.into = calls.Calls
	}
	e.Messages, err = s.messages(ctx)
	return e, err
}

func (e *Evidence) readDatabase(ctx context.Context, tx pgx.Tx) error {
	e.Runs, e.Audits, e.Links = map[string]Run{}, map[string]Audit{}, map[string]string{}
	var id string
	var run Run
	var claim Claim
	var f Finding
	var d Delivery
	var i Intent
	var a Audit
	var at AuditTeam
	var af AuditFinding
	var team, target string
	for _, q := range []struct {
		sql  string
		into []any
		keep func()
	}{
		{
			`SELECT job_id::text, team_id, idempotency_key, status, error_reason, attempt,
				coalesce(extract(epoch FROM finished_at - created_at) * 1e9, 0)::bigint FROM runs`,
			[]any{&id, &run.Team, &run.Key, &run.Status, &run.Reason, &run.Attempt, (*int64)(&run.Age)}, func() { e.Runs[id] = run },
		},
		{
			`SELECT at, team_id, worker FROM checker_claims ORDER BY at, seq`,
			[]any{&claim.At, &claim.Team, &claim.Worker}, func() { e.Claims = append(e.Claims, claim) },
		},
		{
			`SELECT seq, job_id::text, change_id, team_id, outcome, content, prev_hash, hash FROM findings ORDER BY seq`,
			[]any{&f.Seq, &f.JobID, &f.ChangeID, &f.Team, &f.Outcome, &f.Content, &f.PrevHash, &f.Hash}, func() { e.Findings = append(e.Findings, f) },
		},
		{`SELECT seq, hash FROM trail_head`, []any{&e.Head.Seq, &e.Head.Hash}, func() {}},
		{
			`SELECT delivery_key, job_id::text, status FROM deliveries`,
			[]any{&d.Key, &d.JobID, &d.Status}, func() { e.Deliveries = append(e.Deliveries, d) },
		},
		{
			`SELECT intended_at, team_id, change->>'kind', coalesce(change->>'user_id', '') FROM changes JOIN runs USING (job_id)`,
			[]any{&i.At, &i.Team, &i.Kind, &i.Person}, func() { e.Intents = append(e.Intents, i) },
		},
		{
			`SELECT audit_id::text, schedule_id, coalesce(tick_at::text, ''), status, read, coalesce(nullif(request->>'notify', ''), 'always'),
				coalesce(request->>'slack_channel', ''), coalesce(request->'scope'->'include', '[]'), coalesce(request->'scope'->'exclude', '[]'),
				teams_total, teams_done, coalesce(report->'counts'->>'missed', '0')::integer, coalesce(report->'counts'->>'teams', '0')::integer,
				coalesce(report->'counts'->>'in_sync', '0')::integer, coalesce(report->'counts'->>'out_of_sync', '0')::integer,
				coalesce(report->'counts'->>'unknown', '0')::integer,
				(SELECT count(*) FROM audit_jobs WHERE audit_jobs.audit_id = audits.audit_id AND done_at IS NOT NULL),
				jsonb_build_object('cortex', cortex_calls, 'pagerduty', pagerduty_calls) FROM audits`,
			[]any{
				&id, &a.Schedule, &a.Tick, &a.Status, &a.Read, &a.Notify, &a.Channel, &a.Include, &a.Exclude, &a.Total, &a.Done, &a.Missed,
				&a.Counts.Teams, &a.Counts.InSync, &a.Counts.OutOfSync, &a.Counts.Unknown, &a.Parts, &a.Calls,
			}, func() {
				e.Audits[id] = a
				a = Audit{} // its slices and its map are the row's
			},
		},
		{
			`SELECT audit_id::text, team_id, coalesce(status, ''), unread_reason FROM audit_teams`,
			[]any{&at.Audit, &at.Team, &at.Status, &at.Unread}, func() { e.AuditTeams = append(e.AuditTeams, at) },
		},
		{
			`SELECT team_id, kind, category, entity_ref, status, resolved_at IS NOT NULL, resolved_by FROM audit_findings`,
			[]any{&af.Team, &af.Kind, &af.Category, &af.Entity, &af.Status, &af.Resolved, &af.By}, func() { e.AuditFindings = append(e.AuditFindings, af) },
		},
		{`SELECT team_id, target_id FROM links`, []any{&team, &target}, func() { e.Links[team] = target }},
	} {
		rows, err := tx.Query(ctx, q.sql)
		if err == nil {
			_, err = pgx.ForEachRow(rows, q.into, func() error { q.keep(); return nil })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", q.sql, err)
		}
	}
	return nil
}

// declared is Cortex's state.
type declared struct {
	Teams []declaredTeam
}

type declaredTeam struct {
	Tag, Name, Description string
	Members                []struct {
		Email string
		Roles []string
	}
}

// members gives each person's role in PagerDuty's words: managers are managers, all others responders.
func (t declaredTeam) members() map[string]string {
	roles := map[string]string{}
	for _, m := range t.Members {
		role := "responder"
		if slices.Contains(m.Roles, "manager") {
			role = "manager"
		}
		roles[strings.ToLower(m.Email)] = role
	}
	return roles
}

// observed is PagerDuty's state.
type observed struct {
	Teams []observedTeam
	Users []struct{ ID, Email string }
}

type observedTeam struct {
	ID, Name, Description string
	Members               []struct{ Email, Role string }
}

func (t observedTeam) members() map[string]string {
	roles := map[string]string{}
	for _, m := range t.Members {
		roles[strings.ToLower(m.Email)] = m.Role
	}
	return roles
}

func (s Sources) sides(ctx context.Context) (source declared, target observed, err error) {
	if err := read(ctx, s.Cortex+"/_control/state", &source); err != nil {
		return source, target, err
	}
	return source, target, read(ctx, s.PagerDuty+"/_control/state", &target)
}

// KnownTeams are the teams that both platforms have now, for Evidence.Teams: take it before anybody changes names.
func (s Sources) KnownTeams(ctx context.Context) (map[string]string, error) {
	source, target, err := s.sides(ctx)
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for _, t := range source.Teams {
		tags[t.Name] = t.Tag
	}
	known := map[string]string{}
	for _, t := range target.Teams {
		if tag, declared := tags[t.Name]; declared {
			known[t.ID] = tag
		}
	}
	return known, nil
}

// Look reads both platforms for a team whose run has ended.
func (s Sources) Look(ctx context.Context, jobID, team string) (Look, error) {
	l := Look{JobID: jobID, Team: team, Want: "(Cortex does not have it)"}
	source, target, err := s.sides(ctx)
	if err != nil {
		return l, err
	}
	name := ""
	for _, t := range source.Teams {
		if t.Tag == team {
			name, l.Want = t.Name, show(t.Name, t.Description, t.members())
		}
	}
	var have []string
	for _, t := range target.Teams {
		if t.Name != name {
			continue
		}
		have = append(have, show(t.Name, t.Description, t.members()))
	}
	if l.Have = strings.Join(have, " and "); len(have) == 0 {
		l.Have = "(no team of that name)"
	}
	return l, nil
}

func show(name, description string, members map[string]string) string {
	text := fmt.Sprintf("%s (%s):", name, description)
	for _, email := range slices.Sorted(maps.Keys(members)) {
		text += " " + email + "=" + members[email]
	}
	return text
}

func (s Sources) messages(ctx context.Context) ([]Message, error) {
	var state struct {
		Messages []struct {
			TS       string
			Thread   string `json:"thread_ts"`
			Metadata struct {
				Payload struct {
					Key string `json:"delivery_key"`
				} `json:"event_payload"`
			}
		}
	}
	if err := read(ctx, s.Slack+"/_control/state", &state); err != nil {
		return nil, err
	}
	messages := make([]Message, len(state.Messages))
	for i, m := range state.Messages {
		messages[i] = Message{Key: m.Metadata.Payload.Key, TS: m.TS, Thread: m.Thread}
	}
	return messages, nil
}

// maxState bounds what a simulator may send: a log of 200,000 calls is some 50 MiB.
const maxState = 256 << 20

func read(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("read %s: %s", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxState)).Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	return nil
}
