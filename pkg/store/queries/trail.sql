-- name: LockTrailHead :one
SELECT seq, hash FROM trail_head FOR UPDATE;

-- name: TrailHead :one
SELECT seq, hash FROM trail_head;

-- name: MoveTrailHead :exec
UPDATE trail_head SET seq = @seq, hash = @hash;

-- name: RecordedChanges :many
SELECT change_id FROM findings WHERE job_id = @job_id;

-- name: AppendFindings :exec
INSERT INTO findings (seq, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash)
SELECT
    unnest(@seqs::bigint[]), unnest(@job_ids::uuid[]), unnest(@change_ids::text[]), unnest(@team_ids::text[]),
    unnest(@outcomes::text[]), unnest(@recorded_ats::timestamptz[]), unnest(@contents::text[]),
    unnest(@prev_hashes::text[]), unnest(@hashes::text[]);

-- name: ListFindings :many
SELECT * FROM findings
WHERE seq > @after
  AND (@up_to::bigint = 0 OR seq <= @up_to)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@job_id::uuid = '00000000-0000-0000-0000-000000000000' OR job_id = @job_id)
  AND (@outcome::text = '' OR outcome = @outcome)
  AND (sqlc.narg('teams')::text[] IS NULL OR team_id = any(sqlc.narg('teams')::text[]))
ORDER BY seq
LIMIT @page_size;

-- name: PeriodBounds :one
-- The first entry that was recorded at a time or later, and the last before another. NULL: there is none, or it was not asked.
SELECT
    coalesce((SELECT min(seq) FROM findings WHERE recorded_at >= sqlc.narg('recorded_from')::timestamptz), 0)::bigint AS first_seq,
    coalesce((SELECT max(seq) FROM findings WHERE recorded_at < sqlc.narg('recorded_to')::timestamptz), 0)::bigint AS last_seq;

-- name: ExtendTrail :exec
SELECT extend_trail(@room::bigint, @part_size::bigint);

-- name: TrailArchives :many
SELECT * FROM trail_archives ORDER BY first_seq;

-- name: TrailAnchor :one
SELECT last_seq, last_hash FROM trail_archives ORDER BY last_seq DESC LIMIT 1;

-- name: OldestPart :one
-- The oldest part of the trail that is full, if all of it was recorded before a time.
SELECT trail_parts.name, trail_parts.first_seq, trail_parts.last_seq FROM trail_parts
WHERE trail_parts.first_seq = (SELECT min(p.first_seq) FROM trail_parts p)
  AND trail_parts.last_seq <= (SELECT seq FROM trail_head)
  AND NOT EXISTS (
      SELECT FROM findings
      WHERE findings.seq BETWEEN trail_parts.first_seq AND trail_parts.last_seq AND findings.recorded_at >= @before::timestamptz
  );

-- name: SaveArchive :exec
INSERT INTO trail_archives (first_seq, last_seq, anchor_hash, last_hash, location, sha256)
VALUES (@first_seq, @last_seq, @anchor_hash, @last_hash, @location, @sha256);

-- name: DropPart :exec
SELECT drop_trail_part(@name);

-- name: CountApplied :one
SELECT count(*) FROM changes WHERE job_id = @job_id AND outcome = 'applied';

-- name: RemovedLately :many
-- Whom runs that nobody approved removed from a team. A run that has ended before the time is not looked into.
SELECT DISTINCT (changes.change->>'user_id')::text AS user_id
FROM runs JOIN changes ON changes.job_id = runs.job_id
WHERE runs.team_id = @team_id AND NOT runs.approved AND (runs.finished_at IS NULL OR runs.finished_at > now() - @within::interval)
  AND changes.change->>'kind' = 'remove_member' AND changes.outcome IN ('applied', 'unknown') AND changes.done_at > now() - @within::interval;
