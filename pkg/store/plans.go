package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// customPlans has each statement planned for its own parameters. A list whose filters may be empty needs that: the plan
// that PostgreSQL keeps for all parameters knows no index that fits them all, and reads the whole table.
type customPlans struct{ pool *pgxpool.Pool }

func (c customPlans) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return c.pool.Exec(ctx, sql, custom(args)...)
}

func (c customPlans) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.pool.Query(ctx, sql, custom(args)...)
}

func (c customPlans) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.pool.QueryRow(ctx, sql, custom(args)...)
}

// custom asks for an unnamed statement, which is planned each time; what types it has is remembered.
func custom(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }
