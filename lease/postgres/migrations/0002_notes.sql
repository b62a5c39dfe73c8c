-- Notes: what people want of the fleet, until they take it back.
CREATE TABLE millrace_note (
    application text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    version     bigint           NOT NULL, -- +1 with every write: the guard
    value       text             NOT NULL, -- JSON
    PRIMARY KEY (application, name)
);

-- What a member holds and does not get on with: JSON, '' for nothing.
ALTER TABLE millrace_member ADD COLUMN blocked text NOT NULL DEFAULT '';
