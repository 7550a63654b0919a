-- Files of tenants, in sealed pieces, and the batches that are made of them.
CREATE TABLE file (
    id            TEXT PRIMARY KEY,
    org_id        TEXT,
    trace_id      TEXT,               -- the request that brought it
    owner         TEXT NOT NULL,      -- team, user or key
    key_id        TEXT NOT NULL,
    purpose       TEXT NOT NULL,
    name          TEXT NOT NULL,
    bytes         BIGINT NOT NULL,
    created_us    BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL
);
CREATE INDEX file_owner ON file (owner, created_us);
CREATE INDEX file_expires ON file (expires_us);

CREATE TABLE file_piece (
    file_id       TEXT NOT NULL,
    number        BIGINT NOT NULL,
    org_id        TEXT,
    trace_id      TEXT,
    sealed        TEXT NOT NULL,
    PRIMARY KEY (file_id, number)
);

CREATE TABLE batch (
    id            TEXT PRIMARY KEY,
    org_id        TEXT,
    trace_id      TEXT,               -- the request that made it
    owner         TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    status        TEXT NOT NULL,
    claimed_by    TEXT,               -- the process that follows it
    claim_until_us BIGINT NOT NULL,
    node          BIGINT NOT NULL,    -- whose ledger has its rows
    document      TEXT NOT NULL,      -- JSON: all else
    created_us    BIGINT NOT NULL,
    updated_us    BIGINT NOT NULL,
    ended_us      BIGINT,
    version       BIGINT NOT NULL
);
CREATE INDEX batch_owner ON batch (owner, created_us);
CREATE INDEX batch_status ON batch (status, claim_until_us);
