-- +goose Up
-- Waiting for a long transaction would make everybody wait behind us: rather fail, and be started again.
SET LOCAL lock_timeout = '10s';

-- Two more ends of a run: canceled by somebody, and dead-lettered: given up although trying again may help.
ALTER TABLE runs DROP CONSTRAINT runs_status_check, DROP CONSTRAINT runs_check;
ALTER TABLE runs
    ADD CONSTRAINT runs_status_check CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'dead_lettered')) NOT VALID,
    ADD CONSTRAINT runs_check CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'canceled', 'dead_lettered'))) NOT VALID;

-- due_since is since when the run could have been done: patience is counted from there, not over a pause.
-- round counts how often it was planned: a plan that lay for too long is not applied, it is made anew.
-- lives counts its beginnings: a dead-lettered run that is requeued lives once more, and its end is told once more.
ALTER TABLE runs
    ADD COLUMN due_since     timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN round         integer     NOT NULL DEFAULT 0,
    ADD COLUMN lives         integer     NOT NULL DEFAULT 1,
    ADD COLUMN canceled_by   text        NOT NULL DEFAULT '',
    ADD COLUMN cancel_reason text        NOT NULL DEFAULT '';

ALTER TABLE checkpoints ADD COLUMN round integer NOT NULL DEFAULT 0;

-- An intent of an earlier round without an outcome may have happened. Its change_id ends with #<round> after the first one.
ALTER TABLE changes ADD COLUMN round integer NOT NULL DEFAULT 0;
ALTER TABLE changes DROP CONSTRAINT changes_outcome_check;
ALTER TABLE changes ADD CONSTRAINT changes_outcome_check CHECK (outcome IN ('applied', 'failed', 'skipped', 'unknown')) NOT VALID;

-- No run of a paused team is begun before until.
CREATE TABLE pauses (
    team_id   text        PRIMARY KEY,
    reason    text        NOT NULL,
    paused_by text        NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    until     timestamptz NOT NULL
);

-- What was given up and waits for somebody: runs (letter_id is the job_id), and messages that nobody could read.
CREATE TABLE dead_letters (
    letter_id  uuid        PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('run', 'message')),
    status     text        NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'requeued', 'discarded')),
    queue      text        NOT NULL,
    team_id    text        NOT NULL DEFAULT '',
    message_id text        NOT NULL DEFAULT '',
    body       text        NOT NULL DEFAULT '',
    reason     text        NOT NULL,
    error      text        NOT NULL,
    attempts   integer     NOT NULL,
    died_at    timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    settled_by text        NOT NULL DEFAULT '',
    CHECK ((settled_at IS NULL) = (status = 'dead'))
);
CREATE INDEX dead_letters_newest ON dead_letters (status, died_at DESC, letter_id);
CREATE UNIQUE INDEX dead_letters_by_message ON dead_letters (queue, message_id) WHERE kind = 'message';

-- How each process finds the platforms: its breaker, its share of the quota. A process that is gone stops reporting.
CREATE TABLE upstream_reports (
    process     text        NOT NULL,
    platform    text        NOT NULL,
    report      jsonb       NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (process, platform)
);
