package main

// postgresMutants take out what keeps rows of PostgreSQL from being written over, and
// what is believed of connections.
var postgresMutants = []Mutant{
	{
		Mechanism: "The PostgreSQL store swaps only at the counter that the caller knows",
		Promise:   "P2", Without: "the owner's name is enough",
		File: "lease/postgres/swap.go",
		Old:  `AND l.counter = a.guard AND`,
		New:  `AND l.counter IS DISTINCT FROM -1 - a.guard AND`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/SwapNeedsTheCounter",
	},
	{
		Mechanism: "The PostgreSQL store swaps only at the owner that the caller knows",
		Promise:   "P2", Without: "the counter is enough",
		File: "lease/postgres/swap.go",
		Old:  `AND l.owner = a.guard_owner`,
		New:  `AND a.guard_owner IS NOT NULL`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/SwapNeedsTheOwner",
	},
	{
		Mechanism: "A swap of the PostgreSQL store has taken place only when it has committed",
		Promise:   "P4", Without: "the rows that its statement returns are believed",
		File: "lease/postgres/swap.go",
		Old: `		w.won = true
		return nil
	})
	return err
}`,
		New: `		w.won = true
		return nil
	})
	if swaps[0].won {
		return nil
	}
	return err
}`,
		Test: "TestASwapThatDidNotCommitIsNotAcknowledged",
	},
	{
		Mechanism: "The PostgreSQL store creates no row over an existing one",
		Promise:   "P4", Without: "a late leader puts a row back to its beginning",
		File: "lease/postgres/leases.go",
		Old:  `ON CONFLICT (application, key) DO NOTHING`,
		New:  `ON CONFLICT (application, key) DO UPDATE SET counter = excluded.counter, checkpoint = excluded.checkpoint, owner = excluded.owner`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/CreateLeavesExistingRowsAlone",
	},
	{
		Mechanism: "The PostgreSQL store creates rows in one order",
		Promise:   "P1", Without: "two leaders wait for one another, and the server ends one of them",
		File: "lease/postgres/leases.go",
		Old:  `return strings.Compare(a.Key, b.Key) })`,
		New:  `return 0 * strings.Compare(a.Key, b.Key) })`,
		Test: "TestRowsAreCreatedInTheOrderOfTheirKeys",
	},
	{
		Mechanism: "The PostgreSQL store deletes only at the counter that the caller knows",
		Promise:   "P4", Without: "a shard that was taken meanwhile loses its checkpoint",
		File: "lease/postgres/leases.go",
		Old: `AND counter = $3 AND owner = $4
RETURNING`,
		New: `AND $3::bigint IS NOT NULL AND owner = $4
RETURNING`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/DeleteNeedsTheCounterAndTheOwner",
	},
	{
		Mechanism: "The PostgreSQL store deletes only at the owner that the caller knows",
		Promise:   "P4", Without: "the counter is enough",
		File: "lease/postgres/leases.go",
		Old: `AND counter = $3 AND owner = $4
RETURNING`,
		New: `AND counter = $3 AND $4::text IS NOT NULL
RETURNING`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/DeleteNeedsTheCounterAndTheOwner",
	},
	{
		Mechanism: "The PostgreSQL store lets nobody join over an existing row",
		Promise:   "P2", Without: "a fence is undone",
		File: "lease/postgres/members.go",
		Old:  `ON CONFLICT (application, incarnation) DO NOTHING`,
		New:  `ON CONFLICT (application, incarnation) DO UPDATE SET version = excluded.version, fenced = excluded.fenced`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/AMemberCanJoinOnceOnly",
	},
	{
		Mechanism: "The PostgreSQL store swaps a member only at the version that the caller knows",
		Promise:   "P2", Without: "any version will do",
		File: "lease/postgres/members.go",
		Old: `handoff_ms = $18
WHERE application = $1 AND incarnation = $2 AND version = $3`,
		New: `handoff_ms = $18
WHERE application = $1 AND incarnation = $2 AND $3::bigint IS NOT NULL`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/ABeatNeedsTheVersion",
	},
	{
		Mechanism: "The PostgreSQL store ends a member only at the version that the caller knows",
		Promise:   "P2", Without: "a worker that has beaten since is gone",
		File: "lease/postgres/members.go",
		Old: `DELETE FROM millrace_member
WHERE application = $1 AND incarnation = $2 AND version = $3`,
		New: `DELETE FROM millrace_member
WHERE application = $1 AND incarnation = $2 AND $3::bigint IS NOT NULL`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/AnEndNeedsTheVersion",
	},
	{
		Mechanism: "The PostgreSQL store never reads from a standby",
		Promise:   "P2", Without: "who is not in an old list of members counts as gone",
		File: "lease/postgres/connection.go",
		Old:  `if standby {`,
		New:  `if standby && conn == nil {`,
		Test: "TestAStandbyIsNotRead",
	},
	{
		Mechanism: "A transaction that holds a shard's row may not idle for long",
		Promise:   "P1", Without: "a worker that is stopped in one keeps its shard from all others",
		File: "lease/postgres/tx.go",
		Old:  `batch.Queue(limitIdling, idleTime(ctx))`,
		New:  `batch.Queue("SELECT $1::text", idleTime(ctx))`,
		Test: "TestATransactionWithACheckpointMayNotIdleForLong",
	},
	{
		Mechanism: "Only who is present at a server hears from it who has ended",
		Promise:   "P2", Without: "somebody else at another server is told that everybody has",
		File: "lease/postgres/presence.go",
		Old:  `WHERE NOT (SELECT pg_try_advisory_xact_lock_shared(`,
		New:  `WHERE NULL IS DISTINCT FROM (SELECT pg_try_advisory_xact_lock_shared(`,
		Test: "TestOnlyWhoWasPresentAndIsSoNoMoreHasEnded",
	},
	{
		Mechanism: "A server that does not answer has ended no presence while the right to process lasts",
		Promise:   "P1", Without: "a server that stands still for some seconds stops all shards",
		File: "lease/postgres/presence.go",
		Old:  `within: max(answerWithin, patience)`,
		New:  `within: answerWithin`,
		Test: "TestAServerThatStandsStillEndsNoPresenceBeforeItsTime",
	},
	{
		Mechanism: "Who never was present has not ended",
		Promise:   "P2", Without: "workers without FastFailover are fenced at once",
		File: "lease/postgres/presence.go",
		Old:  `) THEN false -- it keeps none`,
		New:  `) AND m.presence <> 0 THEN false -- it keeps none`,
		Test: "TestOnlyWhoWasPresentAndIsSoNoMoreHasEnded",
	},
	{
		Mechanism: "A server that has just started does not know who has ended",
		Promise:   "P2", Without: "workers that have not noticed yet are fenced while they work",
		File: "lease/postgres/presence.go",
		Old:  `) THEN false -- it keeps none`,
		New:  `) AND m.presence = 0 THEN false -- it keeps none`,
		Test: "TestAServerThatCameBackDoesNotKnowWhoHasEnded",
	},
	{
		Mechanism: "A row that the PostgreSQL server refuses spoils the swaps of no other",
		Promise:   "P4", Without: "all that were sent together fail",
		File: "lease/postgres/swap.go",
		Old:  `if err == nil || !spoiled(err) {`,
		New:  `if err == nil || !spoiled(err) || len(swaps) > 1 {`,
		Test: "TestAGroupThatIsRefusedForOneIsTakenApart",
	},
	{
		Mechanism: "Swaps that wait for locked rows leave connections to beats",
		Promise:   "P1", Without: "a worker whose shards are in long transactions lapses",
		File: "lease/postgres/store.go",
		Old:  `max(1, pool.Config().MaxConns/4)`,
		New:  `max(1, pool.Config().MaxConns)`,
		Test: "TestBeatsAndReadsFindAConnectionHoweverManySwapsWaitForRows",
	},
}
