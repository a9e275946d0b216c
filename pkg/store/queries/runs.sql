-- name: AcceptRun :one
-- The idempotency key decides: only the caller that inserts it gets a run and an outbox row; everybody else gets the
-- first job and the hash of its request. DO UPDATE makes a concurrent equal request wait for the first and see it. A run
-- of a paused team is accepted, and held until the pause ends.
WITH pause AS (
    SELECT pauses.until, pauses.paused_by, pauses.reason FROM pauses
    WHERE pauses.team_id = @team_id AND pauses.until > now() AND NOT @dry_run::boolean
    FOR SHARE -- whoever ends the pause waits for this run, and then sees it
), key AS (
    INSERT INTO idempotency_keys (principal, key, request_hash, job_id)
    VALUES (@principal, @idempotency_key, @request_hash, @job_id)
    ON CONFLICT (principal, key) DO UPDATE SET last_used_at = now()
    RETURNING job_id, request_hash, (xmax = 0)::boolean AS created
), run AS (
    INSERT INTO runs (
        job_id, type, team_id, status, requested_by, idempotency_key, request, trace,
        available_at, announced_at, due_since, error_reason, error_message
    )
    SELECT key.job_id, @type, @team_id, 'queued', @principal, @idempotency_key, @request, @trace,
        coalesce(pause.until, now()), coalesce(pause.until, now()), coalesce(pause.until, now()),
        CASE WHEN pause.until IS NULL THEN '' ELSE 'TEAM_PAUSED' END, coalesce('paused by ' || pause.paused_by || ': ' || pause.reason, '')
    FROM key LEFT JOIN pause ON true WHERE key.created
), outgoing AS (
    INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
    SELECT @queue, @team_id, key.job_id || ':1', jsonb_build_object('job_id', key.job_id), @trace, coalesce(pause.until, now())
    FROM key LEFT JOIN pause ON true WHERE key.created
)
SELECT job_id, request_hash, created FROM key;

-- name: ClaimRun :one
-- Takes the team's lease for a run that waits, or whose worker is gone. No row: somebody else has the team, or the run
-- is not to be done (now). The run's row is locked first, so two workers cannot both pass. One that is locked, or whose
-- lease runs, is somebody's: whoever ends a run has its lease and then needs its row, so nobody waits with the row for it. Without a plan that is young enough to be applied, a new round begins. (What programs
-- that knew no rounds began has 0, and names its changes as the first round does.) Patience counts from the first claim.
WITH run AS (
    SELECT runs.job_id, runs.team_id, EXISTS (
        SELECT FROM checkpoints WHERE checkpoints.job_id = runs.job_id AND checkpoints.round = runs.round
          AND checkpoints.updated_at > now() - @plan_good_for::interval
    ) AS planned
    FROM runs
    WHERE runs.job_id = @job_id AND runs.status IN ('queued', 'running', 'awaiting_approval') AND runs.available_at <= now()
      AND (runs.canceled_by <> '' OR coalesce((runs.request->>'dry_run')::boolean, false)
           OR NOT EXISTS (SELECT FROM pauses WHERE pauses.team_id = runs.team_id AND pauses.until > now()))
      AND NOT EXISTS (SELECT FROM leases WHERE leases.team_id = runs.team_id AND leases.until > now())
    FOR UPDATE OF runs SKIP LOCKED
), lease AS (
    INSERT INTO leases AS held (team_id, job_id, owner, fence, until)
    SELECT run.team_id, run.job_id, @owner, 1, now() + @lease::interval FROM run
    ON CONFLICT (team_id) DO UPDATE
        SET job_id = excluded.job_id, owner = excluded.owner, fence = held.fence + 1, until = excluded.until
        WHERE held.until <= now()
    RETURNING held.job_id, held.fence
)
UPDATE runs SET
    status = 'running', attempt = runs.attempt + 1, fence = lease.fence, started_at = coalesce(runs.started_at, now()),
    round = CASE WHEN run.planned THEN runs.round WHEN runs.round = 0 AND (runs.started_at IS NOT NULL OR runs.lives > 1) THEN 2 ELSE runs.round + 1 END,
    due_since = CASE WHEN runs.started_at IS NULL THEN now() ELSE runs.due_since END
FROM lease JOIN run ON run.job_id = lease.job_id WHERE runs.job_id = lease.job_id
RETURNING sqlc.embed(runs), (now() - runs.due_since)::interval AS waited;

