-- Who keeps changes in memory for a while, if anybody does: nobody else may write meanwhile. owner: 0 for nobody. beat:
-- rises with everything that it writes. until: when it is over, or, of nobody, when the next may begin. wanted: whether
-- another waits for the file.
CREATE TABLE {p}lease (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    owner INTEGER NOT NULL,
    beat INTEGER NOT NULL CHECK (beat >= 0),
    until INTEGER NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted IN (0, 1)),
    seal INTEGER NOT NULL
) STRICT;

-- What has ended is found on a walk in the order of operations, which costs less than to keep it in the order of time.
DROP INDEX {p}answers_by_time;
DROP INDEX {p}parts_by_time;
CREATE INDEX {p}parts_by_time ON {p}parts (at) WHERE open = 1;
