-- What one key spent is asked with every look at it: its own sums are found without those of all others.
CREATE INDEX rollup_key ON rollup (key_id, day);
