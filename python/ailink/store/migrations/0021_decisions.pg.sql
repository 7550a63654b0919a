-- How an attempt's deployment was chosen, as a node's own ledger has it: the strategy, and how many there were to choose from.
ALTER TABLE attempt ADD COLUMN decision BIGINT NOT NULL DEFAULT 0;
