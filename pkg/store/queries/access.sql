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

-- name: LockAccess :exec
-- Changes of what is granted are rare: whoever makes one waits for whoever is making another.
SELECT pg_advisory_xact_lock(hashtextextended('access', 0));

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
SELECT * FROM custom_roles WHERE @ended::boolean OR ended_at IS NULL ORDER BY role, version_id DESC;

-- name: RoleInForce :one
SELECT * FROM custom_roles WHERE role = @role AND ended_at IS NULL;

-- name: InsertRole :one
INSERT INTO custom_roles (version_id, role, actions, changed_by) VALUES (@version_id, @role, @actions::text[], @changed_by) RETURNING *;

-- name: EndRole :execrows
UPDATE custom_roles SET ended_at = now(), ended_by = @ended_by WHERE role = @role AND ended_at IS NULL;

-- name: RoleInUse :one
SELECT EXISTS (SELECT FROM role_bindings WHERE role = @role AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()));

-- name: ListIdentities :many
SELECT * FROM identities WHERE @ended::boolean OR ended_at IS NULL ORDER BY email_key, link_id DESC;

-- name: IdentityInForce :one
SELECT * FROM identities WHERE email_key = @email_key AND ended_at IS NULL;

-- name: InsertIdentity :one
INSERT INTO identities (link_id, email_key, subject, linked_by) VALUES (@link_id, @email_key, @subject, @linked_by) RETURNING *;

-- name: EndIdentity :execrows
UPDATE identities SET ended_at = now(), ended_by = @ended_by WHERE email_key = @email_key AND ended_at IS NULL;

-- name: TellAccess :exec
SELECT pg_notify('access', '00000000-0000-0000-0000-000000000000');

-- name: TeamOfRun :one
SELECT team_id FROM runs WHERE job_id = @job_id;

-- name: TeamOfLetter :one
SELECT team_id FROM dead_letters WHERE letter_id = @letter_id;

-- name: TeamOfFinding :one
SELECT team_id FROM audit_findings WHERE finding_id = @finding_id;

-- name: MembersNamed :many
-- The declared members with these addresses, in one team or in any, that is not archived.
SELECT teams.team_id, (member->'roles')::jsonb AS roles
FROM teams, jsonb_array_elements(teams.members) AS member
WHERE NOT teams.archived AND (@team_id::text = '' OR teams.team_id = @team_id) AND lower(member->>'email') = any(@emails::text[]);
