-- What was spent: one row per upstream attempt, and sums of them.
-- No secondary index: rows are only appended; questions are answered from `rollup` or by a range of
-- attempt_id, which grows with time.

PRAGMA application_id = 0x41494c4b; -- "AILK"

-- Names by number. kind: 1 key, 2 organization, 3 model, 4 deployment, 5 price version. A pair (kind, text) occurs
-- once; the one writer of this file sees to that from memory.
CREATE TABLE dict (
    id   INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;

-- *_id: dict.id, 0 for none. source: 0 reported, 1 estimated, 2 unknown, 3 reconciled.
-- status: the provider's HTTP status, 0 if none came. class: error class, 0 for none.
-- Times in microseconds; at_us since 1970 UTC, the attempt's start.
CREATE TABLE attempt (
    attempt_id    INTEGER PRIMARY KEY,
    node          INTEGER NOT NULL,
    request_id    BLOB NOT NULL,
    trace_id      BLOB,
    org_id        INTEGER NOT NULL,
    key_id        INTEGER NOT NULL,
    model_id      INTEGER NOT NULL,
    deployment_id INTEGER NOT NULL,
    price_id      INTEGER NOT NULL,
    operation     INTEGER NOT NULL,
    attempt_no    INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    source        INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    class         INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    cache_read    INTEGER NOT NULL,
    cache_write   INTEGER NOT NULL,
    reasoning     INTEGER NOT NULL,
    audio_input   INTEGER NOT NULL,
    audio_output  INTEGER NOT NULL,
    units         INTEGER NOT NULL,
    cost_pico     INTEGER NOT NULL,
    at_us         INTEGER NOT NULL,
    duration_us   INTEGER NOT NULL,
    ttft_us       INTEGER NOT NULL,
    overhead_us   INTEGER NOT NULL
) STRICT;

-- Sums of `attempt`, exact at every commit. day: at_us / 86,400,000,000, rounded down.
-- Cost: cost_usd whole USD plus cost_pico pico-USD, 0 <= cost_pico < 10^12, because 64 bits of
-- pico-USD end at 9.2 million USD.
CREATE TABLE rollup (
    day           INTEGER NOT NULL,
    key_id        INTEGER NOT NULL,
    org_id        INTEGER NOT NULL,
    model_id      INTEGER NOT NULL,
    deployment_id INTEGER NOT NULL,
    source        INTEGER NOT NULL,
    requests      INTEGER NOT NULL,
    errors        INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    cache_read    INTEGER NOT NULL,
    cache_write   INTEGER NOT NULL,
    reasoning     INTEGER NOT NULL,
    audio_input   INTEGER NOT NULL,
    audio_output  INTEGER NOT NULL,
    units         INTEGER NOT NULL,
    cost_usd      INTEGER NOT NULL,
    cost_pico     INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, org_id, model_id, deployment_id, source)
) STRICT, WITHOUT ROWID;
