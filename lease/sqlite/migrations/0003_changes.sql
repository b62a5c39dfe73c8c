-- Changes: how often something was written of which others should hear at
-- once, which is anything but beats, checkpoints and loads.
CREATE TABLE millrace_change (
    application TEXT    NOT NULL PRIMARY KEY,
    number      INTEGER NOT NULL
) STRICT;
