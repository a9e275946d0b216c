-- +goose Up
-- Waiting for a long transaction would make everybody wait behind us: rather fail, and be started again.
SET LOCAL lock_timeout = '10s';

-- When to audit. next_tick_at is the next tick; whoever moves it on makes the audit. NULL: the schedule is paused.
CREATE TABLE schedules (
    schedule_id   text        PRIMARY KEY,
    settings      jsonb       NOT NULL,
    revision      bigint      NOT NULL DEFAULT 1,
    next_tick_at  timestamptz,
    last_tick_at  timestamptz,
    last_audit_id uuid,
    skipped_ticks bigint      NOT NULL DEFAULT 0,
    paused_by     text        NOT NULL DEFAULT '',
    pause_reason  text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    updated_by    text        NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_tick_at);

-- One read-only comparison of the fleet. Its phase moves snapshot -> scan -> teams -> summary -> ended; each step can be
-- done again by another process. One tick of a schedule is one audit. audit_id is a UUIDv7: the order of the lists.
CREATE TABLE audits (
    audit_id        uuid        PRIMARY KEY,
    schedule_id     text        NOT NULL DEFAULT '',
    tick_at         timestamptz,
    status          text        NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'incomplete', 'failed', 'canceled')),
    phase           text        NOT NULL CHECK (phase IN ('snapshot', 'scan', 'teams', 'summary', 'ended')),
    requested_by    text        NOT NULL,
    request         jsonb       NOT NULL,
    trace           jsonb       NOT NULL DEFAULT '{}',
    read            text        NOT NULL DEFAULT '',
    read_reason     text        NOT NULL DEFAULT '',
    listed          boolean     NOT NULL DEFAULT false, -- the target's list of teams was whole
    users_listed    boolean     NOT NULL DEFAULT false, -- and that of its users
    scan_after      text        NOT NULL DEFAULT '',    -- the last team that was handed out
    teams_total     integer     NOT NULL DEFAULT 0,
    teams_done      integer     NOT NULL DEFAULT 0,
    reads_total     integer     NOT NULL DEFAULT 0,
    reads_done      integer     NOT NULL DEFAULT 0,
    cortex_calls    integer     NOT NULL DEFAULT 0,
    pagerduty_calls integer     NOT NULL DEFAULT 0,
    runs_started    integer     NOT NULL DEFAULT 0,
    canceled_by     text        NOT NULL DEFAULT '',
    report          jsonb,
    summary         text        NOT NULL DEFAULT '',
    error_reason    text        NOT NULL DEFAULT '',
    error_message   text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    teams_from      timestamptz, -- since when teams are compared
    finished_at     timestamptz,
    UNIQUE (schedule_id, tick_at),
    CHECK ((finished_at IS NOT NULL) = (status NOT IN ('queued', 'running'))),
    CHECK ((finished_at IS NOT NULL) = (phase = 'ended'))
);
CREATE INDEX audits_by_schedule ON audits (schedule_id, audit_id DESC);
CREATE INDEX audits_unfinished ON audits (audit_id) WHERE finished_at IS NULL;

-- The long lists of an audit's report, which a list of audits need not read.
CREATE TABLE audit_details (
    audit_id uuid  PRIMARY KEY REFERENCES audits ON DELETE CASCADE,
    details  jsonb NOT NULL
);

-- The parts of an audit that workers do: 0 is the snapshot, the others are some teams each. fence grows with every claim.
CREATE TABLE audit_jobs (
    audit_id      uuid        NOT NULL REFERENCES audits ON DELETE CASCADE,
    job_no        integer     NOT NULL,
    owner         text        NOT NULL DEFAULT '',
    fence         bigint      NOT NULL DEFAULT 0,
    until         timestamptz NOT NULL DEFAULT to_timestamp(0),
    attempts      integer     NOT NULL DEFAULT 0, -- claims in a row that came to no end
    failing_since timestamptz, -- since when a platform keeps it from going on
    available_at  timestamptz NOT NULL DEFAULT now(),
    announced_at  timestamptz NOT NULL DEFAULT now(),
    announcements integer     NOT NULL DEFAULT 1,
    done_at       timestamptz,
    PRIMARY KEY (audit_id, job_no)
);
CREATE INDEX audit_jobs_open ON audit_jobs (announced_at) WHERE done_at IS NULL;

-- The source's side of an audit, as it was when the audit began, and what came of each team.
CREATE TABLE audit_teams (
    audit_id       uuid    NOT NULL REFERENCES audits ON DELETE CASCADE,
    team_id        text    NOT NULL,
    job_no         integer,             -- NULL: not handed out yet
    desired        jsonb,               -- NULL: the source does not declare it any more
    target_id      text    NOT NULL DEFAULT '',
    status         text    CHECK (status IN ('in_sync', 'out_of_sync', 'unknown')), -- NULL: not compared yet
    missed         boolean NOT NULL DEFAULT false,
    unread_reason  text    NOT NULL DEFAULT '',
    unread_message text    NOT NULL DEFAULT '',
    PRIMARY KEY (audit_id, team_id)
);
CREATE INDEX audit_teams_by_job ON audit_teams (audit_id, job_no);

