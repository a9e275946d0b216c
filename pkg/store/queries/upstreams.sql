-- name: ReportUpstreams :exec
-- What a process says replaces what it said; what nobody says any more is forgotten.
WITH gone AS (
    DELETE FROM upstream_reports WHERE reported_at < now() - @forget_after::interval AND process <> @process
)
INSERT INTO upstream_reports (process, platform, report)
SELECT @process, unnest(@platforms::text[]), unnest(@reports::jsonb[])
ON CONFLICT (process, platform) DO UPDATE SET report = excluded.report, reported_at = now();

-- name: ForgetUpstreams :exec
DELETE FROM upstream_reports WHERE process = @process;

-- name: ListUpstreams :many
SELECT * FROM upstream_reports WHERE reported_at > now() - @forget_after::interval ORDER BY platform, process;
