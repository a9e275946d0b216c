-- name: GetFleet :one
SELECT *, now()::timestamptz AS now FROM fleet;

-- name: LockFleet :exec
-- Snapshots that write what is known of the whole target wait for each other.
SELECT FROM fleet FOR UPDATE;

-- name: SetFleetSize :exec
UPDATE fleet SET teams = @teams, members = @members;

-- name: MoveRecords :exec
UPDATE fleet SET records_until = greatest(records_until, @until::timestamptz);

-- name: NoteFullRead :exec
UPDATE fleet SET full_read_at = greatest(full_read_at, @at::timestamptz);

-- name: ListTargetTeams :exec
-- What the target lists, whole. A team that is listed no more is gone, and everything known of it; one that a run saw just
-- now may not be listed yet.
WITH gone AS (
    DELETE FROM target_teams
    WHERE coalesce(target_teams.met_at, to_timestamp(0)) < now() - @late::interval
      AND NOT EXISTS (SELECT FROM unnest(@target_ids::text[]) AS listed (target_id) WHERE listed.target_id = target_teams.target_id)
)
INSERT INTO target_teams (target_id, name, name_key, description)
SELECT unnest(@target_ids::text[]), unnest(@names::text[]), unnest(@name_keys::text[]), unnest(@descriptions::text[])
ON CONFLICT (target_id) DO UPDATE SET
    name = excluded.name, name_key = excluded.name_key, description = excluded.description
WHERE (target_teams.name, target_teams.description) IS DISTINCT FROM (excluded.name, excluded.description);

-- name: SaveTargetUsers :exec
-- Another base role can change the roles in teams without a record of it: those teams are to be read. Teams are locked
-- before users, as by whoever writes about a team.
WITH incoming AS (
    SELECT unnest(@user_ids::text[]) AS user_id, unnest(@emails::text[]) AS email, unnest(@email_keys::text[]) AS email_key,
        unnest(@names::text[]) AS name, unnest(@base_roles::text[]) AS base_role
), changed AS (
    SELECT target_teams.target_id FROM target_teams
    WHERE target_teams.target_id IN (
        SELECT target_members.target_id FROM target_members
        JOIN target_users ON target_users.user_id = target_members.user_id
        JOIN incoming ON incoming.user_id = target_members.user_id
        WHERE target_users.base_role <> incoming.base_role)
    ORDER BY target_teams.target_id FOR UPDATE
), distrusted AS (
    UPDATE target_teams SET members_at = NULL, distrusted_at = greatest(distrusted_at, now()), version = version + 1
    FROM changed WHERE target_teams.target_id = changed.target_id RETURNING target_teams.target_id
)
INSERT INTO target_users (user_id, email, email_key, name, base_role)
SELECT user_id, email, email_key, name, base_role FROM incoming
WHERE (SELECT count(*) FROM distrusted) IS NOT NULL -- after them
ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET
    email = excluded.email, email_key = excluded.email_key, name = excluded.name, base_role = excluded.base_role
WHERE (target_users.email, target_users.name, target_users.base_role) IS DISTINCT FROM (excluded.email, excluded.name, excluded.base_role);

-- name: ForgetTargetUsers :exec
-- Users who are listed no more are gone; the teams that held them are to be read.
WITH gone AS (
    SELECT target_users.user_id FROM target_users
    WHERE NOT EXISTS (SELECT FROM unnest(@user_ids::text[]) AS listed (user_id) WHERE listed.user_id = target_users.user_id)
), held AS (
    SELECT target_teams.target_id FROM target_teams
    WHERE target_teams.target_id IN (SELECT target_members.target_id FROM target_members JOIN gone ON gone.user_id = target_members.user_id)
    ORDER BY target_teams.target_id FOR UPDATE
), distrusted AS (
    UPDATE target_teams SET members_at = NULL, distrusted_at = greatest(distrusted_at, now()), version = version + 1
    FROM held WHERE target_teams.target_id = held.target_id RETURNING target_teams.target_id
)
DELETE FROM target_users USING gone WHERE target_users.user_id = gone.user_id AND (SELECT count(*) FROM distrusted) IS NOT NULL;

-- name: ForgetRotations :exec
DELETE FROM target_rotations;

-- name: SaveRotations :exec
INSERT INTO target_rotations (target_id, user_id, policies)
SELECT unnest(@target_ids::text[]), unnest(@user_ids::text[]), unnest(@policies::jsonb[]);

-- name: TargetIDs :many
SELECT target_id FROM target_teams ORDER BY target_id;

-- name: DistrustTargets :exec
-- Teams that the target's records name, and those that hold a user whom they name. Reads that begin within lag prove nothing
-- either: they may not show the change yet.
UPDATE target_teams SET members_at = NULL, distrusted_at = greatest(distrusted_at, now() + @lag::interval), version = version + 1
WHERE target_teams.target_id = any(@target_ids::text[])
   OR target_teams.target_id IN (SELECT target_members.target_id FROM target_members WHERE target_members.user_id = any(@user_ids::text[]));

