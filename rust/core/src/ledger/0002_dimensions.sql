-- Whose an attempt was besides its key's and organization's: dictionary ids, 0 for none. New kinds of names: 6 team,
-- 7 user, 8 project, 9 customer, 10 a set of tags (a JSON list, sorted).

ALTER TABLE attempt ADD COLUMN team_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN user_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN project_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN customer_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN tags_id INTEGER NOT NULL DEFAULT 0;

ALTER TABLE rollup RENAME TO rollup_1;

CREATE TABLE rollup (
    day           INTEGER NOT NULL,
    key_id        INTEGER NOT NULL,
    org_id        INTEGER NOT NULL,
    team_id       INTEGER NOT NULL,
    user_id       INTEGER NOT NULL,
    project_id    INTEGER NOT NULL,
    customer_id   INTEGER NOT NULL,
    tags_id       INTEGER NOT NULL,
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
    PRIMARY KEY (day, key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, source)
) STRICT, WITHOUT ROWID;

INSERT INTO rollup
    SELECT day, key_id, org_id, 0, 0, 0, 0, 0, model_id, deployment_id, source, requests, errors, input, output,
        cache_read, cache_write, reasoning, audio_input, audio_output, units, cost_usd, cost_pico
    FROM rollup_1;

DROP TABLE rollup_1;
