package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/store"
)

const (
	testPrefix     = "test_"
	templatePrefix = "template_"
	templateLock   = 7_061_948 // advisory lock: one process migrates, the others wait
	maxServers     = 64        // test processes on one machine at once
)

// shared is the server of this test process. It is the one state that tests share: a server for each would take a second
// each.
var shared server

type server struct {
	mu      sync.Mutex
	started bool
	address string
	err     error
	private *pgserver.Server // nil where the server is not ours
}

// url starts the server when it is first asked for.
func (s *server) url(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return s.address, s.err
	}
	s.started = true
	if s.address = os.Getenv(URLEnv); s.address != "" {
		return s.address, nil
	}
	if s.private, s.err = startPrivate(ctx); s.err != nil {
		return "", s.err
	}
	s.address = s.private.URL("postgres")
	s.err = dropLeftovers(ctx, s.address)
	return s.address, s.err
}

func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.private == nil {
		return nil
	}
	return s.private.Stop(context.Background())
}

// startPrivate starts a server in the first of the cache's directories that no living test process uses. It ends with
// this process (pgserver), and a directory that a crash of the machine spoiled is made anew.
func startPrivate(ctx context.Context) (*pgserver.Server, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "nthlayer-"+strconv.Itoa(os.Getuid()))
	}
	for n := range maxServers {
		dir := filepath.Join(cache, "nthlayer", "test-postgres", strconv.Itoa(n))
		opts := pgserver.Options{Dir: dir, Settings: map[string]string{
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"max_connections":    "200",
			"shared_buffers":     "32MB",
			"autovacuum":         "off", // an autovacuum worker in a template would block its cloning
		}}
		s, err := pgserver.Start(ctx, opts)
		if errors.Is(err, pgserver.ErrInUse) {
			continue
		}
		if err != nil && !errors.Is(err, pgserver.ErrNotInstalled) {
			if err := pgserver.Remove(dir); err != nil {
				return nil, err
			}
			s, err = pgserver.Start(ctx, opts)
		}
		return s, err
	}
	return nil, fmt.Errorf("%d test processes run a PostgreSQL server already", maxServers)
}

// dropLeftovers drops the databases of tests that were killed.
func dropLeftovers(ctx context.Context, server string) error {
	return withConn(ctx, server, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", testPrefix)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := drop(ctx, server, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// template gives the name of the database that has the current schema, and makes it when it is not there. Its name
// carries a hash of the migrations, so a changed schema gets a new one. It is made under a name of its own and renamed
// when it is whole.
func template(ctx context.Context, server string) (string, error) {
	hash, err := schemaHash()
	if err != nil {
		return "", err
	}
	name := templatePrefix + hash
	err = withConn(ctx, server, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
			return err
		}
		defer conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", templateLock) //nolint:errcheck // gone with the session at the latest
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
			return err
		}
		unfinished := name + "_new"
		if err := drop(ctx, server, unfinished); err != nil {
			return err
		}
		if err := createFrom(ctx, server, unfinished, "template1"); err != nil {
			return err
		}
		if _, err := store.Migrate(ctx, config.NewSecret(databaseURL(server, unfinished))); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "ALTER DATABASE "+quoted(unfinished)+" RENAME TO "+quoted(name))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make the template database: %w", err)
	}
	return name, nil
}

func schemaHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(store.Migrations(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(store.Migrations(), path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the migrations: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func createFrom(ctx context.Context, server, name, source string) error {
	return withConn(ctx, server, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+quoted(name)+" TEMPLATE "+quoted(source))
		return err
	})
}

func drop(ctx context.Context, server, name string) error {
	return withConn(ctx, server, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quoted(name)+" WITH (FORCE)")
		return err
	})
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
