-- What guardrails found and policies did, of all nodes: `verdict` of their own ledgers, with the node it is of.
CREATE TABLE verdict (
    node       BIGINT NOT NULL,
    number     BIGINT NOT NULL,
    at_us      BIGINT NOT NULL,
    request_id BYTEA NOT NULL,
    policy     BIGINT NOT NULL,
    rule       TEXT NOT NULL,
    label      TEXT NOT NULL,
    action     TEXT NOT NULL,
    shadow     BIGINT NOT NULL,
    side       TEXT NOT NULL,
    place      TEXT NOT NULL,
    matches    BIGINT NOT NULL,
    model      TEXT NOT NULL,
    key        TEXT NOT NULL,
    PRIMARY KEY (node, number)
);

CREATE INDEX verdict_request ON verdict (request_id);
CREATE INDEX verdict_time ON verdict (at_us);
