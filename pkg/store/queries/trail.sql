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
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@job_id::uuid = '00000000-0000-0000-0000-000000000000' OR job_id = @job_id)
  AND (@outcome::text = '' OR outcome = @outcome)
ORDER BY seq
LIMIT @page_size;

-- name: RemovedLately :many
-- Whom runs that nobody approved removed from a team. A run that has ended before the time is not looked into.
SELECT DISTINCT (changes.change->>'user_id')::text AS user_id
FROM runs JOIN changes ON changes.job_id = runs.job_id
WHERE runs.team_id = @team_id AND NOT runs.approved AND (runs.finished_at IS NULL OR runs.finished_at > now() - @within::interval)
  AND changes.change->>'kind' = 'remove_member' AND changes.outcome IN ('applied', 'unknown') AND changes.done_at > now() - @within::interval;
