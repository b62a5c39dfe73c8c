-- For how long a member goes on unheard, and with a handoff that it was told of,
-- in milliseconds; 0 where it does not tell. Others wait for as long at least.
ALTER TABLE millrace_member ADD COLUMN failover_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE millrace_member ADD COLUMN handoff_ms  bigint NOT NULL DEFAULT 0;
