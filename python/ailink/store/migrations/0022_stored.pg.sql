-- Responses and conversations that requests go on from, of all nodes. `document` and the items are sealed.
-- `state`: '' as it stays, 'making' in the background, 'lost' when its maker was not heard of for too long.
CREATE TABLE stored_object (
    owner       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    id          TEXT NOT NULL,
    org_id      TEXT,
    trace_id    TEXT,
    document    BYTEA NOT NULL,
    state       TEXT NOT NULL,
    maker       TEXT,
    expires_us  BIGINT NOT NULL,
    PRIMARY KEY (owner, kind, id)
);
CREATE INDEX stored_object_expires ON stored_object (expires_us);
CREATE INDEX stored_object_made ON stored_object (maker) WHERE state <> '';
-- `mark` and `place` name what is appended, so that it is appended once.
CREATE TABLE stored_item (
    number       BIGSERIAL PRIMARY KEY,
    owner        TEXT NOT NULL,
    conversation TEXT NOT NULL,
    id           TEXT NOT NULL,
    org_id       TEXT,
    trace_id     TEXT,
    mark         TEXT NOT NULL,
    place        BIGINT NOT NULL,
    document     BYTEA NOT NULL,
    UNIQUE (owner, conversation, mark, place)
);
-- Processes that make responses in the background, and until when they are taken to be alive.
CREATE TABLE stored_maker (
    process     TEXT PRIMARY KEY,
    until_us    BIGINT NOT NULL
);
