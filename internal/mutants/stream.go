package main

// streamMutants take out what the model itself promises.
var streamMutants = []Mutant{
	{
		Mechanism: "The identity of a stream is its name and its birth",
		Promise:   "P9", Without: "it is its name",
		File: "stream/stream.go",
		Old:  `strconv.FormatInt(i.Created.UnixMilli(), 10)`,
		New:  `strconv.FormatInt(0, 10)`,
		Test: "TestTheIdentityOfAStreamIsItsNameAndBirth",
	},
	{
		Mechanism: "Positions are ordered as progress",
		Promise:   "P4", Without: "a smaller sequence number counts as further on",
		File: "stream/position.go",
		Old:  `if c := p.seq.Compare(q.seq); c != 0 {`,
		New:  `if c := q.seq.Compare(p.seq); c != 0 {`,
		Test: "TestPositionsAreOrderedAsProgress",
	},
	{
		Mechanism: "A term that begins inside of an aggregate reads the rest of it",
		Promise:   "P1", Without: "it begins behind the aggregate",
		File: "stream/kpl/reader.go",
		Old:  `at, r.from = stream.At(seq.WithSub(0)), from`,
		New:  `at, r.from = from, from`,
		Test: "TestRecordsOfAggregatesComeOneByOneFromEveryPosition",
	},
	{
		Mechanism: "What is done of an aggregate is left out",
		Promise:   "P5", Without: "all of it comes again",
		File:    "stream/kpl/reader.go",
		Old:     `if r.from.IsZero() || r.from.Includes(s) {`,
		New:     `if r.from = (stream.Position{}); true {`,
		Package: "worker",
		Test:    "TestRecordsInsideOfAggregatesAreHandedOverWithoutARepeat",
	},
	{
		Mechanism: "A large aggregate comes in batches that keep their limits",
		Promise:   "P8", Without: "it comes at once",
		File: "stream/kpl/reader.go",
		Old:  `if full && len(b.Records) > 0 {`,
		New:  `if false && full {`,
		Test: "TestRecordsOfAggregatesComeOneByOneFromEveryPosition",
	},
	{
		Mechanism: "What only looks like an aggregate is given as it is",
		Promise:   "P1", Without: "the checksum is not looked at",
		File: "stream/kpl/aggregate.go",
		Old:  `if md5.Sum(message) != [md5.Size]byte(data[end:]) {`,
		New:  `if md5.Sum(message) == [md5.Size]byte{} {`,
		Test: "TestWhatOnlyLooksLikeAnAggregateIsNone",
	},
	{
		Mechanism: "Records inside of aggregates that belong to other shards are given, too",
		Promise:   "P1", Without: "they are dropped unasked",
		File: "stream/kpl/reader.go",
		Old:  `case stranger && r.options.Policy == Drop:`,
		New:  `case stranger:`,
		Test: "TestRecordsThatBelongToOtherShardsFollowThePolicy",
	},
}
