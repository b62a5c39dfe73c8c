package main

// dynamodbMutants take out what keeps a row of DynamoDB, and a row of the KCL's,
// from being written over, skipped, or misread.
var dynamodbMutants = []Mutant{
	{
		Mechanism: "The DynamoDB store swaps only at the counter that the caller knows",
		Promise:   "P2", Without: "the owner's name is enough",
		File: "lease/dynamodb/leases.go",
		Old:  `u.name(leaseCounter) + " = " + u.value(integer(old.Counter)) + " AND "`,
		New:  `"attribute_exists(" + u.name(leaseCounter) + ") AND "`,
		Test: "TestTheDynamoDBStoreKeepsTheContract/moto/SwapNeedsTheCounter",
	},
	{
		Mechanism: "The DynamoDB store swaps only at the owner that the caller knows",
		Promise:   "P2", Without: "the counter is enough, which a KCL does not move when it hands a lease off",
		File: "lease/dynamodb/leases.go",
		Old:  ` + " AND " + u.equals(leaseOwner, old.Owner))`,
		New:  `)`,
		Test: "TestAHandoffByJavasLeaderMakesOurSwapsConflict/moto",
	},
	{
		Mechanism: "A second attempt knows what the first one wrote by its mark",
		Promise:   "P2", Without: "it takes its own write for another's",
		File: "lease/dynamodb/leases.go",
		Old:  `case wrote == mark && at == counter:`,
		New:  `case false && mark == "" && wrote == "" && at == 0:`,
		Test: "TestAWriteWhoseAnswerWasLostIsAWin/moto",
	},
	{
		Mechanism: "A write that may have been overtaken is no conflict",
		Promise:   "P2", Without: "it is taken for a loss",
		File: "lease/dynamodb/leases.go",
		Old:  `case unsure && counter != old.Counter && counter != old.Counter+1:`,
		New:  `case false && unsure:`,
		Test: "TestAWriteThatCannotBeToldFromAnothersIsNoConflict/moto",
	},
	{
		Mechanism: "What the KCL does not know is as old as its counter",
		Promise:   "P1", Without: "our attributes hold, whatever the KCL has written since",
		File: "lease/dynamodb/row.go",
		Old:  `if r.integer(ourCounter) != l.Counter {`,
		New:  `if false {`,
		Test: "TestOursGiveWayToWhatOthersWroteSince",
	},
	{
		Mechanism: "The rows of a KCL are those of the incarnation that the stream itself tells",
		Promise:   "P1", Without: "nobody is told of it, and they are passed over",
		File: "lease/dynamodb/inherit.go",
		Old:  `s.heritage.present[id.Name] = id`,
		New:  `_ = id`,
		Test: "TestTheRowsOfAKCLAreThoseOfThePresentIncarnation",
	},
	{
		Mechanism: "A row of a KCL is marked with its incarnation when it is first seen",
		Promise:   "P9", Without: "it follows the stream from one incarnation to the next",
		File: "lease/dynamodb/inherit.go",
		Old:  `" = if_not_exists("+u.name(shardOf)+", "+u.value(shardAttribute(id.Name, id.ID(), shard))+")"`,
		New:  `" = "+u.value(shardAttribute(id.Name, id.ID(), shard))`,
		Test: "TestARowIsMarkedOnce/moto",
	},
	{
		Mechanism: "Rows of a KCL whose stream is misnamed are an error",
		Promise:   "P1", Without: "they are passed over, and their shards begun anew beside them",
		File: "lease/dynamodb/inherit.go",
		Old:  `case s.heritage.unnamed != "":`,
		New:  `case false:`,
		Test: "TestATableOfAnotherConfigurationIsRefused/moto",
	},
	{
		Mechanism: "The streams of a member are there before its row refers to them",
		Promise:   "P1", Without: "a worker that dies in between serves nothing that anybody knows",
		File: "lease/dynamodb/members.go",
		Old: `	if err := s.writeStreams(ctx, next.Incarnation, next.Streams); err != nil {
		return nil, err
	}
	current, err = s.putRow(ctx, key, only, it, beating)`,
		New: `	current, err = s.putRow(ctx, key, only, it, beating)
	if err := s.writeStreams(ctx, next.Incarnation, next.Streams); err != nil {
		return nil, err
	}`,
		Test: "TestTheStreamsOfAMemberAreThereBeforeItsRow/moto",
	},
	{
		Mechanism: "The DynamoDB store swaps a member only at the version that the caller knows",
		Promise:   "P2", Without: "any version will do",
		File: "lease/dynamodb/guarded.go",
		Old:  `return u.name(memberVersion) + " = " + u.value(integer(version))`,
		New:  `return "attribute_exists(" + u.name(memberVersion) + ")"`,
		Test: "TestAMemberThatServesOthersIsListedWithThose/moto",
	},
}
