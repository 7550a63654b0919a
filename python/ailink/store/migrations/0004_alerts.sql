-- What was told to whom: one row per alert and channel. `status`: waiting, sent or failed.
CREATE TABLE alert_delivery (
    id TEXT PRIMARY KEY,
    org_id TEXT,
    trace_id TEXT,
    channel TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    error TEXT,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX alert_delivery_created ON alert_delivery (created_us);
