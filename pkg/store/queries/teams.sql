-- name: GetTeam :one
SELECT sqlc.embed(teams), links.source, links.source_id AS link_source_id, links.target, links.target_id, links.linked_at
FROM teams LEFT JOIN links ON links.team_id = teams.team_id
WHERE teams.team_id = @team_id;

-- name: ListTeams :many
SELECT sqlc.embed(teams), links.source, links.source_id AS link_source_id, links.target, links.target_id, links.linked_at
FROM teams LEFT JOIN links ON links.team_id = teams.team_id
WHERE teams.team_id > @after
  AND (@sync_status::text = '' OR teams.sync_status = @sync_status)
  AND (@query::text = '' OR strpos(lower(teams.team_id), lower(@query)) > 0 OR strpos(lower(teams.name), lower(@query)) > 0)
  AND (sqlc.narg('teams')::text[] IS NULL OR teams.team_id = any(sqlc.narg('teams')::text[]))
ORDER BY teams.team_id
LIMIT @page_size;

-- name: DeclareTeams :exec
-- What the source declared when it was last read. A team that vanished keeps its row: absence is not knowledge.
INSERT INTO teams (team_id, source_id, name, archived, members, member_count, source_read_at)
SELECT
    unnest(@team_ids::text[]), unnest(@source_ids::text[]), unnest(@names::text[]), unnest(@archived::boolean[]),
    unnest(@members::jsonb[]), unnest(@member_counts::integer[]), now()
ON CONFLICT (team_id) DO UPDATE SET
    source_id = excluded.source_id, name = excluded.name, archived = excluded.archived, members = excluded.members,
    member_count = excluded.member_count, source_read_at = excluded.source_read_at;

-- name: SetSyncStatus :exec
INSERT INTO teams (team_id, sync_status, last_job_id) VALUES (@team_id, @sync_status, @job_id)
ON CONFLICT (team_id) DO UPDATE SET
    sync_status = excluded.sync_status, last_job_id = excluded.last_job_id,
    sync_status_since = CASE WHEN teams.sync_status = excluded.sync_status THEN teams.sync_status_since ELSE now() END;

-- name: LoseTeam :exec
-- The source says that there is no such team: one that is known is not compared any more, one that is not stays unknown.
UPDATE teams SET
    sync_status = 'unknown', last_job_id = @job_id,
    sync_status_since = CASE WHEN sync_status = 'unknown' THEN sync_status_since ELSE now() END
WHERE team_id = @team_id;

-- name: GetLink :one
SELECT * FROM links WHERE team_id = @team_id;

-- name: SaveLink :exec
INSERT INTO links (team_id, source, source_id, target, target_id)
VALUES (@team_id, @source, @source_id, @target, @target_id)
ON CONFLICT (team_id) DO UPDATE SET
    source = excluded.source, source_id = excluded.source_id, target = excluded.target, target_id = excluded.target_id,
    linked_at = CASE WHEN links.target_id = excluded.target_id THEN links.linked_at ELSE now() END;

-- name: GetLinkedTeam :one
SELECT team_id FROM links WHERE target = @target AND target_id = @target_id;
