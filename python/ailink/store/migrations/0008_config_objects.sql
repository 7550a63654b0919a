-- What was configured through the API beside the file: deployments of models, and providers.
CREATE TABLE config_object (
    id          TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    version     BIGINT NOT NULL,
    kind        TEXT NOT NULL,      -- model or provider
    name        TEXT NOT NULL,      -- of the model or the provider
    body        TEXT NOT NULL,      -- JSON, nothing secret
    sealed      TEXT,               -- JSON of what is secret, sealed: see secrets/envelope.py
    public_only BIGINT NOT NULL,    -- 1: made by somebody who is not trusted with the gateway's own network
    blocked     BIGINT NOT NULL,
    created_us  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    updated_us  BIGINT NOT NULL,
    updated_by  TEXT NOT NULL
);

CREATE INDEX config_object_name ON config_object (kind, name);
