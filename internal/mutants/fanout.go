package main

// fanoutMutants take out what keeps a shard that is pushed whole, in order, and
// within its memory.
var fanoutMutants = []Mutant{
	{
		Mechanism: "A pushed batch is given back when it is used up, and not before",
		Promise:   "P1", Without: "it is given back with the first part",
		File: "fanout/reader.go",
		Old:  `if r.offered.Empty() {`,
		New:  `if true {`,
		Test: "TestAReaderGoesOnBehindItsLastRecordAfterAnError", Args: []string{"-rapid.nofailfile", "-rapid.shrinktime=1s"},
	},
	{
		Mechanism: "A subscription goes on behind the last record that was given",
		Promise:   "P5", Without: "where the reader was opened",
		File: "fanout/reader.go",
		Old:  `r.at = stream.After(b.Records[len(b.Records)-1].Sequence)`,
		New:  `_ = r.at`,
		Test: "TestAReaderGoesOnBehindItsLastRecordAfterAnError", Args: []string{"-rapid.nofailfile", "-rapid.shrinktime=1s"},
	},
	{
		Mechanism: "The pump waits until its batch is used up",
		Promise:   "P8", Without: "it goes on, and the batch changes under the reader",
		File: "fanout/reader.go",
		Old: `	select {
	case <-r.used:
		return nil
	case`,
		New: `	select {
	default:
		return nil
	case`,
		Test: "TestASubscriptionIsNotReadWhileNobodyAsks", Panics: true,
	},
	{
		Mechanism: "Close waits until the subscription has ended",
		Promise:   "P2", Without: "it goes on for a while",
		File: "fanout/reader.go",
		Old:  `r.pumping.Wait()`,
		New:  `_ = &r.pumping`,
		Test: "TestCloseWaitsForTheSubscription", Panics: true,
	},
	{
		Mechanism: "A part of a batch does not keep the whole alive",
		Promise:   "P8", Without: "it does",
		File: "stream/rest.go",
		Old:  `if b.MaxFootprint > 0 && b.Footprint > max(b.MaxFootprint, 2*b.Bytes) {`,
		New:  `if false {`,
		Test: "TestABatchIsGivenOutInPartsWithinTheirLimits", Args: []string{"-rapid.nofailfile", "-rapid.shrinktime=1s"},
	},
	{
		Mechanism: "What a renewed subscription repeats is left out",
		Promise:   "P5", Without: "it is given again",
		File: "kinesis/subscriber.go",
		Old:  `events.skip(p.where.at, p.where.since)`,
		New:  `_ = p.where.since`,
		Test: "TestASubscriptionIsRenewedWithoutLossRepeatOrGap", Panics: true,
	},
	{
		Mechanism: "A subscription is renewed before it ends",
		Promise:   "P1", Without: "when it has ended: nothing is lost, and records wait",
		File: "kinesis/subscriber.go",
		Old:  `if p.renewing == nil && time.Now().After(renewal) {`,
		New:  `if false && time.Now().After(renewal) {`,
		Test: "TestASubscriptionIsRenewedWithoutLossRepeatOrGap", Panics: true,
	},
	{
		Mechanism: "A subscription that gives no sign of life is begun again",
		Promise:   "P1", Without: "it is waited for",
		File: "kinesis/subscription.go",
		Old: `	c.watchdog.Reset(c.s.cfg.Stall)
	var p`,
		New:  `	var p`,
		Test: "TestASilentSubscriptionIsNoticedAndASlowHandleIsNot", Panics: true,
	},
	{
		Mechanism: "A slow handle is no silence",
		Promise:   "P8", Without: "its time counts",
		File: "kinesis/subscription.go",
		Old: `	c.watchdog.Stop()
	if err == nil {`,
		New:  `	if err == nil {`,
		Test: "TestASilentSubscriptionIsNoticedAndASlowHandleIsNot", Panics: true,
	},
	{
		Mechanism: "Who is taken over waits before it takes the shard back",
		Promise:   "P2", Without: "it takes it back at once, and so do both",
		File: "kinesis/subscriber.go",
		Old:  `if err := pause(ctx, p.wait); err != nil {`,
		New:  `if err := pause(ctx, 0); err != nil {`,
		Test: "TestWhoIsTakenOverDoesNotFight", Panics: true,
	},
	{
		Mechanism: "A shard is left alone for five seconds after a subscription began",
		Promise:   "P1", Without: "calls are refused",
		File: "kinesis/subscriber.go",
		Old:  `if err := pause(ctx, time.Until(p.lastBegun(p.where.shard).Add(cfg.Resubscribe))); err != nil {`,
		New:  `if err := pause(ctx, 0*cfg.Resubscribe); err != nil {`,
		Test: "TestABrokenSubscriptionGoesOnWithoutLossOrRepeat", Panics: true,
	},
	{
		Mechanism: "A consumer is waited for until it is ACTIVE",
		Promise:   "P1", Without: "it is used at once",
		File: "kinesis/consumer.go",
		Old:  `return arn, status == types.ConsumerStatusActive, nil`,
		New:  `return arn, status != "", nil`,
		Test: "TestAFleetRegistersOneConsumerAndWaitsUntilItIsActive", Panics: true,
	},
}
