package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

// seedFindings makes so many findings, ten a team: four in five are resolved, one kind is seldom and was only found long
// ago, and the last audit saw all that are not resolved.
func seedFindings(t testing.TB, db *pgx.Conn, n int) {
	_, err := db.Exec(t.Context(), `
		INSERT INTO audit_findings (finding_id, team_id, kind, category, entity_ref, message, status, first_audit_id, last_audit_id,
			first_seen_at, acknowledged_until, resolved_at, resolved_by)
		SELECT numbered(i), 'team-' || i % $2, CASE WHEN i % 50 = 0 AND i < $1 / 10 THEN 'team_vanished'
				ELSE (ARRAY['add_member', 'add_member', 'add_member', 'remove_member', 'remove_member', 'change_role', 'user_not_found', 'removal_held'])[1 + i % 8] END,
			'drift', 'person:p' || i || '@example.org', 'p' || i || '@example.org is declared as responder and is not a member on the target',
			s.status, numbered(i), CASE s.status WHEN 'resolved' THEN numbered(i % 100) ELSE numbered(1000) END, now() - ($1 - i) * interval '1 minute',
			CASE s.status WHEN 'acknowledged' THEN now() + interval '1 day' END, CASE s.status WHEN 'resolved' THEN now() END, ''
		FROM generate_series(1, $1::int) AS i,
			LATERAL (SELECT CASE WHEN i / 8 % 5 > 0 THEN 'resolved' WHEN i / 40 % 10 = 0 THEN 'acknowledged' ELSE 'open' END AS status) AS s`, n, n/10)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), "ANALYZE audit_findings")
	require.NoError(t, err)
}

// withNumbers gives the database ids that are in order, as those of UUIDv7 are.
func withNumbers(t testing.TB, db *pgx.Conn) {
	_, err := db.Exec(t.Context(), `CREATE FUNCTION numbered(i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
		$$ SELECT (lpad(to_hex(i), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(i * 7919 % 1000003), 12, '0'))::uuid $$`)
	require.NoError(t, err)
}

func numbered(i int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%08x-0000-7000-8000-%012x", i, i*7919%1000003))
}

