-- name: SavePause :one
INSERT INTO pauses (team_id, reason, paused_by, until) VALUES (@team_id, @reason, @paused_by, now() + @duration::interval)
ON CONFLICT (team_id) DO UPDATE SET
    reason = excluded.reason, paused_by = excluded.paused_by, paused_at = now(), until = excluded.until
RETURNING sqlc.embed(pauses), NOT EXISTS (SELECT FROM teams WHERE teams.team_id = pauses.team_id) AS unknown;

-- name: PausedFor :one
-- How much longer a team is paused. Whoever ends the pause waits for the rest of the transaction, and then sees what it did.
SELECT (until - now())::interval FROM pauses WHERE team_id = @team_id AND until > now() FOR SHARE;

-- name: GetPause :one
SELECT * FROM pauses WHERE team_id = @team_id AND until > now();

-- name: DeletePause :execrows
DELETE FROM pauses WHERE team_id = @team_id;

-- name: HoldRuns :exec
-- Puts what waits of a team off to the end of its pause. What was planned is forgotten: a pause is when people change
-- things. job_id holds one run alone: it slipped in while the pause began, or its worker is gone. Who ends the pause waits
-- until the run is held, and then finds it; a run that is claimed meanwhile has another fence, and is left alone.
WITH pause AS (
    SELECT * FROM pauses WHERE pauses.team_id = @team_id AND pauses.until > now() FOR SHARE
), seen AS MATERIALIZED (
    SELECT runs.job_id, runs.fence FROM runs
    WHERE runs.team_id = @team_id AND (sqlc.narg('job_id')::uuid IS NULL OR runs.job_id = sqlc.narg('job_id'))
      AND runs.status IN ('queued', 'running')
      AND (runs.status = 'queued' OR NOT EXISTS (SELECT FROM leases WHERE leases.job_id = runs.job_id AND leases.until > now()))
), held AS (
    UPDATE runs SET
        status = 'queued', available_at = pause.until, announced_at = pause.until, due_since = pause.until,
        announcements = announcements + 1,
        error_reason = 'TEAM_PAUSED', error_message = 'paused by ' || pause.paused_by || ': ' || pause.reason
    FROM pause, seen
    WHERE runs.job_id = seen.job_id AND runs.fence = seen.fence AND runs.canceled_by = ''
      AND (runs.status = 'queued' OR runs.status = 'running' AND sqlc.narg('job_id')::uuid IS NOT NULL)
      AND NOT coalesce((runs.request->>'dry_run')::boolean, false)
    RETURNING runs.job_id, runs.team_id, runs.announcements, runs.trace, runs.available_at
), forgotten AS (
    DELETE FROM checkpoints USING held WHERE checkpoints.job_id = held.job_id
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
SELECT @queue, held.team_id, held.job_id || ':' || held.announcements, jsonb_build_object('job_id', held.job_id), held.trace, held.available_at
FROM held;

-- name: TellRunning :exec
-- Whoever works on a run of the team is to ask what is wanted of it.
SELECT pg_notify('run_control', runs.job_id::text) FROM runs WHERE runs.team_id = @team_id AND runs.status = 'running';

-- name: ReleaseRuns :exec
-- What a pause held back is due now.
WITH released AS (
    UPDATE runs SET
        available_at = now(), announced_at = now(), due_since = now(), announcements = announcements + 1,
        error_reason = '', error_message = ''
    WHERE runs.team_id = @team_id AND runs.status = 'queued' AND runs.error_reason = 'TEAM_PAUSED'
    RETURNING runs.job_id, runs.team_id, runs.announcements, runs.trace
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, team_id, job_id || ':' || announcements, jsonb_build_object('job_id', job_id), trace FROM released;
