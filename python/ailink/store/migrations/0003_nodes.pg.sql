-- What several nodes have to tell each other.

-- One row per change that data planes have to learn of, in the order of the commits (the number is taken under the write
-- lock). Nodes read on from the last one they know; rows older than a day are removed.
CREATE TABLE change_log (
    seq         BIGINT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    at_us       BIGINT NOT NULL,
    node        TEXT NOT NULL,      -- the process that made it
    what        TEXT NOT NULL       -- JSON: ids of keys, digests that no key has any more, subjects, credentials
);

-- The ledger of all nodes; `ledger.db` of a node is what it sends from. The tables and columns are those of that file, so that
-- the same questions give the same answers; ids of names are this database's own.
CREATE TABLE dict (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        BIGINT NOT NULL,
    text        TEXT NOT NULL,
    UNIQUE (kind, text)
);

CREATE TABLE attempt (
    at_us         BIGINT NOT NULL,
    node          BIGINT NOT NULL,
    attempt_id    BIGINT NOT NULL,
    request_id    BYTEA NOT NULL,
    trace_id      BYTEA,
    org_id        BIGINT NOT NULL,
    key_id        BIGINT NOT NULL,
    model_id      BIGINT NOT NULL,
    deployment_id BIGINT NOT NULL,
    price_id      BIGINT NOT NULL,
    operation     BIGINT NOT NULL,
    attempt_no    BIGINT NOT NULL,
    flags         BIGINT NOT NULL,
    source        BIGINT NOT NULL,
    status        BIGINT NOT NULL,
    class         BIGINT NOT NULL,
    input         BIGINT NOT NULL,
    output        BIGINT NOT NULL,
    cache_read    BIGINT NOT NULL,
    cache_write   BIGINT NOT NULL,
    reasoning     BIGINT NOT NULL,
    audio_input   BIGINT NOT NULL,
    audio_output  BIGINT NOT NULL,
    units         BIGINT NOT NULL,
    cost_pico     BIGINT NOT NULL,
    duration_us   BIGINT NOT NULL,
    ttft_us       BIGINT NOT NULL,
    overhead_us   BIGINT NOT NULL,
    team_id       BIGINT NOT NULL,
    user_id       BIGINT NOT NULL,
    project_id    BIGINT NOT NULL,
    customer_id   BIGINT NOT NULL,
    tags_id       BIGINT NOT NULL,
    PRIMARY KEY (at_us, node, attempt_id)
) PARTITION BY RANGE (at_us);

CREATE INDEX attempt_request ON attempt (request_id);
CREATE INDEX attempt_key ON attempt (key_id, at_us);

CREATE TABLE rollup (
    day           BIGINT NOT NULL,
    key_id        BIGINT NOT NULL,
    org_id        BIGINT NOT NULL,
    team_id       BIGINT NOT NULL,
    user_id       BIGINT NOT NULL,
    project_id    BIGINT NOT NULL,
    customer_id   BIGINT NOT NULL,
    tags_id       BIGINT NOT NULL,
    model_id      BIGINT NOT NULL,
    deployment_id BIGINT NOT NULL,
    source        BIGINT NOT NULL,
    requests      BIGINT NOT NULL,
    errors        BIGINT NOT NULL,
    input         BIGINT NOT NULL,
    output        BIGINT NOT NULL,
    cache_read    BIGINT NOT NULL,
    cache_write   BIGINT NOT NULL,
    reasoning     BIGINT NOT NULL,
    audio_input   BIGINT NOT NULL,
    audio_output  BIGINT NOT NULL,
    units         BIGINT NOT NULL,
    cost_usd      BIGINT NOT NULL,
    cost_pico     BIGINT NOT NULL,
    PRIMARY KEY (day, key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, source)
);

-- What each node has sent: rows per 2^16 of its attempt numbers. Compared with the node's own counts, it tells what is missing.
CREATE TABLE ledger_sent (
    node        BIGINT NOT NULL,
    bucket      BIGINT NOT NULL,
    rows_sent   BIGINT NOT NULL,
    PRIMARY KEY (node, bucket)
);
