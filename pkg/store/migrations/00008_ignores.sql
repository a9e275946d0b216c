-- +goose Up
-- Waiting for a long transaction would make everybody wait behind us: rather fail, and be started again.
SET LOCAL lock_timeout = '10s';

-- Differences that are none of NthLayer's business for a while. team_id '' is the whole fleet; value_key is the value as values
-- are compared. A rule is never changed, and never gone: what has been hidden, why and by whom stays to be told.
CREATE TABLE ignore_rules (
    rule_id    uuid        PRIMARY KEY,
    team_id    text        NOT NULL DEFAULT '',
    kind       text        NOT NULL CHECK (kind IN ('person', 'role', 'team')),
    value      text        NOT NULL,
    value_key  text        NOT NULL,
    reason     text        NOT NULL CHECK (reason <> ''),
    owner      text        NOT NULL CHECK (owner <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text        NOT NULL,
    expires_at timestamptz NOT NULL,
    deleted_at timestamptz,
    deleted_by text        NOT NULL DEFAULT '',
    replaced   boolean     NOT NULL DEFAULT false, -- it had expired when another took its place
    CHECK (expires_at <= created_at + interval '367 days')
);
CREATE UNIQUE INDEX ignore_rules_once ON ignore_rules (team_id, kind, value_key) WHERE deleted_at IS NULL AND NOT replaced;
CREATE INDEX ignore_rules_by_team ON ignore_rules (team_id, rule_id DESC);

-- How many differences each rule hid of the team: {"<rule_id>": 2}.
ALTER TABLE audit_teams ADD COLUMN ignored jsonb NOT NULL DEFAULT '{}';
