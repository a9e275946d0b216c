-- +goose NO TRANSACTION
-- +goose Up

-- The trail becomes a table of partitions by seq, so that old ones can be moved elsewhere. The table as it is becomes the
-- first of them. Each statement is by itself and can be repeated; what takes long keeps nobody from appending.

-- The first partition ends a block behind what is there: there is room for what is appended meanwhile.
-- +goose StatementBegin
DO $$
DECLARE bound bigint;
BEGIN
    PERFORM set_config('lock_timeout', '10s', true);
    IF (SELECT relkind FROM pg_class WHERE oid = 'findings'::regclass) = 'r'
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'findings_1_range') THEN
        SELECT (seq / 100000 + 2) * 100000 + 1 INTO bound FROM trail_head;
        EXECUTE format('ALTER TABLE findings ADD CONSTRAINT findings_1_range CHECK (seq >= 1 AND seq < %s) NOT VALID', bound);
    END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'findings'::regclass) = 'r' THEN
        ALTER TABLE findings VALIDATE CONSTRAINT findings_1_range;
    END IF;
END $$;
-- +goose StatementEnd

-- block is how many entries a partition made from now on holds; partitions are there for every seq below partitioned_to.
ALTER TABLE trail_head
    ADD COLUMN IF NOT EXISTS block          bigint NOT NULL DEFAULT 100000 CHECK (block > 0),
    ADD COLUMN IF NOT EXISTS partitioned_to bigint NOT NULL DEFAULT 0;

-- The partitions that there are: each holds the entries from from_seq to to_seq in the table findings_<from_seq>.
CREATE TABLE IF NOT EXISTS trail_partitions (
    from_seq bigint PRIMARY KEY,
    to_seq   bigint NOT NULL CHECK (to_seq >= from_seq)
);

-- What was moved: the entries from first_seq to last_seq stand in an export at location. anchor_hash is that of the entry
-- before the first, so that this table is a chain as well.
CREATE TABLE IF NOT EXISTS trail_archives (
    first_seq     bigint      PRIMARY KEY,
    last_seq      bigint      NOT NULL UNIQUE,
    anchor_hash   text        NOT NULL,
    last_hash     text        NOT NULL,
    location      text        NOT NULL,
    sha256        text        NOT NULL,
    recorded_from timestamptz NOT NULL,
    recorded_to   timestamptz NOT NULL,
    archived_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (last_seq >= first_seq)
);

-- +goose StatementBegin
DO $$
DECLARE bound bigint;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'findings'::regclass) = 'p' THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', '10s', true);
    PERFORM FROM trail_head FOR UPDATE; -- nobody appends: what holds the table now are reads
    ALTER TABLE findings RENAME TO findings_1;
    ALTER INDEX findings_pkey RENAME TO findings_1_pkey;
    ALTER INDEX findings_job_id_change_id_key RENAME TO findings_1_job_id_change_id_key;
    ALTER INDEX findings_by_team RENAME TO findings_1_by_team;
    ALTER INDEX findings_by_outcome RENAME TO findings_1_by_outcome;
    DROP TRIGGER findings_append_only ON findings_1;
    DROP TRIGGER findings_no_truncate ON findings_1;
    CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON findings_1
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

    CREATE TABLE findings (
        seq         bigint      NOT NULL,
        job_id      uuid        NOT NULL,
        change_id   text        NOT NULL,
        team_id     text        NOT NULL,
        outcome     text        NOT NULL,
        recorded_at timestamptz NOT NULL,
        content     text        NOT NULL,
        prev_hash   text        NOT NULL,
        hash        text        NOT NULL
    ) PARTITION BY RANGE (seq);
    ALTER TABLE findings ADD CONSTRAINT findings_pkey PRIMARY KEY (seq);
    CREATE INDEX findings_by_team ON findings (team_id, seq);
    CREATE INDEX findings_by_outcome ON findings (outcome, seq);
    CREATE TRIGGER findings_append_only BEFORE UPDATE OR DELETE ON findings
        FOR EACH ROW EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON findings
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

    SELECT substring(pg_get_constraintdef(oid) FROM '< ''?(\d+)')::bigint INTO STRICT bound
    FROM pg_constraint WHERE conname = 'findings_1_range';
    EXECUTE format('ALTER TABLE findings ATTACH PARTITION findings_1 FOR VALUES FROM (1) TO (%s)', bound);
    ALTER TABLE findings_1 DROP CONSTRAINT findings_1_range;
    INSERT INTO trail_partitions (from_seq, to_seq) VALUES (1, bound - 1);
    UPDATE trail_head SET partitioned_to = bound;
END $$;
-- +goose StatementEnd

-- make_trail_partition makes one partition from a seq on. ATTACH, unlike PARTITION OF, keeps nobody from reading and appending.
-- A change stands once in its partition by its unique index; across partitions writers look, under the head's lock.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION make_trail_partition(first_seq bigint, end_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text := 'findings_' || first_seq;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE findings INCLUDING INDEXES, UNIQUE (job_id, change_id))', name);
    EXECUTE format('CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
    EXECUTE format('ALTER TABLE findings ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, first_seq, end_seq);
    INSERT INTO trail_partitions (from_seq, to_seq) VALUES (first_seq, end_seq - 1);
END $$;
-- +goose StatementEnd

-- keep_trail_ahead makes partitions two blocks ahead of the head, in the transaction that moves it. Where somebody holds the
-- table it leaves that to the next entries: appending waits a moment at most, and a block of entries is room to try in.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION keep_trail_ahead() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE waited text := current_setting('lock_timeout');
BEGIN
    BEGIN
        PERFORM set_config('lock_timeout', '200ms', true);
        WHILE NEW.seq + 2 * NEW.block >= NEW.partitioned_to LOOP
            PERFORM make_trail_partition(NEW.partitioned_to, NEW.partitioned_to + NEW.block);
            NEW.partitioned_to := NEW.partitioned_to + NEW.block;
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        SELECT partitioned_to INTO NEW.partitioned_to FROM trail_head; -- what was made is undone
    END;
    PERFORM set_config('lock_timeout', waited, true);
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE OR REPLACE TRIGGER trail_ahead BEFORE UPDATE ON trail_head FOR EACH ROW
    WHEN (NEW.seq + 2 * NEW.block >= NEW.partitioned_to) EXECUTE FUNCTION keep_trail_ahead();
UPDATE trail_head SET seq = seq;

-- By time: for exports of a period. On the partition that holds all there is it is made while others append.
CREATE INDEX CONCURRENTLY IF NOT EXISTS findings_1_by_time ON findings_1 (recorded_at, seq);
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT (SELECT indisvalid FROM pg_index WHERE indexrelid = 'findings_1_by_time'::regclass) THEN
        RAISE EXCEPTION 'the index findings_1_by_time is not whole: DROP INDEX findings_1_by_time, and migrate again';
    END IF;
    PERFORM set_config('lock_timeout', '10s', true);
    CREATE INDEX IF NOT EXISTS findings_by_time ON findings (recorded_at, seq);
END $$;
-- +goose StatementEnd

-- drop_trail_partition takes the partition that begins at a seq out of the trail, in the transaction that records its archives.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION drop_trail_partition(first_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE findings DETACH PARTITION %I', 'findings_' || first_seq);
    EXECUTE format('DROP TABLE %I', 'findings_' || first_seq);
    DELETE FROM trail_partitions WHERE from_seq = first_seq;
END $$;
-- +goose StatementEnd
