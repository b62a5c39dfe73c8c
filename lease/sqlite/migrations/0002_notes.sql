-- Notes: what people want of the fleet, until they take it back.
CREATE TABLE millrace_note (
    application TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL, -- +1 with every write: the guard
    value       TEXT    NOT NULL, -- JSON
    PRIMARY KEY (application, name)
) STRICT;

-- What a member holds and does not get on with: JSON, '' for nothing.
ALTER TABLE millrace_member ADD COLUMN blocked TEXT NOT NULL DEFAULT '';
