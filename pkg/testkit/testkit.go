// Package testkit gives tests the real things they run on.
//
// Postgres gives every test a database of its own with the project's schema. The schema is migrated once into a template
// and cloned from there, which takes milliseconds. The server is the one of NTHLAYER_TEST_DATABASE_URL where that is set
// (a URL of a superuser), else a private one of this test process that ends with it. Private servers keep their data in
// the user's cache directory, so that the next process starts one in a moment; they do not fsync, for nothing in them
// outlives a test.
package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
)

const (
	// URLEnv names a server to use instead of a private one.
	URLEnv = "NTHLAYER_TEST_DATABASE_URL"
	// RequireEnv turns a skip for want of a part (PostgreSQL, Node) into a failure; CI sets it.
	RequireEnv = "NTHLAYER_TEST_REQUIRE"

	dropWithin = 30 * time.Second
)

// Postgres gives the URL of a database with the current schema, which is the test's own and is dropped after it.
func Postgres(t testing.TB) string {
	t.Helper()
	return clone(t, template)
}

// EmptyPostgres is Postgres without the schema.
func EmptyPostgres(t testing.TB) string {
	t.Helper()
	return clone(t, func(context.Context, string) (string, error) { return "template1", nil })
}

func clone(t testing.TB, source func(ctx context.Context, server string) (string, error)) string {
	t.Helper()
	server, err := shared.url(t.Context())
	if errors.Is(err, pgserver.ErrNotInstalled) {
		SkipFor(t, err.Error())
	}
	require.NoError(t, err)
	from, err := source(t.Context(), server)
	require.NoError(t, err)

	name := testPrefix + strings.ToLower(rand.Text())
	require.NoError(t, createFrom(t.Context(), server, name, from))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), dropWithin)
		defer cancel()
		if err := drop(ctx, server, name); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return databaseURL(server, name)
}

// SkipFor skips the test because the machine lacks something, and fails it instead where RequireEnv is set: what CI does
// not run, nobody runs.
func SkipFor(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(RequireEnv) != "" {
		t.Fatalf("%s is set, and %s", RequireEnv, reason)
	}
	t.Skip(reason)
}

// Main runs the package's tests, stops the private server if one was started, and fails when goroutines are left. Call it
// from TestMain.
func Main(m *testing.M) { goleak.VerifyTestMain(mainRun{m}) }

type mainRun struct{ tests *testing.M }

func (r mainRun) Run() int {
	code := r.tests.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the tests' PostgreSQL:", err)
	}
	return code
}

func databaseURL(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		// It was good enough to connect with, or the private server made it.
		panic(err)
	}
	u.Path = "/" + name
	return u.String()
}

func withConn(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // every statement's own error was seen
	return f(conn)
}
