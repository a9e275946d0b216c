package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
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