-- name: DistrustWritten :exec
-- Teams that runs of ours wrote to, unless somebody has seen them since.
UPDATE target_teams SET members_at = NULL, distrusted_at = greatest(distrusted_at, now()), version = version + 1
FROM (SELECT unnest(@target_ids::text[]) AS target_id, unnest(@ats::timestamptz[]) AS at) AS written
WHERE target_teams.target_id = written.target_id AND target_teams.members_at <= written.at;

-- name: DistrustAll :exec
UPDATE target_teams SET members_at = NULL, distrusted_at = greatest(distrusted_at, now()), version = version + 1;

-- name: DistrustUsers :exec
-- Users whom the target's records name are other than they were, or gone: where they are not listed, they are asked for.
DELETE FROM target_users WHERE user_id = any(@user_ids::text[]);

-- name: NoteRecords :exec
INSERT INTO target_records (target_id, user_id, actor, at)
SELECT unnest(@target_ids::text[]), unnest(@user_ids::text[]), unnest(@actors::text[]), unnest(@ats::timestamptz[])
ON CONFLICT (target_id, user_id) DO UPDATE SET actor = excluded.actor, at = excluded.at WHERE target_records.at < excluded.at;

-- name: ForgetRecords :exec
DELETE FROM target_records WHERE at < now() - @keep::interval;

-- name: KnownTargets :many
SELECT target_teams.*, coalesce(links.team_id, '')::text AS linked_to FROM target_teams
LEFT JOIN links ON links.target_id = target_teams.target_id
WHERE target_teams.target_id = any(@target_ids::text[]);

-- name: KnownMembers :many
SELECT target_members.target_id, target_members.role, sqlc.embed(target_users)
FROM target_members JOIN target_users ON target_users.user_id = target_members.user_id
WHERE target_members.target_id = any(@target_ids::text[])
ORDER BY target_members.target_id, target_users.user_id;

-- name: KnownRotations :many
SELECT * FROM target_rotations WHERE target_id = any(@target_ids::text[]);

-- name: FindTargetUsers :many
SELECT * FROM target_users WHERE email_key = any(@email_keys::text[]) ORDER BY user_id;

-- name: LockTargets :many
SELECT target_id, version FROM target_teams WHERE target_id = any(@target_ids::text[]) ORDER BY target_id FOR UPDATE;

-- name: SaveTargetMembers :exec
WITH incoming AS (
    SELECT unnest(@target_ids::text[]) AS target_id, unnest(@user_ids::text[]) AS user_id, unnest(@roles::text[]) AS role
), gone AS (
    DELETE FROM target_members WHERE target_members.target_id = any(@targets::text[]) AND NOT EXISTS (
        SELECT FROM incoming WHERE incoming.target_id = target_members.target_id AND incoming.user_id = target_members.user_id)
)
INSERT INTO target_members (target_id, user_id, role) SELECT target_id, user_id, role FROM incoming
ON CONFLICT (target_id, user_id) DO UPDATE SET role = excluded.role WHERE target_members.role <> excluded.role;

-- name: TrustTargets :exec
-- What was read before the team was last distrusted proves nothing. It is as old as the beginning of the read.
UPDATE target_teams SET
    members_at = CASE WHEN distrusted_at >= @read_from::timestamptz THEN NULL ELSE @read_from END, version = version + 1
WHERE target_id = any(@target_ids::text[]);

-- name: KnowTarget :exec
-- A target team that was seen outside its list.
INSERT INTO target_teams (target_id, name, name_key, description) VALUES (@target_id, @name, @name_key, @description)
ON CONFLICT (target_id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key, description = excluded.description;

-- name: MirrorTarget :exec
-- A run has seen the team whole, as it left it. Where somebody else has looked since the run began, or heard of a change, it is
-- not known who saw it last.
WITH team AS (
    INSERT INTO target_teams AS old (target_id, name, name_key, description, members_at, met_at)
    VALUES (@target_id, @name, @name_key, @description, now(), now())
    ON CONFLICT (target_id) DO UPDATE SET
        name = excluded.name, name_key = excluded.name_key, description = excluded.description,
        members_at = CASE WHEN greatest(old.distrusted_at, old.members_at) >= @read_from::timestamptz THEN NULL ELSE now() END,
        met_at = now(), version = old.version + 1
    RETURNING target_id
), incoming AS (
    SELECT unnest(@user_ids::text[]) AS user_id, unnest(@roles::text[]) AS role
), gone AS (
    DELETE FROM target_members USING team WHERE target_members.target_id = team.target_id
      AND NOT EXISTS (SELECT FROM incoming WHERE incoming.user_id = target_members.user_id)
)
INSERT INTO target_members (target_id, user_id, role) SELECT team.target_id, incoming.user_id, incoming.role FROM team, incoming
ON CONFLICT (target_id, user_id) DO UPDATE SET role = excluded.role WHERE target_members.role <> excluded.role;
