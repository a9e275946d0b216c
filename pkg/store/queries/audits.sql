-- name: InsertAudit :execrows
-- An audit with its snapshot's job and the message that announces it. The same tick of a schedule is one audit.
WITH audit AS (
    INSERT INTO audits (audit_id, schedule_id, tick_at, status, phase, requested_by, request, trace)
    VALUES (@audit_id, @schedule_id, sqlc.narg('tick_at')::timestamptz, 'queued', 'snapshot', @requested_by, @request, @trace)
    ON CONFLICT (schedule_id, tick_at) DO NOTHING
    RETURNING audits.audit_id, audits.trace
), job AS (
    INSERT INTO audit_jobs (audit_id, job_no, available_at, announced_at)
    SELECT audit.audit_id, 0, now() + @delay::interval, now() + @delay::interval FROM audit
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
SELECT @queue, audit.audit_id || ':0', audit.audit_id || ':0:1', jsonb_build_object('audit_id', audit.audit_id, 'job_no', 0),
    audit.trace, now() + @delay::interval
FROM audit;

-- name: KeyAudit :one
-- The idempotency key decides, as for runs.
INSERT INTO idempotency_keys (principal, key, request_hash, job_id)
VALUES (@principal, @idempotency_key, @request_hash, @audit_id)
ON CONFLICT (principal, key) DO UPDATE SET last_used_at = now()
RETURNING job_id, request_hash, (xmax = 0)::boolean AS created;

-- name: GetAudit :one
SELECT * FROM audits WHERE audit_id = @audit_id;

-- name: LockAudit :one
SELECT * FROM audits WHERE audit_id = @audit_id FOR UPDATE;

-- name: LockIdleAudit :one
-- No row: somebody else is at it.
SELECT * FROM audits WHERE audit_id = @audit_id FOR UPDATE SKIP LOCKED;

-- name: ListAudits :many
-- Newest first. after is the last audit_id of the page before.
SELECT * FROM audits
WHERE (@after::uuid = '00000000-0000-0000-0000-000000000000' OR audit_id < @after)
  AND (@schedule_id::text = '' OR schedule_id = @schedule_id)
  AND (@status::text = '' OR status = @status)
ORDER BY audit_id DESC
LIMIT @page_size;

-- name: EndedAudits :many
-- The reports of audits of a schedule (or of those that were asked for, of the same scope) that came to an end, the newest first.
SELECT audit_id, report, finished_at FROM audits
WHERE schedule_id = @schedule_id AND (@schedule_id <> '' OR request->'scope' = @scope::jsonb) AND audit_id < @before::uuid AND status IN ('succeeded', 'incomplete', 'failed') AND report IS NOT NULL
ORDER BY audit_id DESC
LIMIT @page_size;

-- name: UnfinishedAudit :one
-- The audit of a schedule that is under way.
SELECT audit_id FROM audits WHERE schedule_id = @schedule_id AND finished_at IS NULL AND canceled_by = '' ORDER BY audit_id DESC LIMIT 1;

-- name: UnfinishedAudits :many
-- Audits that wait for somebody who works on no part of them.
SELECT audit_id, (phase = 'scan' AND canceled_by = '')::boolean AS scan
FROM audits
WHERE finished_at IS NULL AND (canceled_by <> '' OR phase IN ('scan', 'summary') OR phase = 'teams' AND NOT EXISTS (
    SELECT FROM audit_jobs WHERE audit_jobs.audit_id = audits.audit_id AND audit_jobs.done_at IS NULL))
ORDER BY audit_id LIMIT 100;

-- name: CountUnfinishedAudits :one
SELECT count(*) FROM audits WHERE finished_at IS NULL;

-- name: AskToCancelAudit :exec
UPDATE audits SET canceled_by = @canceled_by WHERE audit_id = @audit_id AND finished_at IS NULL AND canceled_by = '';

-- name: TellAudit :exec
SELECT pg_notify('audit_events', @audit_id::text);

-- name: ClaimAuditJob :one
-- Takes a part of an audit that waits, or whose worker is gone. No row: somebody else has it, or it is not to be done (now).
WITH job AS (
    SELECT audit_jobs.audit_id, audit_jobs.job_no FROM audit_jobs
    JOIN audits ON audits.audit_id = audit_jobs.audit_id
    WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = @job_no AND audit_jobs.done_at IS NULL
      AND audit_jobs.available_at <= now() AND audit_jobs.until <= now()
      AND audits.finished_at IS NULL AND audits.canceled_by = ''
    FOR UPDATE OF audit_jobs SKIP LOCKED
), claimed AS (
    UPDATE audit_jobs SET owner = @owner, fence = fence + 1, until = now() + @lease::interval, attempts = attempts + 1
    FROM job WHERE audit_jobs.audit_id = job.audit_id AND audit_jobs.job_no = job.job_no
    RETURNING audit_jobs.*
)
SELECT claimed.fence, claimed.attempts,
    coalesce(now() - claimed.failing_since, interval '0')::interval AS failing_for, sqlc.embed(audits)
FROM claimed JOIN audits ON audits.audit_id = claimed.audit_id;

-- name: StartAudit :one
UPDATE audits SET status = 'running', started_at = coalesce(started_at, now())
WHERE audit_id = @audit_id AND status IN ('queued', 'running')
RETURNING started_at;

-- name: AuditJobObstacle :one
-- Why a part could not be claimed, and how long the obstacle lasts at most.
SELECT (audit_jobs.done_at IS NOT NULL OR audits.finished_at IS NOT NULL OR audits.canceled_by <> '')::boolean AS over,
    (audit_jobs.available_at - now())::interval AS not_due_for, (audit_jobs.until - now())::interval AS busy_for
FROM audit_jobs JOIN audits ON audits.audit_id = audit_jobs.audit_id
WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = @job_no;

-- name: RenewAuditJob :one
UPDATE audit_jobs SET until = now() + @lease::interval
FROM audits
WHERE audits.audit_id = audit_jobs.audit_id AND audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = @job_no
  AND audit_jobs.fence = @fence AND audit_jobs.until > now() AND audit_jobs.done_at IS NULL
  AND audits.finished_at IS NULL AND audits.canceled_by = ''
RETURNING audit_jobs.fence;

-- name: HoldAuditJob :one
-- Locks the part for the rest of the transaction and proves that it is still ours; no row: fenced off.
SELECT audit_jobs.fence FROM audit_jobs JOIN audits ON audits.audit_id = audit_jobs.audit_id
WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = @job_no AND audit_jobs.fence = @fence
  AND audit_jobs.until > now() AND audit_jobs.done_at IS NULL AND audits.finished_at IS NULL AND audits.canceled_by = ''
FOR UPDATE OF audit_jobs;

-- name: FenceAuditJobs :one
-- Takes the open parts of a canceled audit from those who have them. It gives how many are being written about right now:
-- those who count must come again.
WITH idle AS (
    SELECT audit_jobs.job_no FROM audit_jobs WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.done_at IS NULL FOR UPDATE SKIP LOCKED
), fenced AS (
    UPDATE audit_jobs SET fence = fence + 1, until = to_timestamp(0) FROM idle
    WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = idle.job_no
)
SELECT ((SELECT count(*) FROM audit_jobs WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.done_at IS NULL)
    - (SELECT count(*) FROM idle))::bigint AS busy;

-- name: EndAuditJob :exec
UPDATE audit_jobs SET done_at = now(), until = to_timestamp(0) WHERE audit_id = @audit_id AND job_no = @job_no;

-- name: DeferAuditJob :exec
-- What failed is counted from its first failure in a row; a part that went on a bit begins to count anew. The calls that
-- it made are spent.
WITH deferred AS (
    UPDATE audit_jobs SET
        until = to_timestamp(0), available_at = now() + @delay::interval, announced_at = now() + @delay::interval,
        announcements = announcements + 1, attempts = CASE WHEN @failed::boolean THEN attempts ELSE 0 END,
        failing_since = coalesce(CASE WHEN NOT @went_on::boolean THEN failing_since END, CASE WHEN @failing::boolean THEN now() END)
    WHERE audit_jobs.audit_id = @audit_id AND audit_jobs.job_no = @job_no AND audit_jobs.fence = @fence AND done_at IS NULL
    RETURNING audit_jobs.audit_id, audit_jobs.job_no, audit_jobs.announcements, audit_jobs.available_at
), spent AS (
    UPDATE audits SET cortex_calls = audits.cortex_calls + @cortex::integer, pagerduty_calls = audits.pagerduty_calls + @pagerduty::integer
    FROM deferred WHERE audits.audit_id = deferred.audit_id
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
SELECT @queue, deferred.audit_id || ':' || deferred.job_no, deferred.audit_id || ':' || deferred.job_no || ':' || deferred.announcements,
    jsonb_build_object('audit_id', deferred.audit_id, 'job_no', deferred.job_no), audits.trace, deferred.available_at
FROM deferred JOIN audits ON audits.audit_id = deferred.audit_id;

-- name: AnnounceAuditJobs :execrows
-- A part that is due but that nobody works on is announced again, with a pause that doubles each time.
WITH stranded AS (
    SELECT audit_jobs.audit_id, audit_jobs.job_no FROM audit_jobs
    JOIN audits ON audits.audit_id = audit_jobs.audit_id
    WHERE audit_jobs.done_at IS NULL AND audit_jobs.available_at <= now() AND audit_jobs.until <= now()
      AND audits.finished_at IS NULL AND audits.canceled_by = ''
      AND audit_jobs.announced_at <= now() - CASE WHEN audit_jobs.owner <> '' AND audit_jobs.until > to_timestamp(0) THEN @pause::interval
          ELSE least(power(2, least(audit_jobs.announcements - 1, 6)) * @pause::interval, interval '10 minutes') END
    ORDER BY audit_jobs.announced_at
    LIMIT 500
    FOR UPDATE OF audit_jobs SKIP LOCKED
), again AS (
    UPDATE audit_jobs SET announced_at = now(), announcements = announcements + 1
    FROM stranded WHERE audit_jobs.audit_id = stranded.audit_id AND audit_jobs.job_no = stranded.job_no
    RETURNING audit_jobs.audit_id, audit_jobs.job_no, audit_jobs.announcements
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, again.audit_id || ':' || again.job_no, again.audit_id || ':' || again.job_no || ':' || again.announcements,
    jsonb_build_object('audit_id', again.audit_id, 'job_no', again.job_no), audits.trace
FROM again JOIN audits ON audits.audit_id = again.audit_id;

-- name: ClearStage :exec
DELETE FROM audit_teams WHERE audit_id = @audit_id;

-- name: StageTeams :exec
INSERT INTO audit_teams (audit_id, team_id, desired)
SELECT @audit_id, unnest(@team_ids::text[]), unnest(@desired::jsonb[])
ON CONFLICT (audit_id, team_id) DO UPDATE SET desired = excluded.desired;

-- name: UnstageArchived :exec
-- An archived team concerns an audit only where something on the target still stands for it. listed: the target's list is
-- whole, and a link to a team that is not in it leads nowhere.
DELETE FROM audit_teams
WHERE audit_teams.audit_id = @audit_id AND (audit_teams.desired->>'archived')::boolean
  AND NOT EXISTS (SELECT FROM links WHERE links.team_id = audit_teams.team_id
    AND (NOT @listed::boolean OR EXISTS (SELECT FROM target_teams WHERE target_teams.target_id = links.target_id)))
  AND NOT EXISTS (SELECT FROM target_teams WHERE target_teams.target_id = audit_teams.desired->>'target_id'
    OR coalesce(audit_teams.desired->>'target_id', '') = '' AND target_teams.name_key = audit_teams.desired->>'name_key');

-- name: LinkedTeams :many
-- Teams with a link that the source's snapshot does not hold, for which something on the target still stands.
SELECT links.team_id FROM links
WHERE NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = links.team_id)
  AND (NOT @listed::boolean OR EXISTS (SELECT FROM target_teams WHERE target_teams.target_id = links.target_id));

-- name: KnownTeams :many
SELECT team_id FROM teams WHERE NOT archived ORDER BY team_id;

-- name: StageVanished :exec
INSERT INTO audit_teams (audit_id, team_id) SELECT @audit_id, unnest(@team_ids::text[])
ON CONFLICT (audit_id, team_id) DO NOTHING;

-- name: FinishSnapshot :exec
UPDATE audits SET
    phase = 'scan', read = @read, read_reason = @read_reason, listed = @listed, users_listed = @users_listed,
    teams_total = (SELECT count(*) FROM audit_teams WHERE audit_teams.audit_id = @audit_id),
    reads_total = (
        SELECT count(*) FROM audit_teams LEFT JOIN links ON links.team_id = audit_teams.team_id
        WHERE audit_teams.audit_id = @audit_id AND (audit_teams.desired->>'archived')::boolean IS DISTINCT FROM true
          AND audit_teams.desired IS NOT NULL AND (
            SELECT count(*) = 1 AND bool_and(@read = 'full' OR target_teams.members_at IS NULL) FROM target_teams
            WHERE target_teams.target_id = coalesce(links.target_id, nullif(audit_teams.desired->>'target_id', ''))
               OR links.target_id IS NULL AND coalesce(audit_teams.desired->>'target_id', '') = ''
                  AND target_teams.name_key = audit_teams.desired->>'name_key'))
WHERE audits.audit_id = @audit_id;

-- name: AddAuditCalls :exec
UPDATE audits SET cortex_calls = cortex_calls + @cortex, pagerduty_calls = pagerduty_calls + @pagerduty WHERE audit_id = @audit_id;

-- name: FailSnapshot :exec
-- Nothing can be compared: every team is unknown, and what was found of it before stays.
WITH unread AS (
    UPDATE audit_teams SET status = 'unknown', unread_reason = @reason, unread_message = @message
    WHERE audit_teams.audit_id = @audit_id
    RETURNING audit_teams.team_id
), unknown AS (
    UPDATE teams SET sync_status = 'unknown', last_audit_id = @audit_id,
        sync_status_since = CASE WHEN sync_status = 'unknown' THEN sync_status_since ELSE now() END
    FROM unread WHERE teams.team_id = unread.team_id
)
UPDATE audits SET phase = 'summary', error_reason = @reason, error_message = @message, teams_total = (SELECT count(*) FROM unread)
WHERE audits.audit_id = @audit_id;

-- name: AbandonTeams :one
-- What is left of a part cannot be compared: its teams are unknown, and what was found of them before stays.
WITH unread AS (
    UPDATE audit_teams SET status = 'unknown', unread_reason = @reason, unread_message = @message
    WHERE audit_teams.audit_id = @audit_id AND audit_teams.job_no = @job_no::integer AND audit_teams.status IS NULL
    RETURNING audit_teams.team_id
), unknown AS (
    UPDATE teams SET sync_status = 'unknown', last_audit_id = @audit_id,
        sync_status_since = CASE WHEN sync_status = 'unknown' THEN sync_status_since ELSE now() END
    FROM unread WHERE teams.team_id = unread.team_id
)
SELECT count(*) FROM unread;

-- name: NextAuditTeams :many
SELECT team_id FROM audit_teams WHERE audit_id = @audit_id AND team_id > @after ORDER BY team_id LIMIT @page_size;

-- name: LastAuditJob :one
SELECT coalesce(max(job_no), 0)::integer FROM audit_jobs WHERE audit_id = @audit_id;

-- name: HandOutTeams :exec
WITH handed AS (
    SELECT unnest(@team_ids::text[]) AS team_id, unnest(@job_nos::integer[]) AS job_no
), teams AS (
    UPDATE audit_teams SET job_no = handed.job_no FROM handed
    WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = handed.team_id
), jobs AS (
    INSERT INTO audit_jobs (audit_id, job_no) SELECT DISTINCT @audit_id::uuid, handed.job_no FROM handed
    RETURNING audit_jobs.audit_id, audit_jobs.job_no
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, jobs.audit_id || ':' || jobs.job_no, jobs.audit_id || ':' || jobs.job_no || ':1',
    jsonb_build_object('audit_id', jobs.audit_id, 'job_no', jobs.job_no), @trace
FROM jobs ORDER BY jobs.job_no;

-- name: MoveScan :exec
UPDATE audits SET scan_after = @scan_after, phase = CASE WHEN @over::boolean THEN 'teams' ELSE phase END,
    teams_from = coalesce(teams_from, now())
WHERE audit_id = @audit_id;

-- name: AuditTeams :many
-- The teams of a part that are not compared yet, and the target teams that each may stand for.
SELECT audit_teams.team_id, audit_teams.desired, coalesce(links.target_id, '')::text AS linked_to,
    coalesce(teams.auto_reconcile, '')::text AS auto_reconcile, teams.last_job_id, now()::timestamptz AS read_from,
    coalesce(runs.finished_at > audits.started_at, false)::boolean AS run_since,
    ARRAY(
        SELECT target_teams.target_id FROM target_teams
        WHERE target_teams.target_id = links.target_id OR target_teams.target_id = audit_teams.desired->>'target_id'
           OR coalesce(audit_teams.desired->>'target_id', '') = '' AND target_teams.name_key = audit_teams.desired->>'name_key'
        ORDER BY 1 LIMIT 50
    )::text[] AS targets
FROM audit_teams
LEFT JOIN links ON links.team_id = audit_teams.team_id
LEFT JOIN teams ON teams.team_id = audit_teams.team_id
LEFT JOIN runs ON runs.job_id = teams.last_job_id
JOIN audits ON audits.audit_id = audit_teams.audit_id
WHERE audit_teams.audit_id = @audit_id AND audit_teams.job_no = @job_no::integer AND audit_teams.status IS NULL
ORDER BY audit_teams.team_id;

-- name: SettleAuditTeams :execrows
UPDATE audit_teams SET
    status = settled.status, target_id = settled.target_id, missed = settled.missed,
    unread_reason = settled.unread_reason, unread_message = settled.unread_message, ignored = settled.ignored
FROM (
    SELECT unnest(@team_ids::text[]) AS team_id, unnest(@statuses::text[]) AS status, unnest(@target_ids::text[]) AS target_id,
        unnest(@missed::boolean[]) AS missed, unnest(@unread_reasons::text[]) AS unread_reason,
        unnest(@unread_messages::text[]) AS unread_message, unnest(@ignored::jsonb[]) AS ignored
) AS settled
WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = settled.team_id AND audit_teams.status IS NULL;

-- name: SetSyncStatuses :exec
INSERT INTO teams (team_id, sync_status, last_audit_id)
SELECT unnest(@team_ids::text[]), unnest(@statuses::text[]), @audit_id::uuid
ON CONFLICT (team_id) DO UPDATE SET
    sync_status = excluded.sync_status, last_audit_id = excluded.last_audit_id,
    sync_status_since = CASE WHEN teams.sync_status = excluded.sync_status THEN teams.sync_status_since ELSE now() END;

-- name: LockTeams :many
SELECT team_id, last_job_id, last_audit_id FROM teams WHERE team_id = any(@team_ids::text[]) ORDER BY team_id FOR UPDATE;

-- name: OpenAuditTeams :one
SELECT count(*) FROM audit_teams WHERE audit_id = @audit_id AND job_no = @job_no::integer AND status IS NULL;

-- name: CountAuditProgress :execrows
-- No row: the audit has ended meanwhile, or is to.
UPDATE audits SET
    teams_done = teams_done + @teams, reads_done = reads_done + @reads, runs_started = runs_started + @runs,
    cortex_calls = cortex_calls + @cortex, pagerduty_calls = pagerduty_calls + @pagerduty
WHERE audit_id = @audit_id AND finished_at IS NULL AND canceled_by = '';

-- name: CountAuditTeams :one
SELECT count(*) AS teams,
    count(*) FILTER (WHERE status = 'in_sync') AS in_sync,
    count(*) FILTER (WHERE status = 'out_of_sync') AS out_of_sync,
    count(*) FILTER (WHERE coalesce(status, 'unknown') = 'unknown') AS unknown,
    count(*) FILTER (WHERE unread_reason <> '' OR status IS NULL) AS unread,
    count(*) FILTER (WHERE missed) AS missed
FROM audit_teams WHERE audit_id = @audit_id;

-- name: UnreadAuditTeams :many
SELECT unread_reason, min(unread_message)::text AS unread_message, count(*) AS teams FROM audit_teams
WHERE audit_id = @audit_id AND unread_reason <> ''
GROUP BY unread_reason ORDER BY count(*) DESC, unread_reason;

-- name: OrphanTeams :many
-- Teams of the target that no team of the source stands for, nor may stand for. What was seen first since the snapshot may be
-- of a team that is not in it.
SELECT target_id, name FROM target_teams
WHERE first_seen_at <= (SELECT audits.teams_from FROM audits WHERE audits.audit_id = @audit_id)
  AND NOT EXISTS (SELECT FROM links WHERE links.target_id = target_teams.target_id)
  AND NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.target_id = target_teams.target_id)
  AND NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.target_id = ''
    AND audit_teams.desired->>'name_key' = target_teams.name_key)
  AND NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.desired->>'target_id' = target_teams.target_id)
