-- name: GrantsInForce :many
SELECT * FROM role_bindings WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: ListBindings :many
-- Newest first. after is the last binding_id of the page before.
SELECT * FROM role_bindings
WHERE (@after::uuid = '00000000-0000-0000-0000-000000000000' OR binding_id < @after)
  AND (@subject::text = '' OR subject = @subject)
  AND (@team_id::text = '' OR team_id = @team_id)
  AND (@ended::boolean OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
ORDER BY binding_id DESC
LIMIT @page_size;

-- name: LockBindings :exec
-- Whoever grants the same thing at the same time waits.
SELECT pg_advisory_xact_lock(hashtextextended(@subject::text || ' ' || @role::text || ' ' || @team_id::text, 0));

-- name: BindingInForce :one
SELECT * FROM role_bindings
WHERE subject = @subject AND role = @role AND team_id = @team_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
ORDER BY granted_at DESC
LIMIT 1;

-- name: InsertBinding :one
INSERT INTO role_bindings (binding_id, subject, role, team_id, reason, granted_by, expires_at)
VALUES (@binding_id, @subject, @role, @team_id, @reason, @granted_by, sqlc.narg('expires_at'))
RETURNING *;

-- name: RevokeBindings :many
UPDATE role_bindings SET revoked_at = now(), revoked_by = @revoked_by
WHERE subject = @subject AND role = @role AND team_id = @team_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING *;

-- name: ListRoles :many
SELECT * FROM custom_roles ORDER BY role;

-- name: SaveRole :one
INSERT INTO custom_roles (role, actions, changed_by) VALUES (@role, @actions::text[], @changed_by)
ON CONFLICT (role) DO UPDATE SET actions = excluded.actions, changed_by = excluded.changed_by, changed_at = now()
RETURNING *;

-- name: DeleteRole :execrows
DELETE FROM custom_roles WHERE role = @role;

-- name: RoleInUse :one
SELECT EXISTS (SELECT FROM role_bindings WHERE role = @role AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()));

-- name: ListIdentities :many
SELECT * FROM identities ORDER BY email_key;

-- name: SaveIdentity :one
INSERT INTO identities (email_key, subject, linked_by) VALUES (@email_key, @subject, @linked_by)
ON CONFLICT (email_key) DO UPDATE SET subject = excluded.subject, linked_by = excluded.linked_by, linked_at = now()
RETURNING *;

-- name: DeleteIdentity :execrows
DELETE FROM identities WHERE email_key = @email_key;

-- name: TellAccess :exec
SELECT pg_notify('access', '00000000-0000-0000-0000-000000000000');

-- name: TeamOfRun :one
SELECT team_id FROM runs WHERE job_id = @job_id;

-- name: TeamOfLetter :one
SELECT team_id FROM dead_letters WHERE letter_id = @letter_id;

-- name: TeamOfFinding :one
SELECT team_id FROM audit_findings WHERE finding_id = @finding_id;

-- name: MembersNamed :many
-- The declared members with these addresses, in any team that is not archived.
SELECT teams.team_id, (member->'roles')::jsonb AS roles
FROM teams, jsonb_array_elements(teams.members) AS member
WHERE NOT teams.archived AND lower(member->>'email') = any(@emails::text[]);
