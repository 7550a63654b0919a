-- The group of a model's deployments that was switched to, and the one before.
CREATE TABLE model_group (
    model       TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    active      TEXT NOT NULL,
    previous    TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);
