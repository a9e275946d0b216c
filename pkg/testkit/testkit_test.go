package testkit_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestPostgres_EveryTestHasADatabaseOfItsOwnWithTheSchema(t *testing.T) {
	urls := make([]string, 4)
	var wg sync.WaitGroup
	for i := range urls {
		wg.Go(func() { urls[i] = testkit.Postgres(t) })
	}
	wg.Wait()

	for i, url := range urls {
		require.NotContains(t, urls[:i], url)
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		var runs int
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM runs").Scan(&runs))
		require.Zero(t, runs)
		require.NoError(t, conn.Close(t.Context()))
	}
}

func TestEmptyPostgres_HasNoTables(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), testkit.EmptyPostgres(t))
	require.NoError(t, err)
	var tables int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables))
	require.Zero(t, tables)
	require.NoError(t, conn.Close(t.Context()))
}
