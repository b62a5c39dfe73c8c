-- Leases: who owns which shard, and how far it has been processed.
-- Names are compared byte by byte (collation "C"), as the workers do; that is
-- faster, too, and no index depends on the operating system's locales.
-- Positions, sequence numbers and hash keys are text, because they have more
-- bits than an integer here, and so that a person can read them.
CREATE TABLE millrace_lease (
    application        text COLLATE "C" NOT NULL,
    key                text COLLATE "C" NOT NULL,
    stream             text             NOT NULL,
    stream_id          text             NOT NULL,
    shard              text             NOT NULL,
    owner              text COLLATE "C" NOT NULL, -- '' is nobody
    checkpoint_owner   text COLLATE "C" NOT NULL, -- '' but during a handoff
    counter            bigint           NOT NULL, -- +1 with every write: the guard
    term               bigint           NOT NULL, -- the fencing token
    checkpoint         text             NOT NULL, -- 'TRIM_HORIZON', 'AFTER:4959…/3', 'SHARD_END', …
    pending            text             NOT NULL, -- '' but between the phases of a checkpoint
    pending_data       bytea            NOT NULL,
    progress           bytea            NOT NULL,
    parents            text[]           NOT NULL, -- shard ids
    children           text[]           NOT NULL, -- shard ids
    hash_start         text             NOT NULL, -- decimal, 0 to 2^128-1
    hash_end           text             NOT NULL,
    bytes_per_second   double precision NOT NULL,
    records_per_second double precision NOT NULL,
    PRIMARY KEY (application, key)
) WITH (fillfactor = 80); -- room for checkpoints, which change no index, beside their rows

CREATE INDEX millrace_lease_by_owner ON millrace_lease (application, owner)
    WHERE owner <> '';
CREATE INDEX millrace_lease_by_checkpoint_owner ON millrace_lease (application, checkpoint_owner)
    WHERE checkpoint_owner <> '';

-- Members: one row for each start of a worker, gone after its end.
CREATE TABLE millrace_member (
    application        text COLLATE "C" NOT NULL,
    incarnation        text COLLATE "C" NOT NULL,
    worker             text             NOT NULL,
    version            bigint           NOT NULL, -- +1 with every write: the guard
    beats              bigint           NOT NULL, -- moved by the worker alone
    revision           bigint           NOT NULL, -- moved by the leader
    fenced             boolean          NOT NULL,
    draining           boolean          NOT NULL,
    bytes_per_second   double precision NOT NULL,
    records_per_second double precision NOT NULL,
    max_leases         bigint           NOT NULL, -- 0 is no bound
    code               text             NOT NULL,
    zone               text             NOT NULL,
    host               text             NOT NULL,
    streams            text             NOT NULL, -- ids, one to a line
    PRIMARY KEY (application, incarnation)
) WITH (fillfactor = 50);
