package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// withSchema is a database on which a statement changed the record of its versions.
func withSchema(t *testing.T, statement string) config.Secret {
	url := testkit.Postgres(t)
	direct, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	exec(t, direct, statement)
	require.NoError(t, direct.Close(t.Context()))
	return config.NewSecret(url)
}

const (
	newerSchema = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)"
	olderSchema = "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)"
)

func TestOpen_OlderSchema_SaysToMigrate(t *testing.T) {
	_, err := store.Open(t.Context(), withSchema(t, olderSchema), store.Options{})
	require.Equal(t, "SCHEMA_VERSION", fault.ReasonOf(err))
	require.ErrorContains(t, err, "nthlayer migrate")
}

func TestOpen_NewerSchema_SaysThatANewerProgramIsNeeded(t *testing.T) {
	_, err := store.Open(t.Context(), withSchema(t, newerSchema), store.Options{})
	require.Equal(t, "SCHEMA_VERSION", fault.ReasonOf(err))
	require.ErrorContains(t, err, "a newer program is needed")
	require.NotContains(t, err.Error(), "nthlayer migrate", "that would not help")
}

func TestMigrate_Twice_ChangesNothing(t *testing.T) {
	url := config.NewSecret(testkit.Postgres(t))
	first, err := store.Migrate(t.Context(), url)
	require.NoError(t, err)
	second, err := store.Migrate(t.Context(), url)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Positive(t, first)
}

func TestMigrate_NewerDatabase_IsNoSuccess(t *testing.T) {
	_, err := store.Migrate(t.Context(), withSchema(t, newerSchema))
	require.Equal(t, "SCHEMA_VERSION", fault.ReasonOf(err))
	require.ErrorContains(t, err, "newer than this program")
}

// The schema grows beside what is there: runs, teams, links and keys of the version before audits stay, and audits work
// on them.
func TestMigrate_FromTheVersionBeforeAudits_KeepsWhatIsThere(t *testing.T) {
	url := testkit.Postgres(t)
	direct, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer direct.Close(t.Context())
	exec(t, direct, "DROP SCHEMA public CASCADE")
	exec(t, direct, "CREATE SCHEMA public")
	old := stdlib.OpenDB(*direct.Config())
	defer old.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, old, store.Migrations())
	require.NoError(t, err)
	_, err = provider.UpTo(t.Context(), 3)
	require.NoError(t, err)
	exec(t, direct, `INSERT INTO teams (team_id, name, sync_status) SELECT 'team-' || i, 'Team ' || i, 'out_of_sync' FROM generate_series(1, 1000) AS i`)
	exec(t, direct, `INSERT INTO links (team_id, source, target, target_id) SELECT 'team-' || i, 'cortex', 'pagerduty', 'P' || i FROM generate_series(1, 500) AS i`)
	exec(t, direct, `INSERT INTO idempotency_keys (principal, key, request_hash, job_id) VALUES ('ann', 'k1', 'h', gen_random_uuid())`)
	exec(t, direct, `INSERT INTO chores (name, done_at) VALUES ('catalogue', now())`)

	version, err := store.Migrate(t.Context(), config.NewSecret(url))
	require.NoError(t, err)
	require.GreaterOrEqual(t, version, int64(4))
	require.Equal(t, 1000, count(t, direct, "SELECT count(*) FROM teams WHERE sync_status = 'out_of_sync' AND auto_reconcile = '' AND last_audit_id IS NULL"))
	require.Equal(t, 500, count(t, direct, "SELECT count(*) FROM links"))
	require.Equal(t, 1, count(t, direct, "SELECT count(*) FROM fleet WHERE records_until IS NULL AND full_read_at IS NULL"))

	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	defer s.Close()
	w := &world{s: s, db: direct, target: map[string]*ownership.Observed{}, away: map[string]bool{}}
	w.declare("team-1", "ann", "bob")
	w.put("P1", "team-1", "ann", "bob")
	w.put("P2", "Team 2", "ann", "bob")
	w.run(t, observing)
	require.Equal(t, []string{"open team-2 team_vanished team:team-2"}, w.findings(t), "an old link is a link")
	require.Equal(t, ownership.InSync, w.status(t, "team-1"))
	accept(t, s, "team-3") // and runs go on
}

// The trail is put into parts with all that is in it; who appends as the program before did goes on to do so.
func TestMigrate_TrailIntoParts_ChainStays(t *testing.T) {
	url := testkit.Postgres(t)
	direct, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer direct.Close(t.Context())
	exec(t, direct, "DROP SCHEMA public CASCADE")
	exec(t, direct, "CREATE SCHEMA public")
	old := stdlib.OpenDB(*direct.Config())
	defer old.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, old, store.Migrations())
	require.NoError(t, err)
	_, err = provider.UpTo(t.Context(), 6)
	require.NoError(t, err)
	var head trail.Head
	appended := func(n int) {
		for range n {
			job := uuid.New()
			e, next, err := head.Append(trail.Finding{JobID: job.String(), ChangeID: "c", TeamID: "payments", Outcome: trail.Applied, RecordedAt: time.Now()})
			require.NoError(t, err)
			_, err = direct.Exec(t.Context(), `INSERT INTO findings (seq, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash)
				VALUES ($1, $2, 'c', 'payments', 'applied', $3, $4, $5, $6)`, e.Seq, job, e.RecordedAt, e.Content, e.PrevHash, e.Hash)
			require.NoError(t, err)
			_, err = direct.Exec(t.Context(), "UPDATE trail_head SET seq = $1, hash = $2", next.Seq, next.Hash)
			require.NoError(t, err)
			head = next
		}
	}
	appended(30)
	_, err = store.Migrate(t.Context(), config.NewSecret(url))
	require.NoError(t, err)
	appended(30)
	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	defer s.Close()
	entries, err := s.Findings(t.Context(), store.FindingFilter{Limit: 100})
	require.NoError(t, err)
	var v trail.Verifier
	for _, e := range entries {
		require.NoError(t, v.Next(e))
	}
	require.NoError(t, v.Close(head))
	require.EqualValues(t, 60, head.Seq)
	for _, statement := range []string{"UPDATE findings SET outcome = 'failed' WHERE seq = 3", "DELETE FROM findings WHERE seq = 45", "DELETE FROM findings_1"} {
		_, err = direct.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "append-only", statement)
	}
}

func TestMigrate_BadURL_SaysSoWithoutIt(t *testing.T) {
	for _, url := range []string{
		"postgres://u:hunter2@[::1", "mysql://u:hunter2@db/n", "u:hunter2", "postgres://u:hunter2@db:port/n", "postgres://u:%zzhunter2@db/n",
	} {
		_, err := store.Migrate(t.Context(), config.NewSecret(url))
		require.Equal(t, fault.Invalid, fault.KindOf(err), url)
		require.ErrorContains(t, err, "NTHLAYER_DATABASE_URL")
		require.NotContains(t, err.Error(), "hunter2")
	}
}
