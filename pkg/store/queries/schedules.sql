-- name: InsertSchedule :execrows
INSERT INTO schedules (schedule_id, settings, next_tick_at, created_by, updated_by)
VALUES (@schedule_id, @settings, @next_tick_at, @who, @who)
ON CONFLICT (schedule_id) DO NOTHING;

-- name: GetSchedule :one
SELECT * FROM schedules WHERE schedule_id = @schedule_id;

-- name: ListSchedules :many
SELECT * FROM schedules WHERE schedule_id > @after ORDER BY schedule_id LIMIT @page_size;

-- name: UpdateSchedule :execrows
UPDATE schedules SET
    settings = @settings, revision = revision + 1, updated_at = now(), updated_by = @who,
    next_tick_at = CASE WHEN next_tick_at IS NULL THEN NULL ELSE @next_tick_at::timestamptz END
WHERE schedule_id = @schedule_id AND (@revision::bigint = 0 OR revision = @revision);

-- name: DeleteSchedule :execrows
DELETE FROM schedules WHERE schedule_id = @schedule_id;

-- name: PauseSchedule :execrows
UPDATE schedules SET
    next_tick_at = NULL, paused_by = @who, pause_reason = @reason, revision = revision + 1, updated_at = now(), updated_by = @who
WHERE schedule_id = @schedule_id;

-- name: ResumeSchedule :execrows
-- One that is not paused keeps its next tick.
UPDATE schedules SET
    next_tick_at = @next_tick_at, paused_by = '', pause_reason = '', revision = revision + 1, updated_at = now(), updated_by = @who
WHERE schedule_id = @schedule_id AND next_tick_at IS NULL;

-- name: DueSchedules :many
SELECT * FROM schedules WHERE next_tick_at <= @at ORDER BY next_tick_at, schedule_id LIMIT @page_size;

-- name: MoveSchedule :execrows
-- Only one of several processes moves a schedule on from a tick. audit_id: the audit that was made of it.
UPDATE schedules SET
    next_tick_at = @next_tick_at, last_tick_at = @tick_at::timestamptz,
    last_audit_id = coalesce(sqlc.narg('audit_id')::uuid, last_audit_id),
    skipped_ticks = skipped_ticks + CASE WHEN @skipped::boolean THEN 1 ELSE 0 END
WHERE schedule_id = @schedule_id AND next_tick_at = @due::timestamptz;

-- name: NoteTriggered :exec
UPDATE schedules SET last_audit_id = @audit_id::uuid WHERE schedule_id = @schedule_id;

-- name: LockSchedule :one
SELECT * FROM schedules WHERE schedule_id = @schedule_id FOR UPDATE;
