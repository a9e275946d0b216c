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
  AND (@last::bigint = 0 OR seq <= @last)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@job_id::uuid = '00000000-0000-0000-0000-000000000000' OR job_id = @job_id)
  AND (@outcome::text = '' OR outcome = @outcome)
  AND (sqlc.narg('teams')::text[] IS NULL OR team_id = any(sqlc.narg('teams')::text[]))
ORDER BY seq
LIMIT @page_size;

-- name: FindingRange :one
-- The first and the last entry of a period. Adding 0 keeps the planner from walking the trail in search of the first one.
SELECT coalesce(min(seq + 0), 0)::bigint AS first_seq, coalesce(max(seq + 0), 0)::bigint AS last_seq
FROM findings WHERE recorded_at >= @recorded_from AND recorded_at < @recorded_to;

-- name: TrailAnchor :one
SELECT last_seq, last_hash FROM trail_archives ORDER BY last_seq DESC LIMIT 1;

-- name: ListTrailArchives :many
SELECT * FROM trail_archives ORDER BY first_seq;

-- name: RunArchives :many
-- The archives that may hold findings of a run: those of its time. Clocks of workers and database may differ a little.
SELECT trail_archives.* FROM trail_archives JOIN runs ON runs.job_id = @job_id
WHERE recorded_to >= runs.created_at - interval '5 minutes'
  AND recorded_from <= coalesce(runs.finished_at, now()) + interval '5 minutes'
ORDER BY first_seq;

-- name: OldestTrailPartition :one
SELECT from_seq, to_seq FROM trail_partitions ORDER BY from_seq LIMIT 1;

-- name: TrailPartitionAge :one
SELECT coalesce(max(recorded_at) < now() - @keep::interval, false)::boolean AS old
FROM findings WHERE seq BETWEEN @from_seq AND @to_seq;

-- name: OpenJobIn :one
-- A run that may still record findings and has some in a part of the trail: what it recorded keeps it from recording it twice.
SELECT open.job_id FROM (
    SELECT runs.job_id FROM runs WHERE runs.status IN ('queued', 'running', 'awaiting_approval')
    UNION ALL
    SELECT dead_letters.letter_id FROM dead_letters WHERE dead_letters.status = 'dead' AND dead_letters.kind = 'run'
) AS open
WHERE EXISTS (SELECT FROM findings WHERE findings.job_id = open.job_id AND findings.seq BETWEEN @from_seq AND @to_seq)
LIMIT 1;

-- name: FindingHash :one
SELECT hash FROM findings WHERE seq = @seq;

-- name: AddTrailArchive :exec
INSERT INTO trail_archives (first_seq, last_seq, anchor_hash, last_hash, location, sha256, recorded_from, recorded_to)
VALUES (@first_seq, @last_seq, @anchor_hash, @last_hash, @location, @sha256, @recorded_from, @recorded_to);

-- name: WaitForPartitionsBriefly :exec
SET LOCAL lock_timeout = '5s';

-- name: DropTrailPartition :exec
SELECT drop_trail_partition(@first_seq::bigint);

-- name: CountApplied :one
SELECT count(*) FROM changes WHERE job_id = @job_id AND outcome IN ('applied', 'unknown');

-- name: RemovedLately :many
-- Whom runs that nobody approved removed from a team. A run that has ended before the time is not looked into.
SELECT DISTINCT (changes.change->>'user_id')::text AS user_id
FROM runs JOIN changes ON changes.job_id = runs.job_id
WHERE runs.team_id = @team_id AND NOT runs.approved AND (runs.finished_at IS NULL OR runs.finished_at > now() - @within::interval)
  AND changes.change->>'kind' = 'remove_member' AND coalesce(changes.outcome, 'unknown') IN ('applied', 'unknown')
  AND coalesce(changes.done_at, changes.intended_at) > now() - @within::interval;
