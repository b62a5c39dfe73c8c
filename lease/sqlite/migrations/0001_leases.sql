-- Leases: who owns which shard, and how far it has been processed.
-- Positions, sequence numbers and hash keys are text, because they have more
-- bits than an integer here, and so that a person can read them.
CREATE TABLE millrace_lease (
    application        TEXT    NOT NULL,
    key                TEXT    NOT NULL,
    stream             TEXT    NOT NULL,
    stream_id          TEXT    NOT NULL,
    shard              TEXT    NOT NULL,
    owner              TEXT    NOT NULL, -- '' is nobody
    checkpoint_owner   TEXT    NOT NULL, -- '' but during a handoff
    counter            INTEGER NOT NULL, -- +1 with every write: the guard
    term               INTEGER NOT NULL, -- the fencing token
    checkpoint         TEXT    NOT NULL, -- 'TRIM_HORIZON', 'AFTER:4959…/3', 'SHARD_END', …
    pending            TEXT    NOT NULL, -- '' but between the phases of a checkpoint
    pending_data       BLOB    NOT NULL,
    progress           BLOB    NOT NULL,
    parents            TEXT    NOT NULL, -- JSON array of shard ids
    children           TEXT    NOT NULL, -- JSON array of shard ids
    hash_start         TEXT    NOT NULL, -- decimal, 0 to 2^128-1
    hash_end           TEXT    NOT NULL,
    bytes_per_second   REAL    NOT NULL,
    records_per_second REAL    NOT NULL,
    PRIMARY KEY (application, key)
) STRICT;

CREATE INDEX millrace_lease_by_owner ON millrace_lease (application, owner)
    WHERE owner <> '';
CREATE INDEX millrace_lease_by_checkpoint_owner ON millrace_lease (application, checkpoint_owner)
    WHERE checkpoint_owner <> '';

-- Members: one row for each start of a worker, gone after its end.
CREATE TABLE millrace_member (
    application        TEXT    NOT NULL,
    incarnation        TEXT    NOT NULL,
    worker             TEXT    NOT NULL,
    version            INTEGER NOT NULL, -- +1 with every write: the guard
    beats              INTEGER NOT NULL, -- moved by the worker alone
    revision           INTEGER NOT NULL, -- moved by the leader
    fenced             INTEGER NOT NULL,
    draining           INTEGER NOT NULL,
    bytes_per_second   REAL    NOT NULL,
    records_per_second REAL    NOT NULL,
    max_leases         INTEGER NOT NULL, -- 0 is no bound
    code               TEXT    NOT NULL,
    zone               TEXT    NOT NULL,
    host               TEXT    NOT NULL,
    streams            TEXT    NOT NULL, -- ids, one to a line
    PRIMARY KEY (application, incarnation)
) STRICT;
