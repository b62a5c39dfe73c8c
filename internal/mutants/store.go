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
		Old: `WHERE application = ?1 AND incarnation = ?2 AND version = ?3
RETURNING`,
		New: `WHERE application = ?1 AND incarnation = ?2 AND ?3 = ?3
RETURNING`,
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
		Mechanism: "An UPDATE that returned its row has taken place only when it has committed",
		Promise:   "P4", Without: "the row is believed",
		File: "lease/sqlite/store.go",
		Old: `			found = true
		}
		return rows.Err()`,
		New: `			found = true
		}
		return nil`,
		Test: "TestAWriteThatDidNotFitOnTheDiskIsNotAcknowledged",
	},
}
