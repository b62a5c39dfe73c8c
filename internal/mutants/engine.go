package main

// engineMutants take out what makes an acknowledged record durable, a damaged
// one known, and an old one gone.
var engineMutants = []Mutant{
	// Acknowledged means durable.
	{
		Mechanism: "Records are synced before they are acknowledged",
		Promise:   "P7", Without: "they are when they are written",
		File: "engine/internal/wal/commit.go",
		Old: `	if err == nil && !l.relaxed() {
		err = syncSegments(g.segments(nil))
	}`,
		New:     ``,
		Package: "engine",
		Test:    "TestAFailedSyncStopsPutsAndKeepsWhatWasAcknowledged",
	},
	{
		Mechanism: "A failed sync stops the log for good",
		Promise:   "P7", Without: "the next put tries again",
		File: "engine/internal/wal/commit.go",
		Old: `	if l.failed == nil {
		l.failed =`,
		New: `	if failed := error(nil); failed == nil {
		failed =`,
		Package: "engine",
		Test:    "TestAFailedSyncStopsPutsAndKeepsWhatWasAcknowledged",
	},
	{
		Mechanism: "A failed sync in the background stops the log, too",
		Promise:   "P7", Without: "it is passed over",
		File: "engine/internal/wal/commit.go",
		Old: `	if err := syncSegments(segs); err != nil {
		return l.fail(err)
	}`,
		New: `	if err := syncSegments(segs); err != nil {
		return err
	}`,
		Package: "engine",
		Test:    "TestAFailedSyncInTheBackgroundStopsPuts", Panics: true,
	},
	{
		Mechanism: "What recovery found is made durable before anybody reads it",
		Promise:   "P7", Without: "it may be in the page cache only",
		File:    "engine/internal/wal/recover.go",
		Old:     `seg.gen >= r.known.Durable.gen() {`,
		New:     `false {`,
		Package: "engine",
		Test:    "TestWhatWasReadAfterAKillIsDurable",
	},
	{
		Mechanism: "The directory is synced when a log file gets its name",
		Promise:   "P7", Without: "the name is durable some day",
		File:    "engine/internal/wal/prepare.go",
		Old:     `return seg, l.opt.FS.SyncDir()`,
		New:     `return seg, nil`,
		Package: "engine",
		Test:    "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},
	{
		Mechanism: "The header of a log file is durable before the file gets its name",
		Promise:   "P7", Without: "it is written some day",
		File: "engine/internal/wal/prepare.go",
		Old: `	if err := f.Sync(); err != nil {
		return nil, err
	}
	return &segment{`,
		New:     `	return &segment{`,
		Package: "engine",
		Test:    "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},
	{
		Mechanism: "The manifest is synced before it takes the place of the old one",
		Promise:   "P7", Without: "it is written some day",
		File: "engine/internal/manifest/manifest.go",
		Old: `	if err == nil {
		err = f.Sync()
	}`,
		New:     ``,
		Package: "engine",
		Test:    "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},
	{
		Mechanism: "The directory is synced when a manifest takes its place",
		Promise:   "P7", Without: "a change that was acknowledged may be undone",
		File: "engine/internal/manifest/manifest.go",
		Old: `	if err := dir.SyncDir(); err != nil {
		return &UnknownError{err}
	}`,
		New:     ``,
		Package: "engine",
		Test:    "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},
	{
		Mechanism: "Two engines do not share a directory",
		Promise:   "P7", Without: "the second one opens it, too",
		File: "engine/internal/vfs/dir.go",
		Old:  `if err := lock(f); err != nil {`,
		New:  `if err := error(nil); err != nil {`,
		Test: "TestADirectoryIsLockedOnce",
	},
	{
		Mechanism: "Counters of a former opening are never given again",
		Promise:   "P7, P4", Without: "they go on from the last record found",
		File:    "engine/internal/wal/log.go",
		Old:     `max(state.Last+1, l.openGen<<openGenShift)`,
		New:     `state.Last + 1`,
		Package: "engine",
		Test:    "TestAPowerCutInTheRelaxedModeLeavesAPrefix", Args: []string{"-test.short"},
	},
	{
		Mechanism: "An opening is counted durably before it gives any counter",
		Promise:   "P7", Without: "it is counted when something else changes",
		File: "engine/engine.go",
		Old: `	if err := manifest.Save(fs, m); err != nil {
		return nil, err
	}
	e := &Engine{`,
		New:  `	e := &Engine{`,
		Test: "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},

	// A torn tail is cut, damage is reported and never served.
	{
		Mechanism: "A block's records have a checksum, which a reader of the file checks",
		Promise:   "P7", Without: "they are believed",
		File:    "engine/internal/wal/block.go",
		Old:     `if h.sum != checksum(seed, b[headerSize:]) {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestRotOnTheDiskIsFoundByWhoReadsIt",
	},
	{
		Mechanism: "A block's header has a checksum",
		Promise:   "P7", Without: "the magic number is enough",
		File: "engine/internal/wal/block.go",
		Old: `if len(src) < headerSize || le.Uint32(src) != blockMagic ||
		le.Uint32(src[4:]) != crc32.Update(seed, castagnoli, src[8:headerSize]) {`,
		New:  `if _ = seed; len(src) < headerSize || le.Uint32(src) != blockMagic {`,
		Test: "TestABlockIsValidInItsOwnPlaceOnly",
	},
	{
		Mechanism: "Recovery checks the records of every block",
		Promise:   "P7", Without: "their headers are enough",
		File:    "engine/internal/wal/window.go",
		Old:     `return h, h.sum == checksum(seed, b[headerSize:]), nil`,
		New:     `return h, h.sum == checksum(seed, b[headerSize:]) || true, nil`,
		Package: "engine",
		Test:    "TestWhatWasCutOffDoesNotComeBack",
	},
	{
		Mechanism: "A block of an earlier life of its file is not valid: checksums begin from the segment's generation and salt",
		Promise:   "P7", Without: "they begin from nothing",
		File: "engine/internal/wal/segment.go",
		Old:  `return crc32.Checksum(b[:], castagnoli)`,
		New:  `return 0`,
		Test: "TestABlockIsValidInItsOwnPlaceOnly",
	},
	{
		Mechanism: "A block in another place of its file is not valid: checksums begin from the offset, too",
		Promise:   "P7", Without: "any place will do",
		File: "engine/internal/wal/segment.go",
		Old:  `for range 8 {`,
		New:  `for range 0 {`,
		Test: "TestABlockIsValidInItsOwnPlaceOnly",
	},
	{
		Mechanism: "What was durable once is damage, and no torn tail",
		Promise:   "P7", Without: "the log ends where it cannot be read",
		File: "engine/internal/wal/evidence.go",
		Old: `	if r.evident > at {
		return true, here, later, nil
	}`,
		New: `	if r.evident >= 0 {
		return false, here, later, nil
	}`,
		Package: "engine",
		Test:    "TestNeighbouringLossesStayAccepted",
	},
	{
		Mechanism: "Blocks say how far the log was durable before them",
		Promise:   "P7", Without: "they say nothing",
		File:    "engine/internal/wal/append.go",
		Old:     `h.synced = l.durable`,
		New:     `h.synced = 0`,
		Package: "engine",
		Test:    "TestAnIdleLogNotesWhatIsDurable",
	},
	{
		Mechanism: "A log at rest notes what is durable",
		Promise:   "P7", Without: "damage of its last records passes for a torn tail",
		File:    "engine/internal/wal/commit.go",
		Old:     `marked, c := l.markLocked(), Commit{l.cur}`,
		New:     `marked, c := false, Commit{l.cur}`,
		Package: "engine",
		Test:    "TestAnIdleLogNotesWhatIsDurable",
	},
	{
		Mechanism: "What was cut off is overwritten, so that it does not come back",
		Promise:   "P7", Without: "it stays in the file",
		File:    "engine/internal/wal/evidence.go",
		Old:     `if here.blocks > 0 {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestWhatWasCutOffDoesNotComeBack",
	},
	{
		Mechanism: "A shard's blocks name their predecessor, so that a missing one is missed",
		Promise:   "P7", Without: "recovery does not look",
		File:    "engine/internal/wal/recover.go",
		Old:     `if prev > s.last {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestAnAcceptedLossStaysAccepted",
	},
	{
		Mechanism: "The manifest knows each shard's last durable record",
		Promise:   "P7", Without: "a lost end goes unnoticed",
		File:    "engine/internal/wal/recover.go",
		Old:     `if s.last < state.Last {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestEveryShortenedFileIsNoticedOrHarmless", Args: []string{"-test.short"},
	},
	{
		Mechanism: "A damaged file is kept until its loss is accepted",
		Promise:   "P7", Without: "it is used again",
		File:    "engine/internal/wal/prepare.go",
		Old:     `return damaged[gen] || seg != nil && seg.live.Load() > 0`,
		New:     `_ = damaged; return seg != nil && seg.live.Load() > 0`,
		Package: "engine",
		Test:    "TestADamagedFileIsKeptUntilItsLossIsAccepted",
	},
	{
		Mechanism: "A copy of the manifest that fails its checksum is not read",
		Promise:   "P7", Without: "it is believed",
		File: "engine/internal/manifest/manifest.go",
		Old:  `if le.Uint32(one[20:]) != sum(one) {`,
		New:  `if false {`,
		Test: "TestOneDamagedCopyIsNoLoss",
	},
	{
		Mechanism: "Log files without their manifest are refused",
		Promise:   "P7", Without: "the directory counts as empty",
		File: "engine/engine.go",
		Old:  `if slices.ContainsFunc(names, wal.IsSegment) {`,
		New:  `if names = nil; slices.ContainsFunc(names, wal.IsSegment) {`,
		Test: "TestALogWithoutItsManifestIsRefused",
	},
	{
		Mechanism: "Files of another version are refused",
		Promise:   "P7", Without: "they are read as if they were of this one",
		File:    "engine/internal/wal/segment.go",
		Old:     `v != FormatVersion {`,
		New:     `v > 1<<31 {`,
		Package: "engine",
		Test:    "TestFilesOfAnotherVersionAreRefused",
	},

	// Files that are rewritten by shards.
	{
		Mechanism: "A block is checked before it is copied into another file",
		Promise:   "P7", Without: "it gets a checksum that is right, whatever is in it",
		File: "engine/internal/wal/chunk_write.go",
		Old: `		if detail != "" {
			return w.damaged`,
		New: `		if false {
			return w.damaged`,
		Package: "engine",
		Test:    "TestRewritingDoesNotMakeRotLookSound",
	},
	{
		Mechanism: "Rewritten files count only when the manifest says so",
		Promise:   "P7", Without: "the log gives its own away before",
		File:    "engine/internal/wal/chunk.go",
		Old:     `if err := save(files); err != nil {`,
		New:     `if err := error(nil); err != nil {`,
		Package: "engine",
		Test:    "TestAPowerCutWhileTheLogIsRewritten", Args: []string{"-test.short"},
	},
	{
		Mechanism: "A rewritten file is durable before it gets its name",
		Promise:   "P7", Without: "it is written some day",
		File: "engine/internal/wal/chunk_write.go",
		Old: `	return c.file.Sync()
}

// assemble`,
		New: `	return nil
}

// assemble`,
		Package: "engine",
		Test:    "TestAPowerCutWhileTheLogIsRewritten", Args: []string{"-test.short"},
	},
	{
		Mechanism: "The directory is synced before rewritten files count",
		Promise:   "P7", Without: "their names are durable some day",
		File:    "engine/internal/wal/chunk_write.go",
		Old:     `err := l.opt.FS.SyncDir(); err != nil`,
		New:     `err := error(nil); err != nil`,
		Package: "engine",
		Test:    "TestTheLogIsKeptUntilItsRewriteIsDurable", Args: []string{"-test.short"},
	},
	{
		Mechanism: "A footer has a checksum",
		Promise:   "P7", Without: "it is believed",
		File: "engine/internal/wal/chunk_footer.go",
		Old:  `if le.Uint32(b[8:]) != crc32.Update(seed, castagnoli, b[12:]) {`,
		New:  `if false {`,
		Test: "TestAFooterIsReadAsItWasWritten",
	},
	{
		Mechanism: "A footer that the disk cannot read is no loss",
		Promise:   "P7", Without: "nothing is opened any more",
		File:    "engine/internal/wal/chunk_footer.go",
		Old:     `errors.Is(err, errFooter) || unreadable(err)`,
		New:     `errors.Is(err, errFooter)`,
		Package: "engine",
		Test:    "TestWhatTheDiskCannotReadIsDamage",
	},
	{
		Mechanism: "What the disk cannot read at the end of the log is not taken for damage",
		Promise:   "P7", Without: "the log goes on behind it, though the disk may read it tomorrow",
		File: "engine/internal/wal/evidence.go",
		Old: `		if r.whole(seg.gen) {
			break
		}`,
		New: `		if true {
			break
		}`,
		Package: "engine",
		Test:    "TestWhatTheDiskCannotReadIsDamage",
	},
	{
		Mechanism: "A file at the end of the log whose header the disk cannot read is not taken for damage",
		Promise:   "P7", Without: "the log ends before it, though it may be whole",
		File: "engine/internal/wal/evidence.go",
		Old: `	if r.whole(gen) {
		return nil
	}`,
		New: `	if true {
		return nil
	}`,
		Package: "engine",
		Test:    "TestWhatTheDiskCannotReadIsDamage",
	},
	{
		Mechanism: "The log is not cut while something behind the cut cannot be read",
		Promise:   "P7", Without: "what says that the log goes on counts as missing",
		File:    "engine/internal/wal/evidence.go",
		Old:     `} else if err == nil && r.unread != nil {`,
		New:     `} else if false {`,
		Package: "engine",
		Test:    "TestTheLogIsNotCutWhileWhatSpeaksAgainstItCannotBeRead",
	},
	{
		Mechanism: "What the disk cannot read of the log is damage when later blocks say that it was durable",
		Promise:   "P7", Without: "nothing is opened any more",
		File:    "engine/internal/wal/evidence.go",
		Old:     `if _, _, _, err := r.durableLater(seg, part.to-8); err != nil {`,
		New:     `if err := r.refuse(); err != nil {`,
		Package: "engine",
		Test:    "TestADirectoryIsOpenedAsLongAsTheEndOfItsLogCanBeRead",
	},
	{
		Mechanism: "A file that the disk has failed to read is not used again",
		Promise:   "P7", Without: "the log goes on in it, and fails",
		File:    "engine/internal/wal/segment.go",
		Old:     `if seg.file.failed.Load() {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestAFileThatTheDiskCannotReadIsNotUsedAgain",
	},
	{
		Mechanism: "A file in which a loss was given up is not used again",
		Promise:   "P7", Without: "an opening forgets that the disk has failed it",
		File:    "engine/internal/wal/recover.go",
		Old:     `seg.file.failed.Store(true) //`,
		New:     `//`,
		Package: "engine",
		Test:    "TestAFileThatTheDiskCannotReadIsNotUsedAgain",
	},
	{
		Mechanism: "The name of a file that the disk has failed says so",
		Promise:   "P7", Without: "the next opening takes it for one of the pool",
		File: "engine/internal/wal/open.go",
		Old:  `case prefix == badPrefix:`,
		New:  `case prefix == "":`,
		Test: "TestAFileThatFailedIsRemovedByTheNextOpening",
	},
	{
		Mechanism: "A file of the pool that cannot be written is replaced",
		Promise:   "P7", Without: "it is tried again and again, and puts are refused",
		File:    "engine/internal/wal/prepare.go",
		Old:     `if f.failed.Load() && f.pooled {`,
		New:     `if false {`,
		Package: "engine",
		Test:    "TestAFileOfThePoolThatCannotBeWrittenIsReplaced",
	},
	{
		Mechanism: "A file that cannot be removed is kept in mind",
		Promise:   "P7", Without: "its room on the disk is lost",
		File: "engine/internal/wal/prepare.go",
		Old: `			back(name)
`,
		New:  ``,
		Test: "TestAFileThatCannotBeRemovedIsRemovedLater",
	},
	{
		Mechanism: "What can be read again is not given up",
		Promise:   "P7", Without: "an operator loses what a cable has failed to deliver once",
		File: "engine/internal/wal/unreadable.go",
		Old: `	return true, nil
}`,
		New: `	return false, nil
}`,
		Package: "engine",
		Test:    "TestADiskThatCannotReadHoldsUpNobodyForEver",
	},
	{
		Mechanism: "What can be read again since the opening is not given up",
		Promise:   "P7", Without: "all of a file is lost for a header that a cable has failed to deliver once",
		File: "engine/internal/wal/unreadable.go",
		Old: `			if err == nil {
				return fmt.Errorf("%s at %d: %w", l.opt.FS.Path(name), off, ErrReopen)`,
		New: `			if false {
				return fmt.Errorf("%s at %d: %w", l.opt.FS.Path(name), off, ErrReopen)`,
		Package: "engine",
		Test:    "TestWhatCanBeReadAgainSinceTheOpeningIsNotGivenUp",
	},
	{
		Mechanism: "What is accepted as lost is cut, though somebody can read it by now",
		Promise:   "P7", Without: "it is served until the next opening, and silently absent from then on",
		File: "engine/internal/wal/shard.go",
		Old: `	s.index.cut(lost, func(e *entry) {
		delete(s.unread, *e)`,
		New: `	n := len(s.unread)
	s.index.cut(lost[:min(n, len(lost))], func(e *entry) {
		delete(s.unread, *e)`,
		Package: "engine",
		Test:    "TestALossThatCanBeReadWhileItIsAcceptedIsGivenUpAllTheSame",
	},
	{
		Mechanism: "A rewriting that has read what is accepted as lost comes to nothing",
		Promise:   "P7", Without: "it brings back what was given up, until the next opening",
		File:    "engine/internal/wal/chunk.go",
		Old:     `if l.accepts.Load() != w.accepts {`,
		New:     `if false {`,
		Package: "engine/internal/wal",
		Test:    "TestARunThatHasWhatWasGivenUpComesToNothing",
	},
	{
		Mechanism: "The rewriter does not begin with what the disk cannot read",
		Promise:   "P7", Without: "it fails again and again, and holds back puts each time",
		File: "engine/internal/wal/shard.go",
		Old: `		for e := range s.unread {
			files[e.pos.gen()] = true
		}
`,
		New:     ``,
		Package: "engine",
		Test:    "TestPutsGoOnWhileADiskTakesItsTimeToFail",
	},
	{
		Mechanism: "Puts do not wait for a rewriter that does not get on",
		Promise:   "P7", Without: "they wait as long as the disk takes to fail",
		File:    "engine/internal/wal/append.go",
		Old:     `late = time.After(paceWait)`,
		New:     `_ = paceWait`,
		Package: "engine",
		Test:    "TestPutsGoOnWhileADiskTakesItsTimeToFail",
	},
	{
		Mechanism: "The disk is asked ever more rarely for what it cannot read",
		Promise:   "P7", Without: "it is kept busy with failing",
		File:    "engine/internal/wal/unreadable.go",
		Old:     `w.until = time.Now().Add(w.pause)`,
		New:     ``,
		Package: "engine",
		Test:    "TestPutsGoOnWhileADiskTakesItsTimeToFail",
	},
	{
		Mechanism: "The rewriter goes on when what it waits for can be read again",
		Promise:   "P7", Without: "it waits until somebody reads there, or accepts a loss that is none",
		File: "engine/internal/wal/unreadable.go",
		Old: `			l.canRead(s, []entry{g.block})
		}
	}
	return nil`,
		New: `		}
	}
	return nil`,
		Package: "engine",
		Test:    "TestPutsGoOnWhileADiskTakesItsTimeToFail",
	},
	{
		Mechanism: "No page that the disk cannot read is asked for twice in a row",
		Promise:   "P7", Without: "each of its blocks costs as long as the disk takes to fail",
		File: "engine/internal/wal/unreadable.go",
		Old: `			b.failed[page] = err
`,
		New:     ``,
		Package: "engine",
		Test:    "TestAcceptingALossAsksForEachPageOnceAndEndsWhenItIsToldTo",
	},
	{
		Mechanism: "Who accepts a loss can give up while the disk fails",
		Promise:   "P7", Without: "Close, and all that changes streams, waits for hours",
		File:    "engine/damage.go",
		Old:     `func() error { return s.usable(ctx) }`,
		New:     `func() error { return nil }`,
		Package: "engine",
		Test:    "TestAcceptingALossAsksForEachPageOnceAndEndsWhenItIsToldTo",
	},
	{
		Mechanism: "Losses that follow each other are one in the manifest",
		Promise:   "P7", Without: "it grows by each block of what a disk has lost",
		File:    "engine/internal/wal/shard.go",
		Old:     `r.First <= merged[n-1].Last+1 {`,
		New:     `r.First <= merged[n-1].Last {`,
		Package: "engine",
		Test:    "TestAcceptingALossAsksForEachPageOnceAndEndsWhenItIsToldTo",
	},
	{
		Mechanism: "A loss is cut out of an index without touching the rest",
		Promise:   "P7", Without: "puts wait while all of it is looked through",
		File: "engine/internal/wal/index.go",
		Old: `page = page[skip:]
`,
		New: `page = slices.Clone(page[skip:])
`,
		Package: "engine/internal/wal",
		Test:    "TestALossIsCutOutOfAnIndexWithoutTouchingTheRest",
	},
	{
		Mechanism: "The rewriter goes on when a loss is accepted",
		Promise:   "P7", Without: "the log grows until somebody fills another segment of it",
		File:    "engine/internal/wal/shard.go",
		Old:     `	signal(l.filled) // the rewriter may go on`,
		New:     ``,
		Package: "engine",
		Test:    "TestADiskThatCannotReadHoldsUpNobodyForEver",
	},
	{
		Mechanism: "A rewritten file that is missing is told of",
		Promise:   "P7", Without: "its records were never there",
		File:    "engine/internal/wal/chunk_footer.go",
		Old:     `r.damaged(makePos(gen, blocksStart), Damage{File: segmentName(gen), Detail: "the file is missing"})`,
		New:     ``,
		Package: "engine",
		Test:    "TestAMissingClosedFileIsALossOfItsRecordsOnly",
	},
	{
		Mechanism: "Records of different retentions never share a rewritten file",
		Promise:   "P8", Without: "the longest keeps all of them on the disk",
		File: "engine/rewrite.go",
		Old:  `return func(handle uint64) uint64 { return class[handle] }`,
		New:  `return func(handle uint64) uint64 { return 0 * class[handle] }`,
		Test: "TestEachRetentionHasFilesOfItsOwn",
	},

	// Order, and the ends of shards.
	{
		Mechanism: "A shard ends only when its last record is durable",
		Promise:   "P3", Without: "a reshard waits for nothing",
		File: "engine/reshard.go",
		Old: `	if err := log.Flush(ctx); err != nil {
		return err
	}
	next := s.apply(t, p)`,
		New:  `	next := s.apply(t, p)`,
		Test: "TestAFailedSyncStopsPutsAndKeepsWhatWasAcknowledged",
	},
	{
		Mechanism: "A shard that is being closed takes no more records",
		Promise:   "P1, P3", Without: "it takes them until its children are there",
		File: "engine/reshard.go",
		Old:  `log.Seal(sh.log)`,
		New:  `_ = sh`,
		Test: "TestAShardDoesNotEndBeforeItsLastRecordIsDurable", Panics: true,
	},
	{
		Mechanism: "A reshard is durable before it takes effect",
		Promise:   "P3, P7", Without: "it is saved when something else changes",
		File: "engine/reshard.go",
		Old:  `if err := s.e.save(ctx, &change{stream: s, topology: next}); err != nil {`,
		New:  `if err := error(nil); err != nil {`,
		Test: "TestAPowerCutAtAnyMomentLosesNothingAcknowledged", Args: []string{"-test.short"},
	},

	// Bounded memory, and files that are used again.
	{
		Mechanism: "A put waits while too much is not committed",
		Promise:   "P8", Without: "it is taken into memory",
		File:    "engine/internal/wal/append.go",
		Old:     `if fits && l.pending < l.opt.PendingBytes && l.grownLocked() < l.growTo {`,
		New:     `if fits && l.grownLocked() < l.growTo {`,
		Package: "engine",
		Test:    "TestAPutBeyondPendingBytesIsNotTakenIntoMemory",
	},
	{
		Mechanism: "A file that somebody reads is not used again",
		Promise:   "P7", Without: "it is at once",
		File: "engine/internal/wal/segment.go",
		Old:  `if !seg.retired || seg.pins > 0 {`,
		New:  `if !seg.retired {`,
		Test: "TestAFileThatSomebodyReadsIsNotUsedAgain",
	},

	// Retention, and streams that were created again.
	{
		Mechanism: "A record is readable for all of its retention and not longer",
		Promise:   "P7", Without: "it is readable until its file is used again",
		File: "engine/read.go",
		Old:  `return max(set.floor, time.Now().UnixMilli()-set.retention.Milliseconds())`,
		New:  `return max(set.floor, min(0, time.Now().UnixMilli()))`,
		Test: "TestARecordIsReadableForAllOfItsRetentionAndNotLonger",
	},
	{
		Mechanism: "A longer retention does not bring back what has left",
		Promise:   "P7", Without: "it does, as far as it is still there",
		File: "engine/retention.go",
		Old:  `set.floor = s.cutoff()`,
		New:  `_ = s.cutoff()`,
		Test: "TestALongerRetentionDoesNotBringBackWhatHasLeft",
	},
	{
		Mechanism: "No two incarnations of a stream were created at the same moment",
		Promise:   "P9", Without: "the clock decides",
		File: "engine/engine.go",
		Old:  `max(time.Now().UnixMilli(), e.lastCreated+1)`,
		New:  `time.Now().UnixMilli()`,
		Test: "TestARecreatedStreamIsAnother",
	},
}
