-- +goose Up

-- Who holds which role, on one team or, with team_id '', everywhere. A binding is never changed and never deleted: one that
-- was revoked, or has expired, says who could do what then.
CREATE TABLE role_bindings (
    binding_id uuid        PRIMARY KEY,
    subject    text        NOT NULL,
    role       text        NOT NULL,
    team_id    text        NOT NULL DEFAULT '',
    reason     text        NOT NULL,
    granted_by text        NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_by text        NOT NULL DEFAULT '',
    revoked_at timestamptz,
    CHECK ((revoked_at IS NULL) = (revoked_by = ''))
);
CREATE INDEX role_bindings_in_force ON role_bindings (subject, role, team_id) WHERE revoked_at IS NULL;

-- Roles of a company's own: a name for some actions. One that is changed or deleted stays, as ended: it says what could be done
-- then, and who changed it.
CREATE TABLE custom_roles (
    version_id uuid        PRIMARY KEY,
    role       text        NOT NULL,
    actions    text[]      NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    ended_by   text        NOT NULL DEFAULT '',
    ended_at   timestamptz,
    CHECK ((ended_at IS NULL) = (ended_by = ''))
);
CREATE UNIQUE INDEX custom_roles_in_force ON custom_roles (role) WHERE ended_at IS NULL;

-- Whose e-mail address is whose: the subject of their token. email_key is the address in small letters. A link that was replaced
-- or taken back stays, as ended.
CREATE TABLE identities (
    link_id   uuid        PRIMARY KEY,
    email_key text        NOT NULL,
    subject   text        NOT NULL,
    linked_by text        NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT now(),
    ended_by  text        NOT NULL DEFAULT '',
    ended_at  timestamptz,
    CHECK ((ended_at IS NULL) = (ended_by = ''))
);
CREATE UNIQUE INDEX identities_in_force ON identities (email_key) WHERE ended_at IS NULL;