-- name: RenewLease :one
-- Only a lease that still runs: one that was let go must not come back, one that ran out may be another's any moment.
-- What somebody asked of the run meanwhile comes back with it.
WITH renewed AS (
    UPDATE leases SET until = now() + @lease::interval
    WHERE leases.team_id = @team_id AND leases.job_id = @job_id AND leases.fence = @fence AND leases.until > now()
    RETURNING leases.job_id, leases.team_id
)
SELECT runs.canceled_by, runs.cancel_reason, coalesce(pauses.until - now(), interval '0')::interval AS paused_for,
    coalesce(pauses.paused_by, '')::text AS paused_by, coalesce(pauses.reason, '')::text AS pause_reason
FROM renewed JOIN runs ON runs.job_id = renewed.job_id
LEFT JOIN pauses ON pauses.team_id = renewed.team_id AND pauses.until > now()
    AND NOT coalesce((runs.request->>'dry_run')::boolean, false);

-- name: HoldLease :one
-- Locks the lease for the rest of the transaction and proves that it is still ours; no row: fenced off.
SELECT fence FROM leases
WHERE team_id = @team_id AND job_id = @job_id AND fence = @fence AND until > now()
FOR UPDATE;

-- name: ReleaseLease :exec
-- Far in the past: a renewal that began before would take now() for a lease that still runs.
UPDATE leases SET until = to_timestamp(0) WHERE team_id = @team_id AND job_id = @job_id AND fence = @fence;

-- name: GetRun :one
SELECT * FROM runs WHERE job_id = @job_id;

-- name: ListRuns :many
-- Newest first. after is the last job_id of the page before.
SELECT * FROM runs
WHERE (@after::uuid = '00000000-0000-0000-0000-000000000000' OR job_id < @after)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@status::text = '' OR status = @status)
  AND (@requested_by::text = '' OR requested_by = @requested_by)
  AND (sqlc.narg('teams')::text[] IS NULL OR team_id = any(sqlc.narg('teams')::text[]))
ORDER BY job_id DESC
LIMIT @page_size;

-- name: DeferRun :execrows
-- A pause is somebody's decision: it does not use up the run's patience. A run that somebody wants ended is not put off.
UPDATE runs SET
    status = 'queued',
    available_at = now() + CASE WHEN canceled_by = '' THEN @delay::interval ELSE interval '0' END,
    announced_at = now() + CASE WHEN canceled_by = '' THEN @delay::interval ELSE interval '0' END,
    due_since = CASE WHEN @paused::boolean THEN now() + @delay::interval ELSE due_since END,
    announcements = announcements + 1, error_reason = @error_reason, error_message = @error_message,
    attempt = CASE WHEN @counted::boolean THEN attempt ELSE attempt - 1 END
WHERE job_id = @job_id AND fence = @fence AND status = 'running';

-- name: FinishRun :execrows
UPDATE runs SET
    status = @status, summary = @summary, result = coalesce(@result, result), error_reason = @error_reason,
    error_message = @error_message, finished_at = now(), awaiting_until = NULL
WHERE job_id = @job_id AND fence = @fence AND status = 'running';

-- name: InsertOutbox :exec
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
VALUES (@queue, @group_id, @dedup_id, @body, @attributes, now() + @delay::interval);

-- name: EnqueueRun :exec
-- Puts a run that was deferred back on its way to the queue.
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
SELECT @queue, team_id, job_id || ':' || announcements, jsonb_build_object('job_id', job_id), trace, available_at
FROM runs WHERE job_id = @job_id;

-- name: TakeOutbox :many
-- Locked rows belong to another relay and are passed over; so are those for queues that only newer programs know.
SELECT id, queue, group_id, dedup_id, body, attributes FROM outbox
WHERE available_at <= now() AND queue = any(@queues::text[])
ORDER BY available_at, id
LIMIT @batch
FOR UPDATE SKIP LOCKED;

-- name: DeleteOutbox :exec
DELETE FROM outbox WHERE id = any(@ids::bigint[]);

