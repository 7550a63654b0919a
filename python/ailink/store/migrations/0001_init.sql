-- The first schema. Common dialect of SQLite and PostgreSQL: ids and JSON are TEXT, time is BIGINT microseconds since 1970,
-- booleans do not occur, digests and sealed values are TEXT (hexadecimal, base64).
-- org_id (owner; NULL until organizations exist) and trace_id (the request that wrote the row last) stand on every table.

CREATE TABLE virtual_key (
    id           TEXT PRIMARY KEY,
    org_id       TEXT,
    trace_id     TEXT,
    digest       TEXT NOT NULL,      -- HMAC-SHA-256(pepper, SHA-256(key)), 64 hexadecimal digits
    display      TEXT NOT NULL,      -- 'sk-...' and the last four characters
    alias        TEXT,
    user_id      TEXT,               -- a label of the caller's, not a reference
    blocked      BIGINT NOT NULL,    -- 0 or 1
    expires_us   BIGINT,
    duration     TEXT,               -- as it was asked for
    models       TEXT NOT NULL,      -- JSON array; [] allows every model
    routes       TEXT NOT NULL,      -- JSON array of allowed routes; [] allows what the key's role may call
    allowed_ips  TEXT NOT NULL,      -- JSON array of addresses and networks; [] allows every address
    rpm_limit    BIGINT,
    max_parallel BIGINT,
    metadata     TEXT NOT NULL,      -- JSON object
    rotations    BIGINT NOT NULL,
    rotated_us   BIGINT,
    created_us   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    updated_us   BIGINT NOT NULL,
    updated_by   TEXT NOT NULL,
    deleted_us   BIGINT,             -- set: an archive row
    deleted_by   TEXT
);

CREATE UNIQUE INDEX virtual_key_live_digest ON virtual_key (digest) WHERE deleted_us IS NULL;
CREATE UNIQUE INDEX virtual_key_live_alias ON virtual_key ((COALESCE(org_id, '')), alias) WHERE deleted_us IS NULL;
CREATE INDEX virtual_key_digest ON virtual_key (digest);
CREATE INDEX virtual_key_created ON virtual_key (created_us, id);
CREATE INDEX virtual_key_user ON virtual_key (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE credential (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    name        TEXT NOT NULL,
    sealed      TEXT NOT NULL,       -- the provider's key, sealed: see secrets/envelope.py
    info        TEXT NOT NULL,       -- JSON object, nothing secret
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE UNIQUE INDEX credential_name ON credential ((COALESCE(org_id, '')), name);

-- What ties this database to its key-encryption key: the verifier, and the pepper once the key was rotated.
CREATE TABLE keyring (
    name        TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    key_id      TEXT NOT NULL,
    value       TEXT NOT NULL,
    created_us  BIGINT NOT NULL
);

-- Who changed what. Each row carries the hash of the row before it.
CREATE TABLE audit (
    seq         BIGINT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    at_us       BIGINT NOT NULL,
    actor       TEXT NOT NULL,
    actor_ip    TEXT,
    action      TEXT NOT NULL,
    object_type TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    detail      TEXT NOT NULL,       -- JSON object, nothing secret
    prev_hash   TEXT NOT NULL,
    hash        TEXT NOT NULL
);

CREATE INDEX audit_object ON audit (object_type, object_id, seq);
