package main

// postgresMutants take out what keeps a row of PostgreSQL from being written over.
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
}
