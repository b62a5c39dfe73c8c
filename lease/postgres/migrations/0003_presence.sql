-- Presence: the key of the advisory lock that a connection of the worker's holds
-- for as long as its process lives; 0 when it keeps none.
ALTER TABLE millrace_member ADD COLUMN presence bigint NOT NULL DEFAULT 0;
