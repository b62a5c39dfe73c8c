package main

// checkpointMutants take out what keeps a checkpoint from saying more than is
// done, and from ever saying less than before.
var checkpointMutants = []Mutant{
	{
		Mechanism: "A checkpoint does not pass an unfinished record",
		Promise:   "P1, P4", Without: "whatever is done last moves it",
		File: "checkpoint/tracker.go",
		Old:  `for k < len(t.spans) && t.spans[k].done {`,
		New:  `for k < len(t.spans) && s.done {`,
		Test: "TestSaveStoresOnlyWhatIsDone",
	},
	{
		Mechanism: "A processor's own checkpoint leaves out a batch that has failed",
		Promise:   "P1", Without: "everything delivered counts",
		File: "checkpoint/tracker.go",
		Old:  `if s.failed {`,
		New:  `if false {`,
		Test: "TestCheckpointLeavesOutABatchThatFailed",
	},
	{
		Mechanism: "A checkpoint never goes back",
		Promise:   "P4", Without: "the last one asked for counts",
		File: "checkpoint/keeper.go",
		Old:  `if p.Compare(s.Position) > 0 {`,
		New:  `if true {`,
		Test: "TestWhatIsStoredNeverGoesBack", Args: []string{"-rapid.nofailfile"},
	},
	{
		Mechanism: "A checkpoint beyond what was delivered is refused",
		Promise:   "P1", Without: "any sequence number will do",
		File: "checkpoint/keeper.go",
		Old:  `case last.Less(s):`,
		New:  `case false:`,
		Test: "TestACheckpointOutOfRangeIsRefused",
	},
	{
		Mechanism: "A checkpoint before the stored one is refused",
		Promise:   "P4", Without: "it seems to be stored",
		File: "checkpoint/keeper.go",
		Old:  `if stream.After(s).Compare(state.Position) < 0 {`,
		New:  `if false {`,
		Test: "TestACheckpointOutOfRangeIsRefused",
	},
	{
		Mechanism: "A prepared checkpoint stays until one reaches it",
		Promise:   "P4", Without: "any checkpoint drops it",
		File: "checkpoint/keeper.go",
		Old:  `if s.Pending.Position.Compare(p) <= 0 {`,
		New:  `if true {`,
		Test: "TestTwoPhases",
	},
	{
		Mechanism: "A write that failed is not taken for stored",
		Promise:   "P1", Without: "it is, and never written again",
		File: "checkpoint/keeper.go",
		Old: `	if err := save(ctx, next); err != nil {
		return err`,
		New: `	if err := save(ctx, next); err != nil {
		k.stored = next
		return err`,
		Test: "TestAFailedWriteIsWrittenAgain",
	},
	{
		Mechanism: "Writes of one term come one after the other",
		Promise:   "P4", Without: "an older one may end last",
		File: "checkpoint/keeper.go",
		Old:  `turn: make(chan struct{}, 1)`,
		New:  `turn: make(chan struct{}, 100)`,
		Test: "TestManyCallersCostOneWrite",
	},
}