ORDER BY name, target_id;

-- name: SharedTargets :many
-- Target teams that several teams of the source stand for.
SELECT audit_teams.target_id, coalesce(target_teams.name, '')::text AS name, array_agg(audit_teams.team_id ORDER BY audit_teams.team_id)::text[] AS teams
FROM audit_teams LEFT JOIN target_teams ON target_teams.target_id = audit_teams.target_id
WHERE audit_teams.audit_id = @audit_id AND audit_teams.target_id <> ''
GROUP BY audit_teams.target_id, target_teams.name
HAVING count(*) > 1
ORDER BY audit_teams.target_id;

-- name: FinishAudit :exec
UPDATE audits SET
    status = @status, phase = 'ended', finished_at = now(), started_at = coalesce(started_at, now()), report = @report,
    summary = @summary, error_reason = @error_reason, error_message = @error_message
WHERE audit_id = @audit_id;

-- name: PruneAudits :exec
-- What an audit worked with is not needed after its end; a message that comes late finds the audit ended.
WITH ended AS (
    SELECT audit_id FROM audits WHERE finished_at < now() - @keep::interval
      AND EXISTS (SELECT FROM audit_jobs WHERE audit_jobs.audit_id = audits.audit_id)
    LIMIT 20
), teams AS (
    DELETE FROM audit_teams USING ended WHERE audit_teams.audit_id = ended.audit_id
)
DELETE FROM audit_jobs USING ended WHERE audit_jobs.audit_id = ended.audit_id;

