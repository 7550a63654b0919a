-- Requests that somebody has to allow, and what came of them. `sealed`, `edited` and `answer` are encrypted.
CREATE TABLE approval (
    id            TEXT PRIMARY KEY,
    org_id        TEXT,
    trace_id      TEXT,               -- the request that asked first
    team_id       TEXT,
    user_id       TEXT,
    key_id        TEXT NOT NULL,
    policy        TEXT NOT NULL,
    policy_version BIGINT NOT NULL,
    phase         TEXT NOT NULL,
    mode          TEXT NOT NULL,
    model         TEXT NOT NULL,
    joins         TEXT NOT NULL,      -- what repeats of the request share
    asked         TEXT NOT NULL,
    named         BIGINT NOT NULL,    -- 1: by an Idempotency-Key
    terms         TEXT NOT NULL,      -- JSON: reviewers, quorum, default, expiry
    status        TEXT NOT NULL,
    message       TEXT,
    sealed        TEXT NOT NULL,
    edited        TEXT,
    revision      BIGINT NOT NULL,    -- how often it was edited
    answer        TEXT,
    answer_status BIGINT,
    answer_trace_id TEXT,             -- the request that was executed
    fence         BIGINT NOT NULL,
    claimed_by    TEXT,
    claim_until_us BIGINT,
    created_us    BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL,    -- while nobody has decided
    use_until_us  BIGINT,             -- once it is approved
    updated_us    BIGINT NOT NULL,
    version       BIGINT NOT NULL
);
CREATE INDEX approval_joins ON approval (joins, created_us);
CREATE INDEX approval_status ON approval (status, created_us);
CREATE INDEX approval_updated ON approval (updated_us);

CREATE TABLE approval_vote (
    approval_id   TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    reviewer      TEXT NOT NULL,
    org_id        TEXT,
    trace_id      TEXT,
    decision      TEXT NOT NULL,
    comment       TEXT,
    via           TEXT NOT NULL,
    at_us         BIGINT NOT NULL,
    PRIMARY KEY (approval_id, revision, reviewer)
);
