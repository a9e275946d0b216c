-- +goose Up

-- A message that asks for an approval is told once and then changed with what comes of it: revision counts what it has to
-- say, and retold_at is when that last changed.
ALTER TABLE deliveries
    ADD COLUMN revision  integer NOT NULL DEFAULT 1,
    ADD COLUMN retold_at timestamptz;
