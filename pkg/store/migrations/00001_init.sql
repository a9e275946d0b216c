-- +goose Up

-- A run is one job. Its status moves queued -> running -> succeeded | failed, and back to queued when it is deferred or
-- tried again. fence is the fence of the claim that last owned the run: a write with an older one changes no row.
CREATE TABLE runs (
    job_id          uuid        PRIMARY KEY,
    type            text        NOT NULL,
    team_id         text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    requested_by    text        NOT NULL,
    idempotency_key text        NOT NULL DEFAULT '',
    request         jsonb       NOT NULL,
    trace           jsonb       NOT NULL DEFAULT '{}',
    attempt         integer     NOT NULL DEFAULT 0,
    fence           bigint      NOT NULL DEFAULT 0,
    available_at    timestamptz NOT NULL DEFAULT now(),
    announced_at    timestamptz NOT NULL DEFAULT now(),
    announcements   integer     NOT NULL DEFAULT 1,
    result          jsonb,
    summary         text        NOT NULL DEFAULT '',
    error_reason    text        NOT NULL DEFAULT '',
    error_message   text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed')))
);

-- job_id is a UUIDv7: it grows with time, so it is also the order of the lists.
CREATE INDEX runs_by_team ON runs (team_id, job_id DESC);
CREATE INDEX runs_by_status ON runs (status, job_id DESC);
CREATE INDEX runs_by_requester ON runs (requested_by, job_id DESC);
CREATE INDEX runs_unfinished ON runs (announced_at) WHERE status IN ('queued', 'running');

-- The same principal and key always name the same run.
CREATE TABLE idempotency_keys (
    principal    text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    job_id       uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);

-- What must be sent. A row is written in the transaction that makes it true and deleted when the queue has it.
CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue        text        NOT NULL,
    group_id     text        NOT NULL,
    dedup_id     text        NOT NULL,
    body         jsonb       NOT NULL,
    attributes   jsonb       NOT NULL DEFAULT '{}',
    available_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_due ON outbox (available_at, id);

-- One writer per team: whoever holds the lease. fence grows with every claim and never goes back.
CREATE TABLE leases (
    team_id text        PRIMARY KEY,
    job_id  uuid        NOT NULL,
    owner   text        NOT NULL,
    fence   bigint      NOT NULL,
    until   timestamptz NOT NULL
);

-- Where a run's flow stands: written before a step that has an effect, so that a resumed run does not decide anew.
CREATE TABLE checkpoints (
    job_id     uuid        PRIMARY KEY REFERENCES runs,
    snapshot   jsonb       NOT NULL,
    fence      bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The intent and the outcome of every effect. A row without an outcome may or may not have happened: whoever resumes
-- looks at the target before doing it again.
CREATE TABLE changes (
    job_id     uuid        NOT NULL REFERENCES runs,
    change_id  text        NOT NULL,
    position   integer     NOT NULL,
    change     jsonb       NOT NULL,
    outcome    text        CHECK (outcome IN ('applied', 'failed', 'skipped')),
    message    text        NOT NULL DEFAULT '',
    api_calls  jsonb       NOT NULL DEFAULT '[]',
    intended_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    PRIMARY KEY (job_id, change_id),
    CHECK ((outcome IS NULL) = (done_at IS NULL))
);

-- What watchers see. Telemetry, not truth: written in batches, told by NOTIFY, never read by the flow.
CREATE TABLE run_events (
    seq    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid        NOT NULL,
    at     timestamptz NOT NULL,
    event  jsonb       NOT NULL
);
CREATE INDEX run_events_by_run ON run_events (job_id, seq);

-- The trail: append-only, each row chained to the one before by hash over content. The other columns repeat parts of
-- content so that the trail can be searched; verification compares them.
CREATE TABLE findings (
    seq         bigint      PRIMARY KEY,
    job_id      uuid        NOT NULL,
    change_id   text        NOT NULL,
    team_id     text        NOT NULL,
    outcome     text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    content     text        NOT NULL,
    prev_hash   text        NOT NULL,
    hash        text        NOT NULL,
    UNIQUE (job_id, change_id)
);
CREATE INDEX findings_by_team ON findings (team_id, seq);
CREATE INDEX findings_by_outcome ON findings (outcome, seq);

CREATE TABLE trail_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint  NOT NULL,
    hash     text    NOT NULL
);
INSERT INTO trail_head (seq, hash) VALUES (0, '');

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the trail is append-only' USING ERRCODE = 'restrict_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER findings_append_only BEFORE UPDATE OR DELETE ON findings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON findings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What is known of each team: as the source last declared it, and how it compared.
CREATE TABLE teams (
    team_id           text        PRIMARY KEY,
    source_id         text        NOT NULL DEFAULT '',
    name              text        NOT NULL DEFAULT '',
    archived          boolean     NOT NULL DEFAULT false,
    members           jsonb       NOT NULL DEFAULT '[]',
    member_count      integer     NOT NULL DEFAULT 0,
    sync_status       text        NOT NULL DEFAULT 'unknown' CHECK (sync_status IN ('in_sync', 'out_of_sync', 'unknown')),
    sync_status_since timestamptz NOT NULL DEFAULT now(),
    last_job_id       uuid,
    source_read_at    timestamptz
);

-- The remembered pair of source and target team.
CREATE TABLE links (
    team_id    text        PRIMARY KEY,
    source     text        NOT NULL,
    source_id  text        NOT NULL DEFAULT '',
    target     text        NOT NULL,
    target_id  text        NOT NULL,
    linked_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (target, target_id)
);

-- Work that one process of many does at a time, at most once in a while (the catalogue refresh).
CREATE TABLE chores (
    name    text        PRIMARY KEY,
    done_at timestamptz NOT NULL
);

-- What is told to whom. The key is the same for every attempt to tell the same thing to the same place.
CREATE TABLE deliveries (
    delivery_key text        PRIMARY KEY,
    job_id       uuid        NOT NULL,
    medium       text        NOT NULL,
    channel      text        NOT NULL,
    payload      jsonb       NOT NULL,
    status       text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    posted_to    text        NOT NULL DEFAULT '',
    ts           text        NOT NULL DEFAULT '',
    attempts     integer     NOT NULL DEFAULT 0,
    attempted_at timestamptz,
    last_error   text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz
);
CREATE INDEX deliveries_by_run ON deliveries (job_id);
CREATE INDEX deliveries_newest ON deliveries (created_at DESC, delivery_key);
