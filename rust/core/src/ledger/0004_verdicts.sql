-- What guardrails found and policies did: one row each, never the text itself. Requests that were refused have rows here and
-- none in `attempt`. policy: 1 for a policy, else a guardrail. side: input or output, a policy's phase. place: where in the
-- request or answer; a policy's version. shadow: it would have acted. number: grows with time on its node, and is never given
-- twice.
CREATE TABLE verdict (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us      INTEGER NOT NULL,
    request_id BLOB NOT NULL,
    policy     INTEGER NOT NULL,
    rule       TEXT NOT NULL,
    label      TEXT NOT NULL,
    action     TEXT NOT NULL,
    shadow     INTEGER NOT NULL,
    side       TEXT NOT NULL,
    place      TEXT NOT NULL,
    matches    INTEGER NOT NULL,
    model      TEXT NOT NULL,
    key        TEXT NOT NULL
) STRICT;

CREATE INDEX verdict_request ON verdict (request_id);
