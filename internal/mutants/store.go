package main

// storeMutants take out the guards of the lease stores. The last word in every
// argument of the rules is theirs.
var storeMutants = []Mutant{
	{
		Mechanism: "The memory store swaps only the row that the caller knows",
		Promise:   "P2", Without: "it writes over any row",
		File: "lease/memory.go",
		Old: `		if !exists || current.Counter != old.Counter || current.Owner != old.Owner {
			row = current`,
		New: `		if !exists {
			row = current`,
		Test: "TestAFormerOwnerCannotCheckpoint",
	},
	{
		Mechanism: "The memory store swaps a member only at the version that the caller knows",
		Promise:   "P2", Without: "it writes over any version",
		File: "lease/memory.go",
		Old:  `if exists == join || current.Version != old.Version {`,
		New:  `if exists == join {`,
		Test: "TestABeatOnAFencedOrAbsentRowFailsAndNeverCreatesIt",
	},
	{
		Mechanism: "The SQLite store swaps only at the counter that the caller knows",
		Promise:   "P2", Without: "the owner's name is enough",
		File: "lease/sqlite/leases.go",
		Old: `WHERE application = ?1 AND key = ?2 AND counter = ?3 AND owner = ?4
RETURNING`,
		New: `WHERE application = ?1 AND key = ?2 AND ?3 = ?3 AND owner = ?4
RETURNING`,
		Test: "TestTheSQLiteStoreKeepsTheContract/SwapNeedsTheCounter",
	},
	{
		Mechanism: "The SQLite store swaps only at the owner that the caller knows",
		Promise:   "P2", Without: "the counter is enough",
		File: "lease/sqlite/leases.go",
		Old: `WHERE application = ?1 AND key = ?2 AND counter = ?3 AND owner = ?4
RETURNING`,
		New: `WHERE application = ?1 AND key = ?2 AND counter = ?3 AND ?4 = ?4
RETURNING`,
		Test: "TestTheSQLiteStoreKeepsTheContract/SwapNeedsTheOwner",
	},
	{
		Mechanism: "The SQLite store creates no row over an existing one",
		Promise:   "P4", Without: "a late leader puts a row back to its beginning",
		File: "lease/sqlite/leases.go",
		Old:  `ON CONFLICT (application, key) DO NOTHING`,
		New:  `ON CONFLICT (application, key) DO UPDATE SET counter = excluded.counter, checkpoint = excluded.checkpoint, owner = excluded.owner`,
		Test: "TestTheSQLiteStoreKeepsTheContract/CreateLeavesExistingRowsAlone",
	},
	{
		Mechanism: "The SQLite store swaps a member only at the version that the caller knows",
		Promise:   "P2", Without: "any version will do",
		File: "lease/sqlite/members.go",
		Old: `failover_ms = ?17, handoff_ms = ?18
WHERE application = ?1 AND incarnation = ?2 AND version = ?3`,
		New: `failover_ms = ?17, handoff_ms = ?18
WHERE application = ?1 AND incarnation = ?2 AND ?3 = ?3`,
		Test: "TestTheSQLiteStoreKeepsTheContract/ABeatNeedsTheVersion",
	},
	{
		Mechanism: "Writes of the SQLite store are synced before they are answered",
		Promise:   "P4", Without: "they are durable at the next checkpoint of the file",
		File: "lease/sqlite/config.go",
		Old:  `return "FULL"`, New: `return "NORMAL"`,
		Test: "TestDurabilityIsAsConfigured",
	},
	{
		Mechanism: "A write of the SQLite store has taken place only when it has committed",
		Promise:   "P4", Without: "what its statements said is believed",
		File: "lease/sqlite/conn.go",
		Old: `		_, err = c.exec("COMMIT")
	}
	if err == nil {`,
		New: `		_, err = c.exec("COMMIT")
	}
	if true {`,
		Test: "TestAWriteThatDidNotFitOnTheDiskIsNotAcknowledged",
	},
	{
		Mechanism: "The SQLite store saves a checkpoint only at the counter that the caller knows",
		Promise:   "P4", Without: "the owners' names are enough",
		File: "lease/sqlite/leases.go",
		Old:  `AND counter = ? AND owner = ? AND checkpoint_owner = ?`,
		New:  `AND (counter = ? OR true) AND owner = ? AND checkpoint_owner = ?`,
		Test: "TestTheSQLiteStoreKeepsTheContract/AHandoffPassesTheRowFromHandToHand",
	},
	{
		Mechanism: "The SQLite store saves a checkpoint only for the owner that the caller knows",
		Promise:   "P2", Without: "the counter is enough",
		File: "lease/sqlite/leases.go",
		Old:  `AND counter = ? AND owner = ? AND checkpoint_owner = ?`,
		New:  `AND counter = ? AND (owner = ? OR true) AND checkpoint_owner = ?`,
		Test: "TestTheSQLiteStoreKeepsTheContract/AFormerOwnerCannotCheckpoint",
	},
	{
		Mechanism: "A swap of the SQLite store that moves a shard is no checkpoint",
		Promise:   "P5", Without: "who lets go of a shard is answered that it did, and keeps it",
		File: "lease/sqlite/leases.go",
		Old:  `AND counter = ? AND owner = ? AND checkpoint_owner = ?`,
		New:  `AND counter = ? AND owner = ? AND (checkpoint_owner = ? OR true)`,
		Test: "TestTheSQLiteStoreKeepsTheContract/AHandoffPassesTheRowFromHandToHand",
	},
	{
		Mechanism: "A row that has no room in the SQLite file spoils the swaps of no other",
		Promise:   "P4", Without: "all that were sent together fail",
		File: "lease/sqlite/swap.go",
		Old:  `if err == nil || len(swaps) == 1 || ctx.Err() != nil {`,
		New:  `if err == nil || len(swaps) > 0 {`,
		Test: "TestARowThatSpoilsATransactionFailsAlone",
	},
	{
		Mechanism: "A swap in a transaction of the user's in SQLite is guarded, too",
		Promise:   "P6", Without: "a former holder commits its effects",
		File: "lease/sqlite/tx.go",
		Old:  `strings.ReplaceAll(swapLease, "millrace_", "main.millrace_")`,
		New:  `strings.ReplaceAll(strings.Replace(swapLease, "counter = ?3 AND owner = ?4", "?3 = ?3 AND ?4 = ?4", 1), "millrace_", "main.millrace_")`,
		Test: "TestASwapInATransactionIsThereWhenThatCommits",
	},
	{
		Mechanism: "The SQLite store deletes only at the counter that the caller knows",
		Promise:   "P4", Without: "a shard that was taken meanwhile loses its checkpoint",
		File: "lease/sqlite/leases.go",
		Old: `DELETE FROM millrace_lease
WHERE application = ?1 AND key = ?2 AND counter = ?3`,
		New: `DELETE FROM millrace_lease
WHERE application = ?1 AND key = ?2 AND ?3 = ?3`,
		Test: "TestTheSQLiteStoreKeepsTheContract/DeleteNeedsTheCounterAndTheOwner",
	},
	{
		Mechanism: "The SQLite store lets nobody join over an existing row",
		Promise:   "P2", Without: "a fence is undone",
		File: "lease/sqlite/members.go",
		Old:  `ON CONFLICT (application, incarnation) DO NOTHING`,
		New:  `ON CONFLICT (application, incarnation) DO UPDATE SET version = excluded.version, fenced = excluded.fenced`,
		Test: "TestTheSQLiteStoreKeepsTheContract/AMemberCanJoinOnceOnly",
	},
	{
		Mechanism: "The SQLite store ends a member only at the version that the caller knows",
		Promise:   "P2", Without: "a worker that has beaten since is gone",
		File: "lease/sqlite/members.go",
		Old: `DELETE FROM millrace_member
WHERE application = ?1 AND incarnation = ?2 AND version = ?3`,
		New: `DELETE FROM millrace_member
WHERE application = ?1 AND incarnation = ?2 AND ?3 = ?3`,
		Test: "TestTheSQLiteStoreKeepsTheContract/AnEndNeedsTheVersion",
	},
	{
		Mechanism: "The SQLite store refuses names that it could not tell again",
		Promise:   "P3", Without: "a child's parent comes back under another name, and is not waited for",
		File: "lease/sqlite/row.go",
		Old:  `if !utf8.ValidString(name) {`,
		New:  `if !utf8.ValidString(name) && lists == nil {`,
		Test: "TestNamesComeBackAsTheyWereOrAreRefused",
	},
}
