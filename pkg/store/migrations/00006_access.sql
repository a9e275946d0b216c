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

-- Roles of a company's own: a name for some actions.
CREATE TABLE custom_roles (
    role       text        PRIMARY KEY,
    actions    text[]      NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Whose e-mail address is whose: the subject of their token. email_key is the address in small letters.
CREATE TABLE identities (
    email_key text        PRIMARY KEY,
    subject   text        NOT NULL,
    linked_by text        NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT now()
);
