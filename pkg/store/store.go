// Package store keeps everything durable in PostgreSQL. It is the only package that imports pgx.
//
// Each method is one round trip or one transaction, and says which. Driver errors become faults here. SQL lives in
// queries/ and is compiled by sqlc; the schema lives in migrations/ and is applied by `nthlayer migrate`.
package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Store is a pool of connections and the queries on it. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// Options tune a Store. The zero value is usable.
type Options struct {
	MaxConns int32 // 0: 10
}

// Open connects, and refuses a database whose schema is not the one this program was built for.
func Open(ctx context.Context, url config.Secret, opts Options) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(url.Reveal())
	if err != nil {
		// The driver's text can hold parts of the URL, and with them the password.
		return nil, fault.Field("NTHLAYER_DATABASE_URL", "is not a PostgreSQL URL such as postgres://user:password@host:5432/nthlayer")
	}
	cfg.MaxConns = opts.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 10
	}
	// The application's words have to come back even if a connection died with the server it was made to.
	cfg.HealthCheckPeriod = 5 * time.Second
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "60s"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, wrap(err, "open the database")
	}
	s := &Store{pool: pool, q: db.New(pool)}
	if err := s.checkVersion(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Close waits for queries under way and closes the pool.
func (s *Store) Close() { s.pool.Close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return wrap(s.pool.Ping(ctx), "ping the database") }

// A process that is frozen in the middle of a transaction must not hold up all others until it wakes: the server ends a
// session that does nothing in a transaction for so long. One statement more would be one round trip more, so it comes
// with BEGIN. A relay's transactions wait for SQS and are not held to it.
var brief = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '3s'; SET LOCAL lock_timeout = '15s'"}

// tx runs f in a transaction that commits when f succeeds.
func (s *Store) tx(ctx context.Context, what string, f func(*db.Queries) error) error {
	return wrap(pgx.BeginTxFunc(ctx, s.pool, brief, func(tx pgx.Tx) error { return f(s.q.WithTx(tx)) }), what)
}

// wrap turns a driver's error into a fault. What is a fault already stays as it is.
func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err); ok {
		return err
	}
	cause := fmt.Errorf("%s: %w", what, err)
	var pg *pgconn.PgError
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, "the request was canceled", cause)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Deadline, "the database did not answer in time; try again", cause).WithReason("DATABASE_TIMEOUT")
	case errors.As(err, &pg):
		return fault.New(kindOf(pg.Code), "the database refused the statement", cause).WithReason("DATABASE_ERROR")
	case errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err), errors.Is(err, net.ErrClosed):
		return unavailable(cause)
	default:
		// What is left are connections that broke in the middle: unexpected EOF, reset, closed pool.
		return unavailable(cause)
	}
}

// text is what PostgreSQL takes as text of what may come from anywhere: valid UTF-8 without NUL.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

func unavailable(cause error) error {
	return fault.New(fault.Unavailable, "the database is away; try again", cause).WithReason("DATABASE_UNAVAILABLE")
}

// kindOf sorts SQLSTATE classes (PostgreSQL documentation, appendix A).
func kindOf(code string) fault.Kind {
	switch code[:2] {
	case "08", "25", "40", "53", "55", "57": // connection, a transaction ended for idling, serialization, resources, lock, shutdown
		return fault.Unavailable
	case "23":
		return fault.Conflict
	default:
		return fault.Internal
	}
}
