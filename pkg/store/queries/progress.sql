-- name: SaveCheckpoint :one
WITH held AS (
    SELECT fence FROM leases
    WHERE leases.team_id = @team_id AND leases.job_id = @job_id AND leases.fence = @fence AND until > now()
    FOR UPDATE
), saved AS (
    INSERT INTO checkpoints (job_id, snapshot, fence, round) SELECT @job_id, @snapshot, held.fence, @round FROM held
    ON CONFLICT (job_id) DO UPDATE
        SET snapshot = excluded.snapshot, fence = excluded.fence, round = excluded.round, updated_at = now()
)
SELECT count(*) FROM held;

-- name: GetCheckpoint :one
SELECT snapshot FROM checkpoints WHERE job_id = @job_id AND round = @round;

-- name: IntendChanges :one
-- An intent that stands keeps its outcome: planning again after a crash must not forget what was done.
WITH held AS (
    SELECT fence FROM leases
    WHERE leases.team_id = @team_id AND leases.job_id = @job_id AND leases.fence = @fence AND until > now()
    FOR UPDATE
), intended AS (
    INSERT INTO changes (job_id, round, change_id, position, change)
    SELECT @job_id, @round, unnest(@change_ids::text[]), unnest(@positions::integer[]), unnest(@changes::jsonb[]) FROM held
    ON CONFLICT (job_id, change_id) DO NOTHING
)
SELECT count(*) FROM held;

-- name: SettleChange :one
WITH held AS (
    SELECT fence FROM leases
    WHERE leases.team_id = @team_id AND leases.job_id = @job_id AND leases.fence = @fence AND until > now()
    FOR UPDATE
), settled AS (
    UPDATE changes SET outcome = @outcome::text, message = @message, api_calls = @api_calls, done_at = now()
    FROM held WHERE changes.job_id = @job_id AND change_id = @change_id AND coalesce(outcome, 'unknown') = 'unknown'
)
SELECT count(*) FROM held;

-- name: ListChanges :many
SELECT round, change_id, change, outcome, message, api_calls, done_at FROM changes
WHERE job_id = @job_id AND round <= @round ORDER BY round, position;

-- name: ForgetCheckpoint :exec
DELETE FROM checkpoints WHERE job_id = @job_id;

-- name: AppendEvents :exec
-- One statement a batch, whatever the number of runs in it; each run is told of once.
WITH added AS (
    INSERT INTO run_events (job_id, at, event)
    SELECT unnest(@job_ids::uuid[]), unnest(@ats::timestamptz[]), unnest(@events::jsonb[])
    RETURNING job_id
)
SELECT pg_notify('run_events', job_id::text) FROM (SELECT DISTINCT job_id FROM added) AS told;

-- name: ListEvents :many
SELECT seq, job_id, at, event FROM run_events
WHERE job_id = @job_id AND seq > @after_seq
ORDER BY seq
LIMIT @page_size;

-- name: ClaimChore :execrows
-- True for one process in each period.
INSERT INTO chores (name, done_at) VALUES (@name, now())
ON CONFLICT (name) DO UPDATE SET done_at = now() WHERE chores.done_at <= now() - @period::interval;
