-- What routers are trained from. Never a prompt: numbers that describe it.
CREATE TABLE route_sample (
    request_id  TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    auto        TEXT NOT NULL,      -- the model that was asked for
    version     TEXT NOT NULL,      -- of the router that chose
    model       TEXT NOT NULL,      -- the one it chose
    vector      TEXT NOT NULL,      -- base64 of 256 bytes
    dense       TEXT NOT NULL,      -- base64 of 24 floats
    at_us       BIGINT NOT NULL
);

CREATE INDEX route_sample_auto ON route_sample (auto, at_us);

-- What people or programs think of an answer; the last word of a key counts.
CREATE TABLE feedback (
    request_id  TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    org_id      TEXT,
    trace_id    TEXT,
    value       BIGINT NOT NULL,    -- thousandths, from 0 to 1000
    weight      BIGINT NOT NULL,    -- thousandths
    metadata    TEXT NOT NULL,
    at_us       BIGINT NOT NULL,
    PRIMARY KEY (request_id, key_id)
);
