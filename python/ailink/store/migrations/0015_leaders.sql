-- Which process does what one of all nodes does. `fence` grows with every change of hands: who was it before, and does not
-- know yet, is told so by the database.
CREATE TABLE leader (
    task        TEXT PRIMARY KEY,
    org_id      TEXT,
    trace_id    TEXT,
    holder      TEXT NOT NULL,
    fence       BIGINT NOT NULL,
    until_us    BIGINT NOT NULL
);

-- What a provider billed for one model on one day, beside what the ledger has. The ledger's rows stay as they were.
CREATE TABLE bill (
    provider        TEXT NOT NULL,
    day             BIGINT NOT NULL,    -- since 1970, UTC
    model           TEXT NOT NULL,      -- as the provider's deployments name it; else as the bill does
    org_id          TEXT,
    trace_id        TEXT,
    billed_pico     BIGINT NOT NULL,
    recorded_pico   BIGINT NOT NULL,
    agrees          BIGINT NOT NULL,    -- 1: the difference is within what was allowed
    deployments     TEXT NOT NULL,      -- JSON: whose attempts these are
    at_us           BIGINT NOT NULL,
    by_whom         TEXT NOT NULL,
    PRIMARY KEY (provider, day, model)
);
