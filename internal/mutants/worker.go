package main

// workerMutants take out what a worker owes to its records and to the shards
// of others.
var workerMutants = []Mutant{
	{
		Mechanism: "A batch that failed is given again",
		Promise:   "P1", Without: "it is skipped",
		File: "worker/consumer.go",
		Old:  `if err := c.attempt(ctx, batch, b, n, 1); err != nil {`,
		New:  `if err := c.attempt(ctx, batch, b, n, 1); false {`,
		Test: "TestAFailingBatchIsGivenAgainAndNothingIsSkipped",
	},
	{
		Mechanism: "A panic is an error",
		Promise:   "P1", Without: "it passes for success",
		File: "processors/panic.go",
		Old:  `return &PanicError{Value: caught.Value, Stack: caught.Stack}`,
		New:  `return nil`,
		Test: "TestAPanicInAnyCallbackBecomesAnError",
	},
	{
		Mechanism: "A batch that failed is covered by no checkpoint of its processor",
		Promise:   "P1", Without: "the processor may checkpoint beyond it",
		File: "worker/consumer.go",
		Old:  `c.tracker.Failed(n, true)`,
		New:  `c.tracker.Failed(n, false)`,
		Test: "TestADrainDuringRetriesLeavesTheBatchToTheNextTerm",
	},
	{
		Mechanism: "A drain while a batch is retried leaves it to the next term",
		Promise:   "P1", Without: "it counts as done",
		File: "worker/retry.go",
		Old: `		if err != nil {
			return err
		}
		for whole = 1;`,
		New: `		if err != nil {
			c.done(part, n)
			return err
		}
		for whole = 1;`,
		Test: "TestADrainDuringRetriesLeavesTheBatchToTheNextTerm",
	},
	{
		Mechanism: "What is behind the part of a batch that is given is not given",
		Promise:   "P4", Without: "it counts as done with that part",
		File: "worker/retry.go",
		Old:  `c.tracker.Shorten(n, lotOf(part).last)`,
		New:  `_ = n`,
		Test: "TestARecordThatFailsForEverIsNamedAndThoseBeforeItAreCovered",
	},
	{
		Mechanism: "No batch reaches beyond the end of an earlier one that it begins within",
		Promise:   "P6", Without: "what was committed unheard is done again with what follows",
		File: "worker/retry.go",
		Old:  `from, ends = ends[len(ends)-1], ends[:len(ends)-1]`,
		New:  `from, ends = ends[len(ends)-1], ends[:min(1, len(ends)-1)]`,
		Test: "TestNoBatchReachesBeyondTheEndOfAnEarlierOneThatItBeginsWithin",
	},
	{
		Mechanism: "A processor can not call done what waits behind the part that it has",
		Promise:   "P4", Without: "its word covers the whole batch",
		File: "checkpoint/tracker.go",
		Old:  `span{last: s.last, failed: true}`,
		New:  `span{last: s.last}`,
		Test: "TestASpanThatIsShortenedLeavesTheRestToTheNext",
	},
	{
		Mechanism: "A shard that stands still falls behind",
		Promise:   "P1", Without: "its lag is what it was before",
		File: "worker/status.go",
		Old:  `return p.behind + now.Sub(since)`,
		New:  `return p.behind`,
		Test: "TestTheMetricsOfAShardTellThatItStandsStillAndEndWithItsTerm",
	},
	{
		Mechanism: "A term that is handed over stores what is done",
		Promise:   "P5", Without: "the next one goes on from the last automatic checkpoint",
		File: "worker/consumer.go",
		Old: `	default:
		return c.handOver(ctx, c.hold.Release)
	}
}

// begin`,
		New: `	default:
		return nil
	}
}

// begin`,
		Test: "TestAGracefulStopHandsOverWithoutARepeat",
	},
	{
		Mechanism: "SHARD_END is stored only after ShardEnded has succeeded",
		Promise:   "P3", Without: "an error of it is passed over",
		File: "worker/consumer.go",
		Old:  `return c.processor.ShardEnded(ctx, c.keeper)`,
		New:  `_ = c.processor.ShardEnded(ctx, c.keeper); return nil`,
		Test: "TestAChildWaitsUntilShardEndedHasSucceeded",
	},
	{
		Mechanism: "A processor whose shard is lost is told",
		Promise:   "P2", Without: "it is cancelled without a word",
		File: "worker/consumer.go",
		Old:  `c.made.LeaseLost(ctx, cause)`,
		New:  `_ = ctx`,
		Test: "TestALostShardCancelsItsProcessorAndTellsIt",
	},
	{
		Mechanism: "What a worker holds in memory is bounded",
		Promise:   "P8", Without: "every shard may hold all of it",
		File: "worker/worker.go",
		Old:  `share := max(leastBatch, w.cfg.Memory/(2*max(1, int(w.held.Load()))))`,
		New:  `share := max(leastBatch, w.cfg.Memory)`,
		Test: "TestTheShardsOfAWorkerShareItsMemory",
	},
	{
		Mechanism: "A shard is read in the incarnation of the stream that its lease names",
		Promise:   "P9", Without: "in any stream of the configuration",
		File: "worker/open.go",
		Old:  `case a.err == nil && a.id.ID() == id:`,
		New:  `case a.err == nil:`,
		Test: "TestAStreamThatIsRecreatedUnderItsWorkerEndsNothingElse",
	},
	{
		Mechanism: "A stream that is gone is an error, and no shard's end",
		Promise:   "P1, P9", Without: "the shard counts as finished",
		File: "worker/fetcher.go",
		Old:  `		next := fetched{batch: b, err: f.read(ctx, b)}`,
		New: `		next := fetched{batch: b, err: f.read(ctx, b)}
		if hopeless(next.err) {
			next.err = &stream.ShardEndError{}
		}`,
		Test: "TestAStreamThatIsRecreatedUnderItsWorkerEndsNothingElse",
	},
	{
		Mechanism: "A shard that leaves its stream unread is told of, and its children go on",
		Promise:   "P1, P3", Without: "its lease fails for ever",
		File: "worker/departed.go",
		Old:  `case errors.Is(err, stream.ErrShardNotFound):`,
		New:  `case errors.Is(err, stream.ErrShardNotFound) && len(b.Records) > 0:`,
		Test: "TestAShardThatLeavesItsStreamEndsLoudlyWhenWhatWasReadIsProcessed",
	},
	{
		Mechanism: "Two listings some time apart have to agree that a shard has left",
		Promise:   "P1", Without: "one does",
		File: "worker/departed.go",
		Old:  `case look > 0:`,
		New:  `case look >= 0:`,
		Test: "TestAShardIsOverOnlyWhenItsStreamDoesNotListItTwice",
	},
	{
		Mechanism: "A shard has left only the stream that its lease names",
		Promise:   "P9", Without: "that another stream does not list it is its end",
		File: "worker/departed.go",
		Old:  `case id.ID() != w.c.shard.Stream.ID():`,
		New:  `case id.ID() == "":`,
		Test: "TestAShardIsOverOnlyWhenItsStreamDoesNotListItTwice",
	},
	{
		Mechanism: "A stream that does not answer is waited for",
		Promise:   "P1", Without: "its shards are given up",
		File: "worker/open.go",
		Old:  `case hopeless(err):`,
		New:  `case true:`,
		Test: "TestAStreamThatCannotBeReachedIsWaitedFor",
	},
	{
		Mechanism: "Records that are corrupt hold their shard",
		Promise:   "P1", Without: "the shard ends there",
		File: "worker/fetcher.go",
		Old:  `			if f.missed(ctx, err) {`,
		New: `			if corrupt := (*stream.CorruptError)(nil); errors.As(err, &corrupt) {
				err = &stream.ShardEndError{}
			}
			if f.missed(ctx, err) {`,
		Test: "TestACorruptShardWaitsLoudlyAndOthersGoOn",
	},
	{
		Mechanism: "Records that left retention unread are told of",
		Promise:   "P1", Without: "they are passed over",
		File: "worker/fetcher.go",
		Old:  `f.log.ErrorContext(ctx, "records left retention before they were processed"`,
		New:  `f.log.DebugContext(ctx, "records left retention before they were processed"`,
		Test: "TestRecordsThatLeftRetentionAreToldOfAndPassedOver",
	},
	{
		Mechanism: "With manual checkpoints only the processor's word is stored",
		Promise:   "P4", Without: "a handover stores what is done, too",
		File: "worker/consumer.go",
		Old:  `!c.cfg.ManualCheckpoints, func`,
		New:  `true, func`,
		Test: "TestManualCheckpointsStoreWhatTheProcessorSays",
	},
}
