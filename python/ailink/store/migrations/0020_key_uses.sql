-- When each key was used last, and from where. A table of its own: the row of a key and its version stay as they are.
CREATE TABLE key_use (
    key_id      TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    used_us     BIGINT NOT NULL,
    address     TEXT NOT NULL
);
