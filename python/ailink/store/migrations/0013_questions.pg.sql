-- What was asked, as a node's own ledger has it: see `GET /cache/savings`.
ALTER TABLE attempt ADD COLUMN question BIGINT NOT NULL DEFAULT 0;