-- name: AnnounceStranded :execrows
-- A run that is due but that nobody works on is announced again, so that a queue that lost everything loses nothing.
-- The pause doubles with each announcement: a long backlog is not a reason to fill the queue with duplicates. A run whose
-- worker is gone is behind no backlog.
WITH stranded AS (
    SELECT runs.job_id FROM runs
    LEFT JOIN leases ON leases.team_id = runs.team_id AND leases.job_id = runs.job_id AND leases.until > now()
    WHERE (runs.status IN ('queued', 'running') OR runs.status = 'awaiting_approval') -- an index each
      AND runs.available_at <= now()
      AND runs.announced_at <= now() - CASE WHEN runs.status = 'running' THEN @pause::interval
          ELSE least(power(2, least(runs.announcements - 1, 6)) * @pause::interval, interval '10 minutes') END
      AND leases.team_id IS NULL
    ORDER BY runs.announced_at
    LIMIT 500
    FOR UPDATE OF runs SKIP LOCKED
), again AS (
    UPDATE runs SET announced_at = now(), announcements = announcements + 1
    FROM stranded WHERE runs.job_id = stranded.job_id
    RETURNING runs.job_id, runs.team_id, runs.announcements, runs.trace
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, team_id, job_id || ':' || announcements, jsonb_build_object('job_id', job_id), trace FROM again;

-- name: ClaimObstacle :one
-- Why a run could not be claimed, and how long the obstacle lasts at most.
SELECT runs.team_id, runs.status,
    (runs.available_at - now())::interval AS not_due_for,
    coalesce(leases.until - now(), interval '0')::interval AS busy_for,
    coalesce(pauses.until - now(), interval '0')::interval AS paused_for
FROM runs
LEFT JOIN leases ON leases.team_id = runs.team_id
LEFT JOIN pauses ON pauses.team_id = runs.team_id AND pauses.until > now()
    AND runs.canceled_by = '' AND NOT coalesce((runs.request->>'dry_run')::boolean, false)
WHERE runs.job_id = @job_id;

-- name: LockRun :one
SELECT * FROM runs WHERE job_id = @job_id FOR UPDATE;

-- name: CancelQueued :exec
-- A run that was never begun has nothing to settle.
UPDATE runs SET
    status = 'canceled', finished_at = now(), canceled_by = @canceled_by, cancel_reason = @cancel_reason,
    error_reason = 'RUN_CANCELED', error_message = @message, summary = @message
WHERE job_id = @job_id AND status = 'queued';

-- name: AskToCancel :exec
-- Whoever works on the run, or takes it up next, ends it between two steps.
WITH asked AS (
    UPDATE runs SET
        canceled_by = @canceled_by, cancel_reason = @cancel_reason,
        available_at = now(), announced_at = now(), announcements = announcements + 1
    WHERE runs.job_id = @job_id
    RETURNING runs.job_id
)
SELECT pg_notify('run_control', job_id::text) FROM asked;

-- name: AwaitApproval :execrows
-- The run waits: it is due when its time is over, or when somebody decides. That is no attempt, and uses up no patience.
-- A run that somebody wants ended waits for nobody.
UPDATE runs SET
    status = CASE WHEN canceled_by = '' THEN 'awaiting_approval' ELSE 'queued' END, result = @result, summary = @summary,
    available_at = now() + CASE WHEN canceled_by = '' THEN @within::interval ELSE interval '0' END,
    announced_at = now() + CASE WHEN canceled_by = '' THEN @within::interval ELSE interval '0' END,
    due_since = now() + @within::interval, awaiting_until = now() + @within::interval, approved = false,
    announcements = announcements + 1, attempt = attempt - 1, error_reason = 'APPROVAL_REQUIRED', error_message = @message
WHERE job_id = @job_id AND fence = @fence AND status = 'running';

-- name: SaveApproval :exec
-- Votes for the same plan stay; another plan starts without.
INSERT INTO approvals (job_id, plan_hash, decision, expires_at)
VALUES (@job_id, @plan_hash, @decision, now() + @within::interval)
ON CONFLICT (job_id) DO UPDATE SET
    votes = CASE WHEN approvals.plan_hash = excluded.plan_hash AND approvals.expires_at > now() THEN approvals.votes ELSE '[]' END,
    plan_hash = excluded.plan_hash, decision = excluded.decision, requested_at = now(), expires_at = excluded.expires_at;

-- name: GetApproval :one
SELECT * FROM approvals WHERE job_id = @job_id;

-- name: SaveVotes :exec
UPDATE approvals SET votes = @votes WHERE job_id = @job_id;

-- name: ResumeApproved :exec
-- Everybody has approved: the run is due now.
UPDATE runs SET
    status = 'queued', approved = true, awaiting_until = NULL, available_at = now(), announced_at = now(), due_since = now(),
    announcements = announcements + 1, error_reason = '', error_message = ''
WHERE job_id = @job_id AND status = 'awaiting_approval';

-- name: Disapprove :execrows
-- What is applied now is not what was approved.
UPDATE runs SET approved = false WHERE job_id = @job_id AND fence = @fence AND approved;
