-- Keys for a while, which stand for a virtual key in realtime sessions with one model.
CREATE TABLE client_secret (
    digest        TEXT PRIMARY KEY,
    key_id        TEXT NOT NULL,
    org_id        TEXT,
    trace_id      TEXT,
    model         TEXT NOT NULL,
    created_us    BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL
);
CREATE INDEX client_secret_key ON client_secret (key_id, expires_us);
CREATE INDEX client_secret_expires ON client_secret (expires_us);
