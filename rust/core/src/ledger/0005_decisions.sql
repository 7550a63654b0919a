-- How an attempt's deployment was chosen: bits 0 to 7 the strategy (0: there was no choice, or it is not known), 8 to 15 how many
-- deployments could have been, 255 for more.

ALTER TABLE attempt ADD COLUMN decision INTEGER NOT NULL DEFAULT 0;
