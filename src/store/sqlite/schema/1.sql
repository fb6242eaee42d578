CREATE TABLE {p}schema (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL CHECK (version > 0)
) STRICT;

-- How many limits have a number, the epoch of new meters, and the largest number that a row ever had as far as rows
-- that are gone tell.
CREATE TABLE {p}counters (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    limits INTEGER NOT NULL CHECK (limits BETWEEN 0 AND 4294967295),
    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    seal INTEGER NOT NULL
) STRICT;

CREATE TABLE {p}accounts (
    subject TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL CHECK (length(body) > 4)
) STRICT, WITHOUT ROWID;

-- at: when an open part expires, or when one that has ended may be forgotten.
CREATE TABLE {p}parts (
    op BLOB NOT NULL CHECK (length(op) > 1),
    account TEXT NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence BETWEEN 0 AND 65535),
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    at INTEGER NOT NULL,
    body BLOB NOT NULL CHECK (length(body) > 4),
    PRIMARY KEY (op, account, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX {p}parts_by_account ON {p}parts (account, open, at);
CREATE INDEX {p}parts_by_time ON {p}parts (open, at);

CREATE TABLE {p}answers (
    op BLOB NOT NULL PRIMARY KEY CHECK (length(op) > 1),
    until INTEGER NOT NULL,
    body BLOB NOT NULL CHECK (length(body) > 4)
) STRICT, WITHOUT ROWID;
CREATE INDEX {p}answers_by_time ON {p}answers (until);

CREATE TABLE {p}limits (
    name TEXT NOT NULL PRIMARY KEY CHECK (length(name) > 0),
    meter INTEGER NOT NULL UNIQUE CHECK (meter BETWEEN 1 AND 4294967295),
    body BLOB NOT NULL CHECK (length(body) > 4)
) STRICT, WITHOUT ROWID;

-- kind: 0 usage, 1 a meter, 2 an alert, 3 an account that was forgotten. subject: that of the call or of the account.
CREATE TABLE {p}rows (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
    at INTEGER NOT NULL,
    op BLOB CHECK (length(op) > 1),
    kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 3),
    subject TEXT,
    meter INTEGER CHECK (meter BETWEEN 0 AND 4294967295),
    client TEXT CHECK (length(client) > 0),
    key TEXT CHECK (length(key) > 0),
    body BLOB NOT NULL CHECK (length(body) > 4)
) STRICT;
CREATE INDEX {p}rows_by_time ON {p}rows (at);
CREATE INDEX {p}rows_by_op ON {p}rows (op) WHERE op IS NOT NULL;
CREATE INDEX {p}rows_by_subject ON {p}rows (subject) WHERE subject IS NOT NULL;
CREATE INDEX {p}rows_by_meter ON {p}rows (meter) WHERE meter IS NOT NULL;
CREATE INDEX {p}rows_by_client ON {p}rows (client) WHERE client IS NOT NULL;
CREATE INDEX {p}rows_by_key ON {p}rows (key) WHERE key IS NOT NULL;

-- The dimensions of every subject that the ledger knows.
CREATE TABLE {p}labels (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (name, value, subject)
) STRICT, WITHOUT ROWID;

-- The tags of every row.
CREATE TABLE {p}tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    PRIMARY KEY (name, value, number)
) STRICT, WITHOUT ROWID;

-- What rows that were compacted add up to.
CREATE TABLE {p}totals (
    account TEXT NOT NULL,
    meter INTEGER NOT NULL CHECK (meter BETWEEN 0 AND 4294967295),
    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
    window INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account, meter, epoch, window)
) STRICT, WITHOUT ROWID;
