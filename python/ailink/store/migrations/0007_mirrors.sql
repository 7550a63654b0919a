-- Requests that went to a mirror too, and how the two answers compare. Never what they say.
CREATE TABLE mirror_pair (
    request_id          TEXT PRIMARY KEY,
    mirror_id           TEXT NOT NULL,      -- the mirror's own request
    org_id              TEXT,
    trace_id            TEXT,
    model               TEXT NOT NULL,
    mirror              TEXT NOT NULL,
    deployment          TEXT,               -- that answered; null: none did
    mirror_deployment   TEXT,
    status              BIGINT NOT NULL,
    mirror_status       BIGINT NOT NULL,
    length              BIGINT,             -- characters; null: not compared
    mirror_length       BIGINT,
    agreement           BIGINT,             -- thousandths, from 0 to 1000
    at_us               BIGINT NOT NULL
);

CREATE INDEX mirror_pair_model ON mirror_pair (model, at_us);
