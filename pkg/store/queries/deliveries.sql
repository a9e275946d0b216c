-- name: InsertDelivery :execrows
INSERT INTO deliveries (delivery_key, job_id, medium, channel, payload)
VALUES (@delivery_key, @job_id, @medium, @channel, @payload)
ON CONFLICT (delivery_key) DO NOTHING;

-- name: BeginDelivery :one
-- attempted_at is set while it is not known whether the last attempt had an effect, and only then. It is the fence of the
-- attempt: another one begins only when the time has passed in which the last may still act.
WITH before AS (
    SELECT deliveries.delivery_key, deliveries.attempted_at FROM deliveries
    WHERE deliveries.delivery_key = @delivery_key AND deliveries.status = 'pending'
      AND (deliveries.attempted_at IS NULL OR deliveries.attempted_at <= now() - @settled_after::interval)
    FOR UPDATE
)
UPDATE deliveries SET attempts = attempts + 1, attempted_at = now()
FROM before WHERE deliveries.delivery_key = before.delivery_key
RETURNING sqlc.embed(deliveries), (before.attempted_at IS NOT NULL)::boolean AS uncertain;

-- name: DeliveryObstacle :one
SELECT status, coalesce(now() - attempted_at, interval '0')::interval AS begun_ago
FROM deliveries WHERE delivery_key = @delivery_key;

-- name: PostedDelivery :execrows
UPDATE deliveries SET posted_to = @posted_to, ts = @ts
WHERE delivery_key = @delivery_key AND status = 'pending' AND attempted_at = @attempted_at;

-- name: FinishDelivery :execrows
-- What was to be told may have changed during the attempt: then the delivery goes on, and the message of that change, which
-- is on its way, begins the next attempt.
UPDATE deliveries SET
    status = CASE WHEN revision = @revision THEN @status ELSE 'pending' END,
    last_error = @last_error,
    attempted_at = CASE WHEN @uncertain::boolean THEN attempted_at END,
    posted_to = CASE WHEN @ts::text = '' THEN posted_to ELSE @posted_to::text END,
    ts = CASE WHEN @ts::text = '' THEN ts ELSE @ts::text END,
    delivered_at = CASE WHEN @status::text = 'delivered' AND revision = @revision THEN now() END
WHERE delivery_key = @delivery_key AND status = 'pending' AND attempted_at = @attempted_at;

-- name: DeferDelivery :execrows
-- Ends an attempt that is to be made again, and puts it on its way to the queue. The deduplication id is a new one: the
-- queue must not take the message for an earlier one of the same delivery.
WITH deferred AS (
    UPDATE deliveries SET
        last_error = @last_error,
        attempts = CASE WHEN @counted::boolean THEN attempts ELSE greatest(attempts - 1, 0) END,
        attempted_at = CASE WHEN @uncertain::boolean THEN attempted_at END
    WHERE deliveries.delivery_key = @delivery_key AND deliveries.status = 'pending'
      AND deliveries.attempted_at = @attempted_at
    RETURNING deliveries.delivery_key, deliveries.channel
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes, available_at)
SELECT @queue, deferred.channel, gen_random_uuid()::text, jsonb_build_object('delivery_key', deferred.delivery_key), @trace,
       now() + @delay::interval
FROM deferred;

-- name: ResendDelivery :execrows
WITH again AS (
    UPDATE deliveries SET status = 'pending', attempts = 0, last_error = ''
    WHERE deliveries.delivery_key = @delivery_key AND deliveries.status = 'failed'
    RETURNING deliveries.delivery_key, deliveries.channel
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, again.channel, gen_random_uuid()::text, jsonb_build_object('delivery_key', again.delivery_key), @trace FROM again;

-- name: RetellDelivery :execrows
-- attempted_at stays: while an attempt may be under way, no other begins.
WITH again AS (
    UPDATE deliveries SET
        payload = @payload, revision = revision + 1, retold_at = now(),
        status = 'pending', attempts = 0, last_error = '', delivered_at = NULL
    WHERE deliveries.delivery_key = @delivery_key
    RETURNING deliveries.delivery_key, deliveries.channel, deliveries.revision
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, again.channel, md5(again.delivery_key) || ':r' || again.revision,
       jsonb_build_object('delivery_key', again.delivery_key), @trace
FROM again;

-- name: RetellApprovals :execrows
-- As RetellDelivery, for the messages that ask for the approval of a run's plans: of this one, of all others, or of all
-- (an empty hash), as far as what came of them is one of these. The news are put over what the messages tell.
WITH again AS (
    UPDATE deliveries SET
        payload = payload || @news::jsonb, revision = revision + 1, retold_at = now(),
        status = 'pending', attempts = 0, last_error = '', delivered_at = NULL
    WHERE deliveries.job_id = @job_id AND payload->>'approval_of' IS NOT NULL
      AND (@plan_hash::text = '' OR (payload->>'plan_hash' = @plan_hash) = @this_plan::boolean)
      AND coalesce(payload->>'outcome', '') = ANY(@outcomes::text[])
    RETURNING deliveries.delivery_key, deliveries.channel, deliveries.revision
)
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, again.channel, md5(again.delivery_key) || ':r' || again.revision,
       jsonb_build_object('delivery_key', again.delivery_key), @trace
FROM again;

-- name: AnnounceDeliveries :execrows
-- A delivery that nothing has happened to for long is announced again: its message may be lost. The deduplication id is
-- the same for all who notice it at the same time.
INSERT INTO outbox (queue, group_id, dedup_id, body, attributes)
SELECT @queue, deliveries.channel,
       md5(deliveries.delivery_key) || ':' || floor(extract(epoch FROM now()) / extract(epoch FROM @silent_for::interval))::bigint,
       jsonb_build_object('delivery_key', deliveries.delivery_key), '{}'
FROM deliveries
WHERE deliveries.status = 'pending'
  AND greatest(deliveries.created_at, deliveries.retold_at, deliveries.attempted_at) <= now() - @silent_for::interval
  AND NOT EXISTS (SELECT FROM outbox waiting WHERE waiting.body = jsonb_build_object('delivery_key', deliveries.delivery_key))
ORDER BY deliveries.created_at
LIMIT 500;

-- name: GetDelivery :one
SELECT * FROM deliveries WHERE delivery_key = @delivery_key;

-- name: ListDeliveries :many
-- Newest first. The after columns are those of the last row of the page before.
SELECT * FROM deliveries
WHERE (@after_key::text = '' OR created_at < @after_created_at OR (created_at = @after_created_at AND delivery_key > @after_key))
  AND (@job_id::uuid = '00000000-0000-0000-0000-000000000000' OR job_id = @job_id)
  AND (@status::text = '' OR status = @status)
ORDER BY created_at DESC, delivery_key
LIMIT @page_size;
