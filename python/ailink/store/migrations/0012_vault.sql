-- Values that tenants keep behind tokens. `sealed` is encrypted; `name` is computed from the value under the installation's key.
CREATE TABLE vault_value (
    tenant        TEXT NOT NULL,      -- organization, team, user or key
    name          TEXT NOT NULL,      -- of the token, without its brackets
    org_id        TEXT,
    trace_id      TEXT,
    sealed        TEXT NOT NULL,
    created_us    BIGINT NOT NULL,
    expires_us    BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX vault_value_expires ON vault_value (expires_us);
