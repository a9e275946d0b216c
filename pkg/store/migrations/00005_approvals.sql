-- +goose Up
-- Waiting for a long transaction would make everybody wait behind us: rather fail, and be started again.
SET LOCAL lock_timeout = '10s';

-- A run that waits for somebody's approval is not due before awaiting_until, when it ends without one. approved is set once
-- everybody whom the rules ask for has approved the plan it waited with.
ALTER TABLE runs DROP CONSTRAINT runs_status_check;
ALTER TABLE runs
    ADD CONSTRAINT runs_status_check CHECK (
        status IN ('queued', 'running', 'awaiting_approval', 'succeeded', 'failed', 'canceled', 'dead_lettered')) NOT VALID,
    ADD COLUMN awaiting_until timestamptz,
    ADD COLUMN approved       boolean NOT NULL DEFAULT false;
CREATE INDEX runs_awaiting ON runs (announced_at) WHERE status = 'awaiting_approval';

-- What a run waits for, or last waited for: a plan, who has to approve it, and who has. Another plan starts without votes.
CREATE TABLE approvals (
    job_id       uuid        PRIMARY KEY REFERENCES runs,
    plan_hash    text        NOT NULL,
    decision     jsonb       NOT NULL,
    votes        jsonb       NOT NULL DEFAULT '[]',
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
);
