-- What was asked, as 63 bits of a hash: equal for equal requests, whoever asks; the lowest bit is set where a fresh answer
-- was wanted. 0: no cache answers it, or nobody wanted to know.

ALTER TABLE attempt ADD COLUMN question INTEGER NOT NULL DEFAULT 0;
