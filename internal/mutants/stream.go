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
}
