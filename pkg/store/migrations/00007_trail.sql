-- +goose Up
-- Waiting for a long transaction would make everybody wait behind us: rather fail, and be started again.
SET LOCAL lock_timeout = '10s';

-- The trail in parts by number, so that its oldest part can be moved elsewhere whole. What there is becomes the first part.
DROP TRIGGER findings_append_only ON findings;
ALTER TABLE findings RENAME TO findings_0;
ALTER TABLE findings_0 RENAME CONSTRAINT findings_pkey TO findings_0_pkey;
ALTER TABLE findings_0 RENAME CONSTRAINT findings_job_id_change_id_key TO findings_0_job_id_change_id_key;
ALTER INDEX findings_by_team RENAME TO findings_0_by_team;
ALTER INDEX findings_by_outcome RENAME TO findings_0_by_outcome;

CREATE TABLE findings (LIKE findings_0) PARTITION BY RANGE (seq);
ALTER TABLE findings ADD PRIMARY KEY (seq);
CREATE INDEX findings_by_team ON findings (team_id, seq);
CREATE INDEX findings_by_outcome ON findings (outcome, seq);
CREATE INDEX findings_by_time ON findings (recorded_at, seq);
CREATE TRIGGER findings_append_only BEFORE UPDATE OR DELETE ON findings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON findings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The parts that there are: from first_seq up to and with last_seq.
CREATE TABLE trail_parts (
    name      text   PRIMARY KEY,
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL UNIQUE
);

-- The parts that were moved: where each is, and how it joins on to the chain.
CREATE TABLE trail_archives (
    first_seq   bigint      PRIMARY KEY,
    last_seq    bigint      NOT NULL,
    anchor_hash text        NOT NULL, -- of the entry before the first
    last_hash   text        NOT NULL,
    location    text        NOT NULL,
    sha256      text        NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now()
);

-- Makes parts until the trail has room for so many entries more. Whoever appends holds the trail's head, so nobody else makes
-- any at the same time. A part is filled in before it is attached: readers and writers do not wait.
-- +goose StatementBegin
CREATE FUNCTION extend_trail(room bigint, part_size bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    covered bigint := greatest(0, (SELECT max(last_seq) FROM trail_parts), (SELECT max(last_seq) FROM trail_archives));
    wanted  bigint := (SELECT seq FROM trail_head) + room;
    part    text;
BEGIN
    WHILE covered < wanted LOOP
        part := 'findings_' || (covered + 1);
        EXECUTE format('CREATE TABLE %I (LIKE findings INCLUDING INDEXES, UNIQUE (job_id, change_id), CHECK (seq > %s AND seq <= %s))',
            part, covered, covered + part_size);
        EXECUTE format('CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', part);
        EXECUTE format('ALTER TABLE findings ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', part, covered + 1, covered + part_size + 1);
        INSERT INTO trail_parts VALUES (part, covered + 1, covered + part_size);
        covered := covered + part_size;
    END LOOP;
END $$;

-- Takes a part away that was moved to an archive, and no other.
CREATE FUNCTION drop_trail_part(part text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM trail_parts WHERE name = part
        AND EXISTS (SELECT FROM trail_archives a WHERE a.first_seq = trail_parts.first_seq AND a.last_seq = trail_parts.last_seq);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the trail has no part % that was moved to an archive', part;
    END IF;
    EXECUTE format('ALTER TABLE findings DETACH PARTITION %I', part);
    EXECUTE format('DROP TABLE %I', part);
END $$;

DO $$
DECLARE last bigint := (SELECT seq FROM trail_head);
BEGIN
    IF last = 0 THEN
        DROP TABLE findings_0;
    ELSE
        EXECUTE format('ALTER TABLE findings ATTACH PARTITION findings_0 FOR VALUES FROM (MINVALUE) TO (%s)', last + 1);
        INSERT INTO trail_parts VALUES ('findings_0', 1, last);
    END IF;
    -- Also a program that knows nothing of parts has room.
    PERFORM extend_trail(1000000, 100000);
END $$;
-- +goose StatementEnd