-- name: SetAutoReconcile :execrows
UPDATE teams SET auto_reconcile = @auto_reconcile WHERE team_id = @team_id;

-- name: UnconcernedTeams :many
-- Teams with findings that a whole audit has nothing to do with: the source does not declare them (any more), and nothing on
-- the target stands for them.
SELECT DISTINCT audit_findings.team_id FROM audit_findings JOIN audits ON audits.audit_id = @audit_id
WHERE audit_findings.status <> 'resolved' AND audit_findings.team_id <> '' AND audit_findings.last_seen_at < audits.started_at
  AND NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = audit_findings.team_id);

-- name: ComparedTeams :many
SELECT team_id FROM audit_teams WHERE audit_id = @audit_id AND status IS NOT NULL AND unread_reason = '';

-- name: LoseTeams :exec
-- The whole source was read, and these are not in it, nor were they read of since: nobody can tell any more how they compare.
UPDATE teams SET sync_status = 'unknown', sync_status_since = now()
FROM audits
WHERE audits.audit_id = @audit_id AND teams.sync_status <> 'unknown'
  AND coalesce(teams.source_read_at, to_timestamp(0)) < audits.started_at
  AND NOT EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = teams.team_id);

-- name: SaveAuditDetails :exec
INSERT INTO audit_details (audit_id, details) VALUES (@audit_id, @details) ON CONFLICT (audit_id) DO NOTHING;

-- name: GetAuditDetails :one
SELECT details FROM audit_details WHERE audit_id = @audit_id;
