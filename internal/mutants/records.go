package main

// recordMutants take out what keeps a client of the API from losing its place, or
// from holding what is others'.
var recordMutants = []Mutant{
	{
		Mechanism: "The last records of a shard come with its end only when nothing follows them",
		Promise:   "P1", Without: "a closed shard ends with its first page",
		File: "engine/page.go",
		Old:  `if m.closed != 0 && b.Behind == 0 {`,
		New:  `if m.closed != 0 {`,
		Test: "TestTheLastRecordsOfAShardComeWithItsEnd",
	},
	{
		Mechanism: "A read that finds nothing passes over no more than what it has looked at",
		Promise:   "P1", Without: "it goes on where the shard ends when it is over",
		File: "engine/page.go",
		Old:  `done := m.log.Base().Add(max(start.Counter, committed+1) - 1)`,
		New:  `done := m.log.Base().Add(max(start.Counter, committed+2) - 1)`,
		Test: "TestAReadFromLatestThatFindsNothingKeepsItsPlace",
	},
	{
		Mechanism: "LATEST is where the shard ended when the iterator was issued",
		Promise:   "P1", Without: "it is nowhere in particular",
		File: "engine/server/place.go",
		Old:  `return v.Pin(ctx, shard.ID)`,
		New:  `return stream.Latest, nil`,
		Test: "TestEachKindOfIteratorBeginsInItsPlace",
	},
	{
		Mechanism: "An iterator is one that this server has issued",
		Promise:   "P1", Without: "anything with its form is",
		File: "engine/server/token.go",
		Old:  `return text, hmac.Equal(sum, s.sum(kind, text))`,
		New:  `return text, sum != nil`,
		Test: "TestGetRecordsRefusesWhatIsNoIterator",
	},
	{
		Mechanism: "An iterator is of one incarnation of its stream",
		Promise:   "P9", Without: "a stream of the same name will do",
		File: "engine/server/get_records.go",
		Old:  `if err == nil && v.created.UnixMilli() != it.created {`,
		New:  `if err == nil && it.created == 0 {`,
		Test: "TestGetRecordsRefusesWhatIsNoIterator",
	},
	{
		Mechanism: "Who takes a subscription over ends the one before",
		Promise:   "P2", Without: "both go on",
		File: "engine/server/subscriptions.go",
		Old:  `old.end(errTakenOver)`,
		New:  `_ = old`,
		Test: "TestACallSoonAfterAnotherIsRefusedWhileThatLastsAndAsInKinesisAfterIt",
	},
	{
		Mechanism: "The more records are under way to clients, the less each read gets",
		Promise:   "P8", Without: "each gets all that it wants",
		File: "engine/server/admission.go",
		Old:  `return min(want, max(least, a.free/8))`,
		New:  `return max(want, min(least, a.free/8))`,
		Test: "TestTheMoreIsUnderWayTheLessEachReadGets",
	},
}
