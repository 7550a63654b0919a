-- Who the gateway serves: organizations, teams, projects, users, customers, tags, and what they may spend.
-- Same dialect as 0001. `settings` is the JSON of store/settings.py; `version` counts changes (the ETag of a row).
-- org_id NULL: the row belongs to the operator of the gateway, no organization sees it.

CREATE TABLE organization (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL,      -- the same as id
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    alias       TEXT,
    blocked     BIGINT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE TABLE team (
    id                 TEXT PRIMARY KEY,
    org_id             TEXT,
    trace_id           TEXT,
    version            BIGINT NOT NULL,
    parent_id          TEXT,
    alias              TEXT,
    blocked            BIGINT NOT NULL,
    settings           TEXT NOT NULL,
    member_settings    TEXT NOT NULL,   -- JSON: what every member has unless the membership says otherwise
    member_permissions TEXT NOT NULL,   -- JSON array: key routes that plain members may call
    created_us         BIGINT NOT NULL,
    created_by         TEXT NOT NULL,
    updated_us         BIGINT NOT NULL,
    updated_by         TEXT NOT NULL
);

CREATE INDEX team_org ON team (org_id);
CREATE INDEX team_parent ON team (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE project (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    team_id     TEXT NOT NULL,
    alias       TEXT,
    description TEXT,
    blocked     BIGINT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE INDEX project_team ON project (team_id);

CREATE TABLE app_user (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,               -- where the user was made; memberships say where else he belongs
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    email       TEXT,
    alias       TEXT,
    sso_id      TEXT,
    role        TEXT NOT NULL,      -- built-in or custom role over the whole gateway
    blocked     BIGINT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE UNIQUE INDEX app_user_email ON app_user (email) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX app_user_sso ON app_user (sso_id) WHERE sso_id IS NOT NULL;

CREATE TABLE membership (
    id          TEXT PRIMARY KEY,   -- kind:holder_id:user_id
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    kind        TEXT NOT NULL,      -- organization or team
    holder_id   TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    role        TEXT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE INDEX membership_user ON membership (user_id);
CREATE INDEX membership_holder ON membership (kind, holder_id);

CREATE TABLE customer (
    id          TEXT PRIMARY KEY,   -- org_id/name, or name where there is no organization
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    name        TEXT NOT NULL,      -- what clients send as `user`
    alias       TEXT,
    blocked     BIGINT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE INDEX customer_org ON customer (org_id);

CREATE TABLE tag (
    id          TEXT PRIMARY KEY,   -- org_id/name, or name where there is no organization
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE INDEX tag_org ON tag (org_id);

CREATE TABLE budget (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    settings    TEXT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE TABLE access_group (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT,
    models      TEXT NOT NULL,      -- JSON array of model names and patterns
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE UNIQUE INDEX access_group_name ON access_group ((COALESCE(org_id, '')), name);

CREATE TABLE custom_role (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    name        TEXT NOT NULL,
    permissions TEXT NOT NULL,      -- JSON array
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE UNIQUE INDEX custom_role_name ON custom_role ((COALESCE(org_id, '')), name);

-- What was deleted, with all that went with it; a restore takes the newest of an id.
CREATE TABLE archive (
    kind        TEXT NOT NULL,
    id          TEXT NOT NULL,
    org_id      TEXT,
    trace_id    TEXT,
    deleted_us  BIGINT NOT NULL,
    deleted_by  TEXT NOT NULL,
    record      TEXT NOT NULL,      -- JSON: the row, memberships, ids of keys
    PRIMARY KEY (kind, id, deleted_us)
);

-- First answers to requests that carried an Idempotency-Key; a repeat gets the same.
CREATE TABLE idempotency (
    id          TEXT PRIMARY KEY,   -- SHA-256 of caller, route and key
    org_id      TEXT,
    trace_id    TEXT,
    request     TEXT NOT NULL,      -- SHA-256 of the body and query
    status      BIGINT NOT NULL,
    answer      TEXT NOT NULL,      -- sealed: it may hold a key that is shown once
    created_us  BIGINT NOT NULL
);

CREATE INDEX idempotency_created ON idempotency (created_us);

-- Keys: whose they are, all further settings, rotation.
ALTER TABLE virtual_key ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE virtual_key ADD COLUMN team_id TEXT;
ALTER TABLE virtual_key ADD COLUMN project_id TEXT;
ALTER TABLE virtual_key ADD COLUMN kind TEXT NOT NULL DEFAULT 'default';
ALTER TABLE virtual_key ADD COLUMN service_account TEXT;
-- 1: on management routes the key acts as its user. 0: it was made by somebody who could not have lent that.
ALTER TABLE virtual_key ADD COLUMN acts_as_user BIGINT NOT NULL DEFAULT 0;
ALTER TABLE virtual_key ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE virtual_key ADD COLUMN rotation_interval TEXT;
ALTER TABLE virtual_key ADD COLUMN rotate_at_us BIGINT;
-- The secret before the last rotation, for as long as it still works.
ALTER TABLE virtual_key ADD COLUMN old_digest TEXT;
ALTER TABLE virtual_key ADD COLUMN old_until_us BIGINT;
-- The secret of a scheduled rotation, sealed, until whoever holds the former one has fetched it.
ALTER TABLE virtual_key ADD COLUMN pending TEXT;

CREATE INDEX virtual_key_team ON virtual_key (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX virtual_key_project ON virtual_key (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX virtual_key_old_digest ON virtual_key (old_digest) WHERE old_digest IS NOT NULL;
