-- name: SaveAuditFindings :exec
-- What an audit saw of some teams, and by that what is gone. Doing it again changes nothing more.
WITH seen AS (
    SELECT unnest(@finding_ids::uuid[]) AS finding_id, unnest(@team_ids::text[]) AS team_id, unnest(@kinds::text[]) AS kind,
        unnest(@categories::text[]) AS category, unnest(@entity_refs::text[]) AS entity_ref, unnest(@messages::text[]) AS message,
        unnest(@target_ids::text[]) AS target_id, unnest(@user_ids::text[]) AS user_id
), saved AS (
    INSERT INTO audit_findings AS old (
        finding_id, team_id, kind, category, entity_ref, message, first_audit_id, last_audit_id, changed_by, changed_at
    )
    SELECT seen.finding_id, seen.team_id, seen.kind, seen.category, seen.entity_ref, seen.message, @audit_id::uuid, @audit_id::uuid,
        coalesce(target_records.actor, ''), target_records.at
    FROM seen LEFT JOIN target_records ON target_records.target_id = seen.target_id AND target_records.user_id = seen.user_id
        AND seen.target_id <> ''
    ORDER BY seen.team_id, seen.kind, seen.entity_ref
    ON CONFLICT (team_id, kind, entity_ref) DO UPDATE SET
        message = excluded.message, last_seen_at = now(), last_audit_id = excluded.last_audit_id,
        status = CASE WHEN old.status = 'acknowledged' AND old.acknowledged_until > now() THEN 'acknowledged' ELSE 'open' END,
        reopened = old.reopened + CASE WHEN old.status = 'resolved' THEN 1 ELSE 0 END,
        reopened_at = CASE WHEN old.status = 'resolved' THEN now() ELSE old.reopened_at END,
        reopened_audit_id = CASE WHEN old.status = 'resolved' THEN excluded.last_audit_id ELSE old.reopened_audit_id END,
        acknowledged_by = CASE WHEN old.status = 'acknowledged' AND old.acknowledged_until > now() THEN old.acknowledged_by ELSE '' END,
        acknowledge_reason = CASE WHEN old.status = 'acknowledged' AND old.acknowledged_until > now() THEN old.acknowledge_reason ELSE '' END,
        acknowledged_until = CASE WHEN old.status = 'acknowledged' AND old.acknowledged_until > now() THEN old.acknowledged_until END,
        resolved_at = NULL, resolved_by = '',
        changed_by = CASE WHEN excluded.changed_by <> '' THEN excluded.changed_by ELSE old.changed_by END,
        changed_at = coalesce(excluded.changed_at, old.changed_at)
)
UPDATE audit_findings SET status = 'resolved', resolved_at = now(), resolved_by = 'audit:' || @audit_id::uuid
WHERE audit_findings.team_id = any(@compared::text[]) AND audit_findings.status <> 'resolved'
  AND (audit_findings.kind = any(@fleet_kinds::text[])) = @fleet::boolean
  AND NOT EXISTS (
    SELECT FROM seen WHERE seen.team_id = audit_findings.team_id AND seen.kind = audit_findings.kind AND seen.entity_ref = audit_findings.entity_ref
  );

-- name: ResolveAuditFindings :exec
-- What a run has mended: its changes, and where the team is in sync then, every drift.
UPDATE audit_findings SET status = 'resolved', resolved_at = now(), resolved_by = 'run:' || @job_id::uuid
WHERE audit_findings.team_id = @team_id AND audit_findings.status <> 'resolved' AND (
    @in_sync::boolean AND audit_findings.category = 'drift'
    OR EXISTS (
        SELECT FROM (SELECT unnest(@kinds::text[]) AS kind, unnest(@entity_refs::text[]) AS entity_ref) AS mended
        WHERE mended.kind = audit_findings.kind AND mended.entity_ref = audit_findings.entity_ref
    )
);

-- name: GetAuditFinding :one
SELECT * FROM audit_findings WHERE finding_id = @finding_id;

