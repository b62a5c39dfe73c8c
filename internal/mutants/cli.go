package main

// cliMutants take out what the command owes to who types it.
var cliMutants = []Mutant{
	{
		Mechanism: "A put that is throttled is tried again by the command",
		Promise:   "P1", Without: "the record is refused",
		File: "internal/cli/put.go",
		Old: `		case errors.Is(err, stream.ErrThrottled):
			p.batch[again]`,
		New: `		case false:
			p.batch[again]`,
		Test: "TestWhatIsThrottledIsTriedAgain",
	},
	{
		Mechanism: "What was read when the command is ended is stored",
		Promise:   "P1", Without: "it is lost without a word",
		File: "internal/cli/put.go",
		Old:  `return errors.Join(p.flush(grace), errInterrupted)`,
		New:  `return errors.Join(grace.Err(), errInterrupted)`,
		Test: "TestLinesAreStoredWhenTheInputPauses",
	},
	{
		Mechanism: "A connection that breaks is a failure of the command",
		Promise:   "P7", Without: "it passes for an output that nobody reads on",
		File: "internal/cli/exit.go",
		Old:  `case err == nil, errors.Is(err, errEnough):`,
		New:  `case err == nil, errors.Is(err, errEnough), errors.Is(err, syscall.EPIPE):`,
		Test: "TestThatNobodyReadsOnIsNoFailure",
	},
}