// plan is a node of what EXPLAIN (ANALYZE) tells.
type plan struct {
	Node     string  `json:"Node Type"`
	Index    string  `json:"Index Name"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Loops    float64 `json:"Actual Loops"`
	Plans    []plan  `json:"Plans"`
}

// read is how many rows the nodes that scan took, wanted or not; sorted how many were put into an order.
func (p plan) read() (read, sorted float64, nodes []string) {
	nodes = append(nodes, strings.TrimSpace(p.Node+" "+p.Index))
	if strings.Contains(p.Node, "Scan") {
		read = (p.Rows + p.Removed) * p.Loops
	}
	for _, child := range p.Plans {
		r, s, n := child.read()
		read, sorted, nodes = read+r, sorted+s, append(nodes, n...)
		if strings.Contains(p.Node, "Sort") {
			sorted += child.Rows * child.Loops
		}
	}
	return read, sorted, nodes
}

// explain runs the list's own statement with a filter's parameters, planned for them or for any.
func explain(t *testing.T, db *pgx.Conn, f store.AuditFindingFilter, mode string) plan {
	t.Helper()
	file, err := os.ReadFile("queries/audit_findings.sql")
	require.NoError(t, err)
	_, statement, found := strings.Cut(string(file), "-- name: ListAuditFindings :many\n")
	require.True(t, found)
	statement, _, _ = strings.Cut(statement, ";")
	statement = regexp.MustCompile(`sqlc\.narg\('([a-z_]+)'\)`).ReplaceAllString(statement, "@$1")
	values := map[string]string{
		"after": "'" + f.After.String() + "'::uuid", "audit_id": "'" + f.AuditID.String() + "'::uuid", "status": "'" + f.Status + "'",
		"kind": "'" + f.Kind + "'", "team_id": "'" + f.TeamID + "'", "page_size": fmt.Sprint(f.Limit), "teams": "NULL",
	}
	var types, literals []string
	numbers := map[string]string{}
	statement = regexp.MustCompile(`@[a-z_]+`).ReplaceAllStringFunc(statement, func(name string) string {
		name = name[1:]
		if numbers[name] == "" {
			kind := map[string]string{"after": "uuid", "audit_id": "uuid", "page_size": "int", "teams": "text[]"}[name]
			if kind == "" {
				kind = "text"
			}
			types, literals = append(types, kind), append(literals, values[name])
			numbers[name] = fmt.Sprint("$", len(types))
		}
		return numbers[name]
	})
	exec(t, db, "SET plan_cache_mode = "+mode)
	exec(t, db, "PREPARE list ("+strings.Join(types, ", ")+") AS "+statement)
	var told []byte
	require.NoError(t, db.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE list ("+strings.Join(literals, ", ")+")",
		pgx.QueryExecModeSimpleProtocol).Scan(&told))
	exec(t, db, "DEALLOCATE list")
	var plans []struct{ Plan plan }
	require.NoError(t, json.Unmarshal(told, &plans))
	return plans[0].Plan
}

const seeded = 200_000

func filters(n int) map[string]store.AuditFindingFilter {
	return map[string]store.AuditFindingFilter{
		"all":                     {},
		"status":                  {Status: store.FindingOpen},
		"seldom status":           {Status: store.FindingAcknowledged},
		"kind":                    {Kind: "remove_member"},
		"seldom kind of long ago": {Kind: "team_vanished"},
		"no such kind":            {Kind: "nothing"},
		"team":                    {TeamID: "team-77"},
		"no such team":            {TeamID: "nobody"},
		"audit":                   {AuditID: numbered(1000)},
		"an old audit":            {AuditID: numbered(7)},
		"no such audit":           {AuditID: numbered(n + 7)},
		"status, kind":            {Status: store.FindingOpen, Kind: "change_role"},
		"status, seldom kind":     {Status: store.FindingOpen, Kind: "team_vanished"},
		"status, team":            {Status: store.FindingOpen, TeamID: "team-77"},
		"status, audit":           {Status: store.FindingOpen, AuditID: numbered(1000)},
		"kind, team":              {Kind: "add_member", TeamID: "team-77"},
		"kind, audit":             {Kind: "add_member", AuditID: numbered(1000)},
		"team, audit":             {TeamID: "team-77", AuditID: numbered(1000)},
		"status, kind, team":      {Status: store.FindingResolved, Kind: "add_member", TeamID: "team-77"},
		"all four":                {Status: store.FindingOpen, Kind: "add_member", TeamID: "team-77", AuditID: numbered(1000)},
	}
}

// However many findings there are, a page is read along an index, from the first page to the last.
func TestAuditFindings_EachFilter_IsReadAlongAnIndex(t *testing.T) {
	_, db := open(t)
	withNumbers(t, db)
	seedFindings(t, db, seeded)
	for name, f := range filters(seeded) {
		for _, after := range []uuid.UUID{uuid.Nil, numbered(seeded / 2), numbered(seeded / 20)} {
			f.Limit, f.After = 50, after
			read, sorted, nodes := explain(t, db, f, "force_custom_plan").read()
			t.Logf("%-25s after %s: %6.0f rows read, %6.0f sorted: %s", name, after, read, sorted, strings.Join(nodes, " < "))
			for _, node := range nodes {
				require.NotEqual(t, "Seq Scan", node, name)
			}
			require.LessOrEqual(t, read, float64(seeded/50), name)
			require.LessOrEqual(t, sorted, float64(seeded/50), name)
		}
	}
}

// What is open may be the oldest of all, while everything since was resolved. No page is looked for among the resolved.
func TestAuditFindings_OpenSinceLong_AreNotLookedForAmongTheResolved(t *testing.T) {
	_, db := open(t)
	withNumbers(t, db)
	seedFindings(t, db, seeded)
	exec(t, db, "UPDATE audit_findings SET status = 'resolved', resolved_at = now(), acknowledged_until = NULL WHERE finding_id > numbered($1)", seeded/5)
	exec(t, db, "VACUUM ANALYZE audit_findings")
	for name, f := range map[string]store.AuditFindingFilter{
		"status":         {Status: store.FindingOpen},
		"seldom status":  {Status: store.FindingAcknowledged},
		"status, kind":   {Status: store.FindingOpen, Kind: "remove_member"},
		"status, seldom": {Status: store.FindingOpen, Kind: "team_vanished"},
	} {
		f.Limit = 50
		read, sorted, nodes := explain(t, db, f, "force_custom_plan").read()
		t.Logf("%-15s %6.0f rows read, %6.0f sorted: %s", name, read, sorted, strings.Join(nodes, " < "))
		require.LessOrEqual(t, read, float64(seeded/50), name)
	}
}

// The control: one plan for all filters knows no index that fits them all. This is what customPlans is for.
func TestControl_OnePlanForAllFilters_ReadsTheTable(t *testing.T) {
	_, db := open(t)
	withNumbers(t, db)
	seedFindings(t, db, seeded)
	f := store.AuditFindingFilter{TeamID: "team-77", Limit: 50}
	custom, _, _ := explain(t, db, f, "force_custom_plan").read()
	generic, _, nodes := explain(t, db, f, "force_generic_plan").read()
	require.LessOrEqual(t, custom, 20.0, "ten findings, read along with their places in the index")
	require.Greater(t, generic, float64(seeded/2), strings.Join(nodes, " < "))
}

// However often the list is asked and with which filters in turn, it reads what it gives, by the database's own count of
// rows: no plan that fits one filter is kept for another.
func TestAuditFindings_AskedOften_ReadsNoMoreThanItGives(t *testing.T) {
	url := testkit.Postgres(t)
	db, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer db.Close(t.Context())
	withNumbers(t, db)
	seedFindings(t, db, 20_000)
	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{MaxConns: 1})
	require.NoError(t, err)
	taken := func() (n int) {
		exec(t, db, "SELECT pg_stat_force_next_flush()")
		return count(t, db, "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'audit_findings'")
	}
	before := taken()
	const long, asked = 10, 30
	for range long {
		page, err := s.AuditFindings(t.Context(), store.AuditFindingFilter{Limit: 5000})
		require.NoError(t, err)
		require.Len(t, page, 5000)
	}
	for i := range asked {
		_, err := s.AuditFindings(t.Context(), store.AuditFindingFilter{TeamID: fmt.Sprint("team-", i), Limit: 50})
		require.NoError(t, err)
	}
	s.Close()                          // a session tells what it counted when it ends
	const least = long*5000 + asked*10 // ten findings a team
	require.Eventually(t, func() bool { return taken() >= before+least }, 10*time.Second, 20*time.Millisecond)
	require.LessOrEqual(t, taken(), before+2*least)
}

func BenchmarkAuditFindings_Million(b *testing.B) {
	const n = 1_000_000
	url := testkit.Postgres(b)
	db, err := pgx.Connect(b.Context(), url)
	require.NoError(b, err)
	defer db.Close(b.Context())
	withNumbers(b, db)
	seedFindings(b, db, n)
	s, err := store.Open(b.Context(), config.NewSecret(url), store.Options{})
	require.NoError(b, err)
	defer s.Close()
	measure := func(name string, what func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := what(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
		})
	}
	list := func(f store.AuditFindingFilter) func() error {
		f.Limit = 100
		return func() error { _, err := s.AuditFindings(b.Context(), f); return err }
	}
	for name, f := range filters(n) {
		measure("page=1/by="+name, list(f))
	}
	f := filters(n)["status"]
	f.Limit = 100
	for range 999 { // as somebody does who reads on
		page, err := s.AuditFindings(b.Context(), f)
		require.NoError(b, err)
		require.Len(b, page, 100)
		f.After = page[99].FindingID
	}
	measure("page=1000/by=status", list(f))
	measure("count", func() error { _, _, err := s.CountFleet(b.Context()); return err })
}
