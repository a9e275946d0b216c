package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations is the schema's history, for those who need to tell one schema from another.
func Migrations() fs.FS {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return files
}

// Migrate brings the database to the schema of this program and says which version that is. Several at once wait for
// each other (an advisory lock). A database that is newer than the program is left as it is, and is an error.
func Migrate(ctx context.Context, url config.Secret) (version int64, err error) {
	cfg, err := pgx.ParseConfig(url.Reveal())
	if err != nil {
		// The driver's text can hold parts of the URL, and with them the password.
		return 0, fault.Field("NTHLAYER_DATABASE_URL", "is not a PostgreSQL URL such as postgres://user:password@host:5432/nthlayer")
	}
	want, err := newestMigration()
	if err != nil {
		return 0, err
	}
	conn := stdlib.OpenDB(*cfg)
	defer func() { _ = conn.Close() }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return 0, fault.New(fault.Internal, "prepare the migration", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, Migrations(), goose.WithSessionLocker(locker))
	if err != nil {
		return 0, fault.New(fault.Internal, "read the migrations", err)
	}
	if version, err = provider.GetDBVersion(ctx); err != nil {
		return 0, wrap(err, "read the schema version")
	}
	if version > want {
		return version, wrongSchema(version, want)
	}
	if _, err := provider.Up(ctx); err != nil {
		return 0, wrap(err, "migrate the database")
	}
	if version, err = provider.GetDBVersion(ctx); err != nil {
		return 0, wrap(err, "read the schema version")
	}
	if version != want { // a newer program migrated beside us
		return version, wrongSchema(version, want)
	}
	return version, nil
}

// checkVersion compares the database's schema version with the newest one this program knows.
func (s *Store) checkVersion(ctx context.Context) error {
	want, err := newestMigration()
	if err != nil {
		return err
	}
	var have int64
	row := s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`)
	if err := row.Scan(&have); err != nil && !isUndefinedTable(err) {
		return wrap(err, "read the schema version")
	}
	if have != want {
		return wrongSchema(have, want)
	}
	return nil
}

// wrongSchema says what brings the two together: migrations go forward only, so a newer database wants a newer program.
func wrongSchema(have, want int64) error {
	text := fmt.Sprintf("the database has schema version %d, this program needs %d: run `nthlayer migrate`", have, want)
	if have > want {
		text = fmt.Sprintf("the database has schema version %d and is newer than this program, which knows %d: a newer program is needed", have, want)
	}
	return fault.New(fault.Precondition, text, nil).WithReason("SCHEMA_VERSION")
}

func newestMigration() (int64, error) {
	files, err := fs.Glob(Migrations(), "*.sql")
	if err != nil {
		return 0, fault.New(fault.Internal, "read the migrations", err)
	}
	var newest int64
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return 0, fault.New(fault.Internal, "read the migration "+file, err)
		}
		newest = max(newest, version)
	}
	return newest, nil
}

func isUndefinedTable(err error) bool { return strings.Contains(err.Error(), "42P01") }
