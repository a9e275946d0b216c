package pgserver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tempDir is like t.TempDir, but a directory that the server's user can reach also when the tests run as root.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-test-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pgserver.Remove(dir)) })
	return dir
}

func start(t *testing.T, dir string) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir, Settings: map[string]string{"fsync": "off"}})
	if errors.Is(err, pgserver.ErrNotInstalled) && os.Getenv("NTHLAYER_TEST_REQUIRE") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func exec(t *testing.T, s *pgserver.Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("app"))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestStart_SameDirAgain_FindsTheDatabases(t *testing.T) {
	dir := tempDir(t)
	first := start(t, dir)
	require.NoError(t, first.EnsureDatabase(t.Context(), "app"))
	exec(t, first, "CREATE TABLE kept (n int)")
	require.NoError(t, first.Stop(t.Context()))

	second := start(t, dir)
	require.NoError(t, second.EnsureDatabase(t.Context(), "app"), "a database that is there is left as it is")
	exec(t, second, "SELECT n FROM kept")
}

func TestStart_ServerRunsThere_SaysSo(t *testing.T) {
	dir := tempDir(t)
	start(t, dir)
	_, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir})
	require.ErrorIs(t, err, pgserver.ErrInUse)
}

func TestStart_ServerWasKilled_Recovers(t *testing.T) {
	dir := tempDir(t)
	first := start(t, dir)
	require.NoError(t, first.EnsureDatabase(t.Context(), "app"))
	exec(t, first, "CREATE TABLE kept (n int)")
	require.NoError(t, first.Err(), "it runs")
	require.NoError(t, syscall.Kill(first.Pid(), syscall.SIGKILL))
	<-first.Done()
	require.ErrorContains(t, first.Err(), "killed")
	require.NoError(t, first.Stop(t.Context()), "stopping what is gone is no error")

	exec(t, start(t, dir), "SELECT n FROM kept")
}

func TestStopNow_WhatWasCommittedIsThere_UnderTheSameAddress(t *testing.T) {
	dir := tempDir(t)
	first := start(t, dir)
	require.NoError(t, first.EnsureDatabase(t.Context(), "app"))
	exec(t, first, "CREATE TABLE kept (n int)")
	address := first.URL("app")
	require.NoError(t, first.StopNow(t.Context()))

	again, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir, Port: first.Port(), Settings: map[string]string{"fsync": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Stop(context.Background()) })
	require.Equal(t, address, again.URL("app"))
	exec(t, again, "SELECT n FROM kept")
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "was not properly shut down", "it was no ordinary stop")
}

func TestStart_PidFileNamesAnotherProcess_LeavesThatAlone(t *testing.T) {
	dir := tempDir(t)
	first := start(t, dir)
	require.NoError(t, first.Stop(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte("1\n"), 0o600))

	require.NoError(t, start(t, dir).EnsureDatabase(t.Context(), "app"))
}

func TestStart_BadSetting_ShowsTheServersOwnWords(t *testing.T) {
	start(t, tempDir(t)) // skips where nothing is installed
	_, err := pgserver.Start(t.Context(), pgserver.Options{
		Dir: tempDir(t), Settings: map[string]string{"fsync": "off", "shared_buffers": "a lot"},
	})
	require.ErrorContains(t, err, "shared_buffers")
}

func TestStart_NoBinaries_SaysHowToGetThem(t *testing.T) {
	t.Setenv(pgserver.BinEnv, t.TempDir())
	_, err := pgserver.Start(t.Context(), pgserver.Options{Dir: tempDir(t)})
	require.ErrorIs(t, err, pgserver.ErrNotInstalled)
	require.ErrorContains(t, err, "make deps")
}

func TestStart_RootOnlyDirectory_WorksAndIsRemovedWhole(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has directories that root's server cannot reach")
	}
	closed := tempDir(t)
	require.NoError(t, os.Chmod(closed, 0o700))
	dir := filepath.Join(closed, "postgres")

	require.NoError(t, start(t, dir).Stop(t.Context()))
	home, err := filepath.EvalSymlinks(filepath.Join(dir, "home"))
	require.NoError(t, err)
	require.DirExists(t, home)
	require.NoError(t, pgserver.Remove(dir))
	require.NoDirExists(t, home)
}