-- What is known of the target, so that only what changed must be read again. members_at is when a team's members were
-- read; NULL: they are not known, or something has changed them since. A read that began before distrusted_at proves
-- nothing.
CREATE TABLE target_teams (
    target_id     text        PRIMARY KEY,
    name          text        NOT NULL,
    name_key      text        NOT NULL, -- the name as names are compared
    description   text        NOT NULL DEFAULT '',
    members_at    timestamptz,
    distrusted_at timestamptz NOT NULL DEFAULT to_timestamp(0),
    version       bigint      NOT NULL DEFAULT 0,     -- grows with every write about the members
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    met_at        timestamptz -- when a run last saw the team, which the target's list may not have yet
);
CREATE INDEX target_teams_by_name ON target_teams (name_key);

CREATE TABLE target_members (
    target_id text NOT NULL REFERENCES target_teams ON DELETE CASCADE,
    user_id   text NOT NULL,
    role      text NOT NULL,
    PRIMARY KEY (target_id, user_id)
);
CREATE INDEX target_members_by_user ON target_members (user_id);

CREATE TABLE target_users (
    user_id   text PRIMARY KEY,
    email     text NOT NULL,
    email_key text NOT NULL, -- the address as addresses are compared
    name      text NOT NULL DEFAULT '',
    base_role text NOT NULL DEFAULT ''
);
CREATE INDEX target_users_by_email ON target_users (email_key);

-- Who is paged for a team of the target, and through which escalation policies.
CREATE TABLE target_rotations (
    target_id text  NOT NULL,
    user_id   text  NOT NULL,
    policies  jsonb NOT NULL,
    PRIMARY KEY (target_id, user_id)
);

-- The last change of each membership (user_id '' is the team itself) that the target's own records tell of.
CREATE TABLE target_records (
    target_id text        NOT NULL,
    user_id   text        NOT NULL,
    actor     text        NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (target_id, user_id)
);
CREATE INDEX target_records_by_time ON target_records (at);

-- How large the fleet was when it was last believed, and up to when the target's records have been read.
CREATE TABLE fleet (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    teams         integer     NOT NULL DEFAULT 0,
    members       integer     NOT NULL DEFAULT 0,
    records_until timestamptz,
    full_read_at  timestamptz
);
INSERT INTO fleet DEFAULT VALUES;

-- What audits found wrong. Unlike the trail's entries these live: open -> acknowledged -> resolved, and open again when it
-- returns. finding_id is a UUIDv7.
CREATE TABLE audit_findings (
    finding_id         uuid        PRIMARY KEY,
    team_id            text        NOT NULL, -- '': no team of the source is concerned
    kind               text        NOT NULL,
    category           text        NOT NULL,
    entity_ref         text        NOT NULL,
    message            text        NOT NULL,
    status             text        NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'acknowledged', 'resolved')),
    first_seen_at      timestamptz NOT NULL DEFAULT now(),
    first_audit_id     uuid        NOT NULL,
    last_seen_at       timestamptz NOT NULL DEFAULT now(),
    last_audit_id      uuid        NOT NULL,
    reopened           integer     NOT NULL DEFAULT 0,
    reopened_at        timestamptz,
    reopened_audit_id  uuid,
    acknowledged_by    text        NOT NULL DEFAULT '',
    acknowledge_reason text        NOT NULL DEFAULT '',
    acknowledged_until timestamptz,
    resolved_at        timestamptz,
    resolved_by        text        NOT NULL DEFAULT '', -- run:<job_id> or audit:<audit_id>
    changed_by         text        NOT NULL DEFAULT '',
    changed_at         timestamptz,
    UNIQUE (team_id, kind, entity_ref),
    CHECK ((resolved_at IS NOT NULL) = (status = 'resolved'))
);
CREATE INDEX audit_findings_by_status ON audit_findings (status, finding_id DESC);
CREATE INDEX audit_findings_by_kind ON audit_findings (kind, finding_id DESC);
CREATE INDEX audit_findings_by_kind_and_status ON audit_findings (kind, status, finding_id DESC);
CREATE INDEX audit_findings_by_team ON audit_findings (team_id, finding_id DESC);
CREATE INDEX audit_findings_by_audit ON audit_findings (last_audit_id, finding_id DESC);
CREATE INDEX audit_findings_resolved ON audit_findings (resolved_at) WHERE status = 'resolved';
CREATE INDEX audit_findings_acknowledged ON audit_findings (acknowledged_until) WHERE status = 'acknowledged';

-- What an audit does about a team that is out of sync, whatever the audit was told: observe, enforce, or '' as told.
ALTER TABLE teams
    ADD COLUMN auto_reconcile text NOT NULL DEFAULT '',
    ADD COLUMN last_audit_id  uuid;
