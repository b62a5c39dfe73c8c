package main

// kinesisMutants take out what keeps a reader of the remote stream from losing
// records, from reading another stream's, and from taking more than its share.
var kinesisMutants = []Mutant{
	{
		Mechanism: "A listing begins again when its token has expired",
		Promise:   "P1", Without: "a part of it passes for all",
		File: "kinesis/shards.go",
		Old: `		case err != nil:
			return nil, s.explain(ctx, "ListShards", err)`,
		New: `		case err != nil:
			return list, nil`,
		Test: "TestShardsAreListedCompletelyOrNotAtAll", Panics: true,
	},
	{
		Mechanism: "A stream that is not found is no shard's end",
		Promise:   "P1", Without: "it is a shard that is not found",
		File: "kinesis/feed.go",
		Old:  `if _, gone := s.incarnation.confirm(ctx); gone != nil {`,
		New:  `if _, gone := s.incarnation.confirm(ctx); gone == err {`,
		Test: "TestWhatIsNotFoundIsTheStreamOrTheShardAndNeverAnEnd", Panics: true,
	},
	{
		Mechanism: "An end without children is no shard's end",
		Promise:   "P1", Without: "it is",
		File: "kinesis/reader.go",
		Old:  `if len(children) == 0 && r.feed.at != stream.ShardEnd {`,
		New:  `if len(children) == -1 {`,
		Test: "TestAnIteratorThatEndsWithoutChildrenIsNoShardsEnd", Panics: true,
	},
	{
		Mechanism: "What comes behind an end that was none is read",
		Promise:   "P1", Without: "the reader stays at that end, and takes it for the shard's when children come",
		File: "kinesis/reader.go",
		Old: `			r.page = nil
			return fmt.Errorf("kinesis: read %s of %s: %w: the shard`,
		New:  `			return fmt.Errorf("kinesis: read %s of %s: %w: the shard`,
		Test: "TestWhatComesBehindAnEndThatWasNoneIsReadBeforeTheShardEnds", Panics: true,
	},
	{
		Mechanism: "The children of a shard that has left since are found",
		Promise:   "P3", Without: "its end is never told",
		File: "kinesis/shards.go",
		Old:  `if errors.Is(err, stream.ErrShardNotFound) {`,
		New:  `if errors.Is(err, stream.ErrShardNotFound) && false {`,
		Test: "TestTheChildrenOfAShardThatLeftItsStreamSinceItsEndWasReadAreFound", Panics: true,
	},
	{
		Mechanism: "A shard that is not found is told from its stream in a listing",
		Promise:   "P9", Without: "the stream counts as gone",
		File: "kinesis/shards.go",
		Old:  `case err != nil && filter != nil: // which names a shard`,
		New:  `case err != nil && filter == in.ShardFilter && filter != nil && in.NextToken != nil:`,
		Test: "TestTheChildrenOfAShardThatLeftItsStreamSinceItsEndWasReadAreFound", Panics: true,
	},
	{
		Mechanism: "A fraction of a millisecond makes no other stream",
		Promise:   "P9", Without: "it is cut off",
		File: "kinesis/incarnation.go",
		Old:  `d.StreamCreationTimestamp.Round(time.Millisecond)`,
		New:  `d.StreamCreationTimestamp.Truncate(time.Millisecond)`,
		Test: "TestAClientMayReadTimesWithAFractionOfAMillisecond",
	},
	{
		Mechanism: "An answer that came late counts for the reads after it",
		Promise:   "P9", Without: "they go on in another stream",
		File: "kinesis/incarnation.go",
		Old:  `case i.gone.Load():`,
		New:  `case i.gone.Load() && false:`,
		Test: "TestAServiceThatIsSlowToSayWhoItIsHoldsUpNoRecords", Panics: true,
	},
	{
		Mechanism: "An iterator that has expired is renewed behind the last record",
		Promise:   "P1", Without: "at the end of the shard",
		File: "kinesis/feed.go",
		Old: `	at := f.at
	for tries := 0; ; {`,
		New: `	at := f.at
	if f.clock != (time.Time{}) {
		at = stream.Latest
	}
	for tries := 0; ; {`,
		Test: "TestAnExpiredIteratorIsRenewedBehindTheLastRecord", Panics: true,
	},
	{
		Mechanism: "What an answer repeats is left out",
		Promise:   "P3", Without: "it comes again",
		File: "kinesis/feed.go",
		Old:  `p.skip(f.at, f.since)`,
		New:  `p.skip(stream.TrimHorizon, f.since)`,
		Test: "TestRecordsThatAServiceRepeatsComeOnce", Panics: true,
	},
	{
		Mechanism: "A pin is a number where the shard had a record of late",
		Promise:   "P1", Without: "it is a time, whatever the shard had",
		File: "kinesis/pin.go",
		Old:  `case atEnd && last.IsZero():`,
		New:  `case atEnd:`,
		Test: "TestAPinStaysBetweenWhatWasPutBeforeAndAfter", Panics: true,
	},
	{
		Mechanism: "A pin's time is that of the service",
		Promise:   "P1", Without: "it is this machine's",
		File: "kinesis/pin.go",
		Old:  `now := tip.clock`,
		New:  `now := time.Now()`,
		Test: "TestAPinStaysBetweenWhatWasPutBeforeAndAfter", Panics: true,
	},
	{
		Mechanism: "A pin waits for the end of what it looks at",
		Promise:   "P1", Without: "the last record of a page passes for the last of the shard",
		File: "kinesis/pin.go",
		Old:  `atEnd := p.behind == 0 || p.next == ""`,
		New:  `atEnd := true`,
		Test: "TestAPinOfABusyShardDoesNotReadAllOfIt", Panics: true,
	},
	{
		Mechanism: "A Stream is bound to the incarnation that it met first",
		Promise:   "P9", Without: "it goes over to the next one",
		File: "kinesis/incarnation.go",
		Old:  `case i.first.ID() != id.ID():`,
		New:  `case i.first.Name != id.Name:`,
		Test: "TestARecreatedStreamIsNoticedByEveryCall", Panics: true,
	},
	{
		Mechanism: "A reader looks whether its stream is still there",
		Promise:   "P9", Without: "it believes its iterators",
		File: "kinesis/incarnation.go",
		Old:  `case now < due || !i.due.CompareAndSwap(due, now+int64(recheckEvery)):`,
		New:  `case due|now != 0:`,
		Test: "TestAReaderDoesNotGoOnInAnotherStreamOfTheName", Panics: true,
	},
	{
		Mechanism: "No more than one page is read ahead",
		Promise:   "P8", Without: "pages of any size are",
		File: "kinesis/reader.go",
		Old:  `|| p.bytes > r.s.cfg.PageBytes {`,
		New:  `{`,
		Test: "TestAReaderOfLargePagesReadsAheadWhenOneIsNearlyUsedUp", Panics: true,
	},
	{
		Mechanism: "Answers together take no more memory than they may",
		Promise:   "P8", Without: "as many are received as come",
		File: "kinesis/receive.go",
		Old:  `weight := min(size, int64(s.cfg.ReceiveBytes))`,
		New:  `weight := min(size, int64(0))`,
		Test: "TestAnswersTogetherTakeNoMoreMemoryThanTheyMay",
	},
	{
		Mechanism: "A member that comes twice is unusual",
		Promise:   "P1", Without: "the decoder guesses which one counts",
		File: "kinesis/decode.go",
		Old:  `if *seen&(1<<i) != 0 {`,
		New:  `if *seen&(1<<i) != 0 && false {`,
		Test: "TestWhatKinesisDoesNotSendIsUnusual",
	},
	{
		Mechanism: "What was refused is put again",
		Promise:   "P1", Without: "its result is that of the first attempt",
		File: "kinesis/put.go",
		Old:  `if err != nil || len(left) == 0 {`,
		New:  `if err != nil || len(left) >= 0 {`,
		Test: "TestWhatIsRefusedIsPutAgainInOrder", Panics: true,
	},
	{
		Mechanism: "The body of a request can only be read",
		Promise:   "P1", Without: "an answer that comes fast closes its own connection",
		File: "kinesis/protocol.go",
		Old:  `with, err := req.SetStream(struct{ io.ReadSeeker }{body})`,
		New:  `with, err := req.SetStream(body)`,
		Test: "TestTheBodyOfARequestCanOnlyBeRead",
	},
}