-- name: ListAuditFindings :many
-- Newest first. after is the last finding_id of the page before.
SELECT * FROM audit_findings
WHERE (@after::uuid = '00000000-0000-0000-0000-000000000000' OR finding_id < @after)
  AND (@status::text = '' OR status = @status)
  AND (@kind::text = '' OR kind = @kind)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@audit_id::uuid = '00000000-0000-0000-0000-000000000000' OR last_audit_id = @audit_id)
  AND (sqlc.narg('teams')::text[] IS NULL OR team_id = any(sqlc.narg('teams')::text[]))
ORDER BY finding_id DESC
LIMIT @page_size;

-- name: AcknowledgeAuditFinding :execrows
UPDATE audit_findings SET
    status = 'acknowledged', acknowledged_by = @who, acknowledge_reason = @reason, acknowledged_until = @until::timestamptz
WHERE finding_id = @finding_id AND status <> 'resolved';

-- name: ReopenAuditFinding :execrows
UPDATE audit_findings SET status = 'open', acknowledged_by = '', acknowledge_reason = '', acknowledged_until = NULL
WHERE finding_id = @finding_id AND status = 'acknowledged';

-- name: ExpireAcknowledgements :execrows
UPDATE audit_findings SET status = 'open', acknowledged_by = '', acknowledge_reason = '', acknowledged_until = NULL
WHERE status = 'acknowledged' AND acknowledged_until <= now();

-- name: CountAuditFindings :many
-- The findings of an audit's teams by kind; where the audit left nothing out, all.
SELECT kind,
    count(*) FILTER (WHERE audit_findings.status = 'open') AS open,
    count(*) FILTER (WHERE audit_findings.status = 'acknowledged') AS acknowledged,
    count(*) FILTER (WHERE audit_findings.first_audit_id = @audit_id) AS new,
    count(*) FILTER (WHERE audit_findings.reopened_audit_id = @audit_id) AS reopened,
    count(*) FILTER (WHERE audit_findings.status = 'resolved') AS resolved
FROM audit_findings
WHERE (audit_findings.status <> 'resolved' OR audit_findings.resolved_at > @since::timestamptz)
  AND (@whole::boolean OR EXISTS (
    SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = audit_findings.team_id))
GROUP BY kind ORDER BY 2 DESC, kind;

-- name: TopTeams :many
SELECT audit_findings.team_id, coalesce(teams.name, '')::text AS name, count(*) AS open
FROM audit_findings LEFT JOIN teams ON teams.team_id = audit_findings.team_id
WHERE audit_findings.status = 'open' AND audit_findings.team_id <> ''
  AND EXISTS (SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = audit_findings.team_id)
GROUP BY audit_findings.team_id, teams.name
ORDER BY count(*) DESC, audit_findings.team_id
LIMIT @page_size;

-- name: FreshFindings :many
-- What an audit saw first, or saw return.
SELECT * FROM audit_findings
WHERE last_audit_id = @audit_id AND (first_audit_id = @audit_id OR reopened_audit_id = @audit_id)
ORDER BY team_id, kind, entity_ref
LIMIT @page_size;

-- name: GoneFindings :many
SELECT * FROM audit_findings
WHERE audit_findings.status = 'resolved' AND audit_findings.resolved_at > @since::timestamptz
  AND (@whole::boolean OR EXISTS (
    SELECT FROM audit_teams WHERE audit_teams.audit_id = @audit_id AND audit_teams.team_id = audit_findings.team_id))
ORDER BY team_id, kind, entity_ref
LIMIT @page_size;

-- name: CountTeamsByStatus :many
SELECT sync_status, count(*) AS teams FROM teams WHERE NOT archived GROUP BY sync_status;

-- name: CountFindingsByAge :many
SELECT kind, status,
    (CASE WHEN first_seen_at > now() - interval '1 day' THEN 'day' WHEN first_seen_at > now() - interval '7 days' THEN 'week'
        WHEN first_seen_at > now() - interval '30 days' THEN 'month' ELSE 'older' END)::text AS age,
    count(*) AS findings
FROM audit_findings WHERE status <> 'resolved' GROUP BY 1, 2, 3;
