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
