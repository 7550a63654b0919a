-- What one model or one team cost: the sums of a month are found without those of all others.
CREATE INDEX rollup_model ON rollup (model_id, day);
CREATE INDEX rollup_team ON rollup (team_id, day);
