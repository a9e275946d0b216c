-- name: BuryRun :exec
INSERT INTO dead_letters (letter_id, kind, queue, team_id, reason, error, attempts)
VALUES (@job_id, 'run', @queue, @team_id, @reason, @error, @attempts)
ON CONFLICT (letter_id) DO UPDATE SET
    status = 'dead', reason = excluded.reason, error = excluded.error, attempts = excluded.attempts,
    died_at = now(), settled_at = NULL, settled_by = '';

-- name: BuryMessage :execrows
INSERT INTO dead_letters (letter_id, kind, queue, message_id, body, reason, error, attempts)
VALUES (@letter_id, 'message', @queue, @message_id, @body, @reason, @error, @attempts)
ON CONFLICT (queue, message_id) WHERE kind = 'message' DO NOTHING;

-- name: GetDeadLetter :one
SELECT * FROM dead_letters WHERE letter_id = @letter_id;

-- name: ListDeadLetters :many
-- Newest first. The after columns are those of the last row of the page before.
SELECT * FROM dead_letters
WHERE (@after_id::uuid = '00000000-0000-0000-0000-000000000000'
       OR died_at < @after_died_at OR (died_at = @after_died_at AND letter_id > @after_id))
  AND (@status::text = '' OR status = @status)
  AND (@kind::text = '' OR kind = @kind)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@reason::text = '' OR reason = @reason)
  AND (sqlc.narg('teams')::text[] IS NULL OR team_id = any(sqlc.narg('teams')::text[]))
ORDER BY died_at DESC, letter_id
LIMIT @page_size;

-- name: CountDead :one
SELECT count(*) FROM dead_letters WHERE status = 'dead';

-- name: RequeueDead :many
-- Gives runs another life: with all their attempts, and with a plan made anew, for their checkpoints are forgotten.
-- died_before keeps a request that is repeated from raising what has died again meanwhile.
WITH letters AS (
    UPDATE dead_letters SET status = 'requeued', settled_at = now(), settled_by = @settled_by
    WHERE status = 'dead' AND kind = 'run'
      AND (sqlc.narg('letter_id')::uuid IS NULL OR letter_id = sqlc.narg('letter_id'))
      AND (@team_id::text = '' OR team_id = @team_id)
      AND (@reason::text = '' OR reason = @reason)
      AND (sqlc.narg('died_before')::timestamptz IS NULL OR died_at <= sqlc.narg('died_before'))
    RETURNING *
), forgotten AS (
    DELETE FROM checkpoints USING letters WHERE checkpoints.job_id = letters.letter_id
), asked AS ( -- who approved another life did not approve this one
    DELETE FROM approvals USING letters WHERE approvals.job_id = letters.letter_id
), again AS (
    UPDATE runs SET
        status = 'queued', attempt = 0, approved = false, lives = lives + 1, started_at = NULL, finished_at = NULL, canceled_by = '', cancel_reason = '',
        summary = '', error_reason = '', error_message = '',
        available_at = now(), announced_at = now(), due_since = now(), announcements = announcements + 1
    FROM letters WHERE runs.job_id = letters.letter_id
    RETURNING runs.job_id, runs.team_id, runs.announcements, runs.trace
), waiting AS (
    INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
    SELECT @queue, again.team_id, again.job_id || ':' || again.announcements, jsonb_build_object('job_id', again.job_id), again.trace
    FROM again
), told AS (
    INSERT INTO run_events (job_id, at, event)
    SELECT again.job_id, now(), jsonb_build_object('kind', 'run_requeued', 'message', 'requeued by ' || @settled_by::text)
    FROM again
    RETURNING job_id
), noticed AS (
    SELECT count(pg_notify('run_events', told.job_id::text)) FROM told
)
SELECT letters.* FROM letters, noticed ORDER BY letters.died_at, letters.letter_id;

-- name: DiscardDead :many
-- A run that is discarded has failed for good.
WITH letters AS (
    UPDATE dead_letters SET status = 'discarded', settled_at = now(), settled_by = @settled_by
    WHERE status = 'dead'
      AND (sqlc.narg('letter_id')::uuid IS NULL OR letter_id = sqlc.narg('letter_id'))
      AND (@team_id::text = '' OR team_id = @team_id)
      AND (@reason::text = '' OR reason = @reason)
      AND (sqlc.narg('died_before')::timestamptz IS NULL OR died_at <= sqlc.narg('died_before'))
    RETURNING *
), failed AS (
    UPDATE runs SET status = 'failed' FROM letters WHERE runs.job_id = letters.letter_id AND runs.status = 'dead_lettered'
)
SELECT * FROM letters ORDER BY died_at, letter_id;
