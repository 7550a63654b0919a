-- Rows of nodes' ledgers that are not taken, because another node has sent one for the same line of a batch.
CREATE TABLE ledger_passed (
    node        BIGINT NOT NULL,
    attempt_id  BIGINT NOT NULL,
    PRIMARY KEY (node, attempt_id)
);
