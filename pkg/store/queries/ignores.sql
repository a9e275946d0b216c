-- name: RulesInForce :many
-- The fleet's rules, and those of the teams. A team's own come first.
SELECT * FROM ignore_rules
WHERE team_id IN (SELECT unnest(@team_ids::text[]) UNION ALL SELECT '') AND deleted_at IS NULL AND expires_at > now()
ORDER BY team_id = '', team_id, rule_id;

-- name: ReplaceExpiredRule :exec
-- Makes room for a rule where one that hid the same has expired.
UPDATE ignore_rules SET replaced = true
WHERE team_id = @team_id AND kind = @kind AND value_key = @value_key AND deleted_at IS NULL AND NOT replaced AND expires_at <= now();

-- name: InsertIgnoreRule :execrows
-- No row: a rule that is in force hides the same.
INSERT INTO ignore_rules (rule_id, team_id, kind, value, value_key, reason, owner, created_by, expires_at)
VALUES (@rule_id, @team_id, @kind, @value, @value_key, @reason, @owner, @created_by, @expires_at)
ON CONFLICT (team_id, kind, value_key) WHERE deleted_at IS NULL AND NOT replaced DO NOTHING;

-- name: StandingRule :one
SELECT * FROM ignore_rules
WHERE team_id = @team_id AND kind = @kind AND value_key = @value_key AND deleted_at IS NULL AND NOT replaced;

-- name: GetIgnoreRule :one
SELECT * FROM ignore_rules WHERE rule_id = @rule_id;

-- name: DeleteIgnoreRule :execrows
UPDATE ignore_rules SET deleted_at = now(), deleted_by = @who
WHERE rule_id = @rule_id AND team_id = @team_id AND deleted_at IS NULL;

-- name: ListIgnoreRules :many
-- Newest first. after is the last rule_id of the page before. With a team, its own rules and the fleet's.
SELECT * FROM ignore_rules
WHERE (@after::uuid = '00000000-0000-0000-0000-000000000000' OR rule_id < @after)
  AND (@team_id::text = '' OR team_id IN ('', @team_id))
  AND (@kind::text = '' OR kind = @kind)
  AND (@past::boolean OR deleted_at IS NULL AND expires_at > now())
ORDER BY rule_id DESC
LIMIT @page_size;

-- name: HideAuditFindings :exec
-- What a rule hides by now is not open any more; the rule is named. It opens again when an audit sees it and no rule does.
UPDATE audit_findings SET status = 'resolved', resolved_at = now(), resolved_by = 'ignore:' || hidden.rule_id
FROM (
    SELECT unnest(@team_ids::text[]) AS team_id, unnest(@kinds::text[]) AS kind, unnest(@entity_refs::text[]) AS entity_ref,
        unnest(@rule_ids::text[]) AS rule_id
) AS hidden
WHERE audit_findings.team_id = hidden.team_id AND audit_findings.kind = hidden.kind AND audit_findings.entity_ref = hidden.entity_ref
  AND audit_findings.status <> 'resolved';

-- name: AuditIgnored :many
-- What the rules hid in an audit, the most first.
SELECT sqlc.embed(ignore_rules), hidden.differences FROM ignore_rules
JOIN (
    SELECT named.rule_id, sum((named.ignored->>named.rule_id)::integer)::bigint AS differences
    FROM (
        SELECT jsonb_object_keys(audit_teams.ignored)::text AS rule_id, audit_teams.ignored
        FROM audit_teams WHERE audit_teams.audit_id = @audit_id
    ) AS named
    GROUP BY named.rule_id
) AS hidden ON hidden.rule_id = ignore_rules.rule_id::text
ORDER BY hidden.differences DESC, ignore_rules.rule_id;
