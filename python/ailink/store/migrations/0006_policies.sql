-- Policies made through the API. What each version said stays, for whoever wants to go back.
CREATE TABLE policy (
    name        TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    body        TEXT NOT NULL,      -- JSON, as it was sent
    created_us  BIGINT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE TABLE policy_version (
    name        TEXT NOT NULL,
    version     BIGINT NOT NULL,
    org_id      TEXT,
    trace_id    TEXT,
    body        TEXT,               -- null: deleted with this version
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    PRIMARY KEY (name, version)
);
