package main

// leaseMutants take out what keeps two workers from one shard: the rules of
// DESIGN.md, section 4, one after the other, and what shard sync must never do.
var leaseMutants = []Mutant{
	// Rule 1: a worker fences itself first.
	{
		Mechanism: "A worker that cannot prove in time that it lives stops by its own clock",
		Promise:   "P2", Without: "the fuse never burns",
		File: "lease/beat.go",
		Old:  `expires := s.right.expires()`,
		New:  `expires := s.right.expires().Add(time.Hour)`,
		Test: "TestRule/AWorkerFencesItself",
	},
	{
		Mechanism: "The right to process ends a margin before others may act",
		Promise:   "P2", Without: "the right lasts for all of FailoverTime and HandoffTimeout",
		File: "lease/right.go",
		Old:  `right{failover: failover - failover/margin, handoff: handoff - handoff/margin}`,
		New:  `right{failover: failover, handoff: handoff}`,
		Test: "TestTheRightEndsAMarginBeforeFailoverTimeFromWhenTheLastBeatWasSent",
	},
	{
		Mechanism: "A beat counts from when it was sent",
		Promise:   "P2", Without: "it counts from when it was answered",
		File: "lease/beat.go",
		Old:  `s.beaten(sent, row)`,
		New:  `s.beaten(sent.Add(time.Since(sent)), row)`,
		Test: "TestTheRightEndsAMarginBeforeFailoverTimeFromWhenTheLastBeatWasSent",
	},
	{
		Mechanism: "A worker whose right has expired beats again only when its old callbacks have returned",
		Promise:   "P2", Without: "it beats at once",
		File: "lease/beat.go",
		Old:  `ready := !s.lapsed || len(s.slots) == 0`,
		New:  `ready := true`,
		Test: "TestAfterALapseAWorkerDoesNotBeatUntilItsCallbacksHaveReturned",
	},
	{
		Mechanism: "An incarnation whose callbacks do not return is given up, and the worker comes back without them",
		Promise:   "P1", Without: "it waits for them, with all its other shards",
		File: "lease/beat.go",
		Old:  `			s.expel(ErrExpired)`,
		New:  `			<-ctx.Done()`,
		Test: "TestACallbackThatIgnoresItsContextHoldsUpItsOwnShardAlone",
	},
	{
		Mechanism: "Nobody takes a lease again in a process in which its former callback still runs",
		Promise:   "P2", Without: "the next incarnation takes it",
		File: "lease/serve.go",
		Old:  `if s.stuck.has(row.Key) {`,
		New:  `if false {`,
		Test: "TestACallbackThatIgnoresItsContextHoldsUpItsOwnShardAlone",
	},
	{
		Mechanism: "A lease on which a callback is stuck is given to another worker",
		Promise:   "P1", Without: "it stays where nobody can take it",
		File: "lease/plan.go",
		Old:  ` && !b.stuck[p.leases[i].Key]`,
		New:  ``,
		Test: "TestWhatAWorkerCannotTakeIsGivenToNobodyThere",
	},
	{
		Mechanism: "A term that ended is not begun again from a row that lags",
		Promise:   "P2", Without: "the worker does not remember its past terms",
		File: "lease/serve.go",
		Old:  ` || row.Counter < s.past[row.Key] {`,
		New:  ` {`,
		Test: "TestATermIsNeverBegunTwice",
	},

	// Rule 2: fence the member, then move its leases.
	{
		Mechanism: "A silent worker is fenced before its leases move",
		Promise:   "P2", Without: "its leases move though its row is as it was",
		File: "lease/pass.go",
		Old: `		next.Fenced = true
		row, err := l.swapMember(ctx, m, next)`,
		New: `		next.Fenced = true
		row, err := next, error(nil)`,
		Test: "TestRule/ALateBeatMakesTheFenceFailAndTheWorkerKeepsAll",
	},
	{
		Mechanism: "The fence is guarded by the version that was observed: a late beat makes it fail",
		Promise:   "P2", Without: "a fence that fails is tried again on the row as it is",
		File: "lease/pass.go",
		Old: `		next.Fenced = true
		row, err := l.swapMember(ctx, m, next)`,
		New: `		next.Fenced = true
		row, err := l.swapMember(ctx, m, next)
		if errors.Is(err, ErrConflict) {
			next = row
			next.Fenced = true
			row, err = l.swapMember(ctx, row, next)
		}`,
		Test: "TestRule/ALateBeatMakesTheFenceFailAndTheWorkerKeepsAll",
	},
	{
		Mechanism: "A beat on a fenced row fails",
		Promise:   "P2", Without: "the worker beats over the fence",
		File: "lease/beat.go",
		Old:  `case row == Member{} || row.Fenced:`,
		New:  `case row == Member{}:`,
		Test: "TestABeatOnAFencedOrAbsentRowFailsAndNeverCreatesIt",
	},
	{
		Mechanism: "A beat on an absent row fails and never creates it",
		Promise:   "P2", Without: "the worker goes on from what it finds",
		File: "lease/beat.go",
		Old:  `case row == Member{} || row.Fenced:`,
		New:  `case row.Fenced:`,
		Test: "TestABeatOnAFencedOrAbsentRowFailsAndNeverCreatesIt",
	},
	{
		Mechanism: "A worker that was fenced before it learned that it had joined is out",
		Promise:   "P2", Without: "it beats over the fence",
		File: "lease/beat.go",
		Old:  `if errors.Is(err, ErrConflict) && joined.Fenced {`,
		New:  `if false {`,
		Test: "TestAWorkerThatWasFencedBeforeItKnewThatItHadJoinedIsOut",
	},
	{
		Mechanism: "Members are read after the leases, so that an owner who is not among them can never come again",
		Promise:   "P2", Without: "they are read before",
		File: "lease/pass.go",
		Old: `	leases, created, err := l.survey(ctx)
	if err == nil && created {
		// Nobody is given a row that was created on what was seen before: the
		// creation may have come so late that its shard was finished and retired
		// meanwhile. A second look finds that out, now or when the stream answers.
		leases, _, err = l.survey(ctx)
	}
	if err != nil {
		return err
	}
	members, err := l.look(ctx, l.members)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}`,
		New: `	members, err := l.look(ctx, l.members)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	leases, created, err := l.survey(ctx)
	if err == nil && created {
		leases, _, err = l.survey(ctx)
	}
	if err != nil {
		return err
	}`,
		Test: "TestMembersAreReadAfterTheLeases",
	},
	{
		Mechanism: "A worker is dead when its beats have stood still for FailoverTime",
		Promise:   "P2", Without: "it is dead when it was seen twice without a beat between",
		File: "lease/watch.go",
		Old:  `dead: patience}[f]`,
		New:  `dead: 1}[f]`,
		Test: "TestAMemberIsDeadWhenItsBeatsStandStillForAsLongAsItIsWatched",
	},
	{
		Mechanism: "Whoever waits for a silent worker gives it its own FailoverTime, where that is longer",
		Promise:   "P2", Without: "during a rollout that changes FailoverTime, those who have the longer one are fenced, and hold on",
		File: "lease/watch.go",
		Old:  `return max(w.patience, s.told)`,
		New:  `return w.patience`,
		Test: "TestARolloutThatChangesFailoverTimeTakesNothingFromAnybodyWhoLives",
	},
	{
		Mechanism: "A worker tells its FailoverTime and HandoffTimeout in its row",
		Promise:   "P2", Without: "others go by theirs, and take its leases while it holds them",
		File: "lease/beat.go",
		Old:  `next.FailoverTime, next.HandoffTimeout = tellable(`,
		New:  `next.FailoverTime, next.HandoffTimeout = 0*tellable(`,
		Test: "TestARolloutThatChangesFailoverTimeTakesNothingFromAnybodyWhoLives",
	},
	{
		Mechanism: "A leader tells its FailoverTime in its row",
		Promise:   "P2", Without: "a follower with a shorter one replaces it again and again",
		File: "lease/lead.go",
		Old:  `FailoverTime: tellable(s.cfg.FailoverTime)}`,
		New:  `FailoverTime: 0 * tellable(s.cfg.FailoverTime)}`,
		Test: "TestARolloutThatChangesFailoverTimeTakesNothingFromAnybodyWhoLives",
	},
	{
		Mechanism: "An observer that was away itself has seen nobody stand still",
		Promise:   "P2", Without: "the time of its absence counts",
		File: "lease/watch.go",
		Old:  `return asked.Sub(last) > w.gap`,
		New:  `return false`,
		Test: "TestAMemberIsDeadWhenItsBeatsStandStillForAsLongAsItIsWatched",
	},
	{
		Mechanism: "A beat whose sender's clock stood still counts from when it was seen",
		Promise:   "P2", Without: "the clock is believed",
		File: "lease/watch.go",
		Old:  `if by.Before(unseen) || by.After(now) {`,
		New:  `if _ = unseen; by.After(now) {`,
		Test: "TestSilenceCountsFromWhenTheLastBeatWasSentAtTheLatest",
	},
	{
		Mechanism: "A worker that loses its presence stops at once",
		Promise:   "P2", Without: "it comes back, and its holds go on until then",
		File: "lease/presence.go",
		Old:  `	s.expel(ErrAbsent)`,
		New:  `	_ = ErrAbsent`,
		Test: "TestAWorkerThatLosesItsPresenceStopsAtOnce",
	},
	{
		Mechanism: "A pass that has to fence somebody waits for no stream",
		Promise:   "P1", Without: "a failover takes as long as the lists of shards",
		File: "lease/listing.go",
		Old:  `case <-l.hurryNow:`,
		New:  `case <-make(chan struct{}):`,
		Test: "TestAFailoverWaitsForNoStream",
	},
	{
		Mechanism: "Who has ended and is not fenced yet is fenced by a pass that comes soon",
		Promise:   "P1", Without: "it waits for PlanInterval after a fence without an answer",
		File: "lease/presence.go",
		Old:  `case len(ended) > 0:`,
		New:  `case false:`,
		Test: "TestAFailoverWaitsForNoStream",
	},
	{
		Mechanism: "A leader whose own beats are not answered takes nobody for dead",
		Promise:   "P5", Without: "it goes on watching",
		File: "lease/lead.go",
		Old:  `answered, cutOff := s.fresh(), s.cutOff`,
		New:  `answered, cutOff := true, time.Time{}`,
		Test: "TestALeaderWhoseOwnBeatsAreNotAnsweredTakesNobodyForDead",
	},
	{
		Mechanism: "A leader that was cut off, and maybe everybody with it, watches anew when it is back",
		Promise:   "P5", Without: "the time counts in which it was cut off",
		File: "lease/lead.go",
		Old: `	w.countFrom(cutOff)
	w.observe(asked, time.Now(), members...)`,
		New: `	_ = cutOff
	w.observe(asked, time.Now(), members...)`,
		Test: "TestALeaderThatWasCutOffWatchesAnew",
	},
	{
		Mechanism: "A worker gives up what was assigned to it before its row ends",
		Promise:   "P2", Without: "the row ends at once",
		File: "lease/session.go",
		Old: `	if err == nil {
		s.parallel(len(rows)`,
		New: `	if err == nil && false {
		s.parallel(len(rows)`,
		Test: "TestAWorkerEndsItsRowWithNothingHeldAndNoTakePending",
	},

	// Rule 3: a beat tells of changes.
	{
		Mechanism: "A bump comes after the change that it announces",
		Promise:   "P2", Without: "it comes before",
		File: "lease/pass.go",
		Old: `	written, err := l.apply(ctx, moves)
	l.bumpAll(ctx, members, written, leases)`,
		New: `	l.bumpAll(ctx, members, moves, nil)
	written, err := l.apply(ctx, moves)`,
		Test: "TestRule/ABumpComesAfterTheChangeThatItAnnounces",
	},
	{
		Mechanism: "A re-read applies the revision that was seen before it began",
		Promise:   "P2", Without: "it applies the one that is seen when it ends",
		File: "lease/poll.go",
		Old:  `s.right.apply(reading)`,
		New:  `reading = s.right.read(); s.right.apply(reading)`,
		Test: "TestRule/AReReadAppliesTheRevisionSeenBeforeItBegan",
	},
	{
		Mechanism: "A re-read covers the leases whose take is pending",
		Promise:   "P2", Without: "it covers those that are held",
		File: "lease/poll.go",
		Old:  `for key := range s.slots {`,
		New: `for key, h := range s.slots {
		if h.term == 0 {
			continue
		}`,
		Test: "TestRule/AReReadCoversPendingTakes",
	},
	{
		Mechanism: "An answer to a take that a re-read has overtaken begins nothing",
		Promise:   "P2", Without: "the term begins",
		File: "lease/serve.go",
		Old:  `if h.moved || s.leaving || !s.fresh() || h.ctx.Err() != nil {`,
		New:  `if s.leaving || !s.fresh() || h.ctx.Err() != nil {`,
		Test: "TestRule/AReReadCoversPendingTakes",
	},
	{
		Mechanism: "A bump that is not read ends the right to process, however well the worker beats",
		Promise:   "P2", Without: "beats are enough",
		File: "lease/right.go",
		Old:  `if by := r.drainBy(); r.stale() && by.Before(beat) {`,
		New:  `if by := r.drainBy(); false && by.Before(beat) {`,
		Test: "TestAnUnreadBumpEndsTheRightWithTheHandoffTimeout",
	},
	{
		Mechanism: "A hold that is to be handed over ends before the leader forces it",
		Promise:   "P2", Without: "it goes on until it is done",
		File: "lease/beat.go",
		Old:  `h.cancel(ErrDrained)`,
		New:  `_ = ErrDrained`,
		Test: "TestADrainsDeadlineIsFixedWhenItIsLearnedAndNeverExtended",
	},
	{
		Mechanism: "The deadline of a drain is fixed when it is learned",
		Promise:   "P2", Without: "it moves with every later beat",
		File: "lease/beat.go",
		Old:  `if left := h.drainBy.Sub(now); left > 0 {`,
		New:  `if left := s.right.drainBy().Sub(now); left > 0 {`,
		Test: "TestADrainsDeadlineIsFixedWhenItIsLearnedAndNeverExtended",
	},

	// Rule 4: force late.
	{
		Mechanism: "A handoff is forced only HandoffTimeout after it was announced",
		Promise:   "P2", Without: "it is forced in the next pass",
		File: "lease/handoffs.go",
		Old:  `now.Sub(at) >= from.handoff(h.after)`,
		New:  `now.Sub(at) >= 0*from.handoff(h.after)`,
		Test: "TestAHandoffIsTheLeavingOfOneTermByOneWorker",
	},
	{
		Mechanism: "A leader gives who is to let go its own HandoffTimeout, where that is longer",
		Promise:   "P2", Without: "during a rollout that changes HandoffTimeout, those who have the longer one are forced, and hold on",
		File: "lease/handoffs.go",
		Old:  `now.Sub(at) >= from.handoff(h.after)`,
		New:  `now.Sub(at) >= h.after`,
		Test: "TestARolloutThatChangesHandoffTimeoutForcesNobodyWhoKeepsToHisOwn",
	},
	{
		Mechanism: "The time of a handoff runs from an acknowledged bump",
		Promise:   "P2", Without: "it runs from a bump that may never have arrived",
		File: "lease/pass.go",
		Old:  `m.Fenced || !l.bump(ctx, m) {`,
		New:  `m.Fenced || !l.bump(ctx, m) && false {`,
		Test: "TestRule/AHandoffIsForcedOnlyAfterTheLeadersOwnAcknowledgedBump",
	},
	{
		Mechanism: "A new leader announces again the handoffs that it finds",
		Promise:   "P2", Without: "it relies on the bump of the former one",
		File: "lease/pass.go",
		Old:  `if !replaced[row.Key] {`,
		New:  `if false {`,
		Test: "TestANewLeaderBumpsAgainAndStartsItsOwnTime",
	},

	// Rule 5: CheckpointOwner, once set, is only ever cleared.
	{
		Mechanism: "A live owner is asked before its lease moves",
		Promise:   "P2, P5", Without: "the lease is taken from it",
		File: "lease/transition.go",
		Old:  `if in[l.Owner] {`,
		New:  `if false {`,
		Test: "TestRule/ALiveOwnerIsAskedBeforeItsLeaseMoves",
	},
	{
		Mechanism: "A second move leaves the former holder the right to checkpoint",
		Promise:   "P2", Without: "the right goes to whoever was to have the lease",
		File: "lease/transition.go",
		Old: `	if l.CheckpointOwner == "" {
		l.CheckpointOwner = l.Owner`,
		New: `	if l.Owner != "" {
		l.CheckpointOwner = l.Owner`,
		Test: "TestTransitions",
	},
	{
		Mechanism: "The new owner waits for the former one to let go",
		Promise:   "P2", Without: "it takes the lease at once",
		File: "lease/poll.go",
		Old:  `case row.CheckpointOwner != "":`,
		New:  `case row.CheckpointOwner != "" && false:`,
		Test: "TestTheNewOwnerWaitsForTheFormerOne",
	},
	{
		Mechanism: "A forced handoff ends the term, whatever came between",
		Promise:   "P2", Without: "the former holder's term goes on",
		File: "lease/pass.go",
		Old:  `next.Owner, next.CheckpointOwner, next.Term = owner, checkpointOwner, term`,
		New:  `next.Owner, next.CheckpointOwner, term = owner, checkpointOwner, next.Term; _ = term`,
		Test: "TestAForcedHandoffEndsTheTermThoughACheckpointCameBetween",
	},
	{
		Mechanism: "A shard that left its stream is given up on when no worker has it",
		Promise:   "P1, P3", Without: "the records that a worker is busy with come to nothing, beside those of the children",
		File: "lease/pass.go",
		Old:  `if in[row.Owner] || in[row.CheckpointOwner] {`,
		New:  `if in[""] {`,
		Test: "TestAShardThatLeftASlowStreamIsGivenUpOnUnlessAWorkerHasIt",
	},
	{
		Mechanism: "A lease that is moved before it was held is let go at once",
		Promise:   "P1", Without: "everybody waits until the handoff is forced",
		File: "lease/poll.go",
		Old:  `case row.CheckpointOwner == s.me || row.CheckpointOwner == "" && s.leaving:`,
		New:  `case row.CheckpointOwner == "" && s.leaving:`,
		Test: "TestALeaseThatWasNeverHeldIsLetGoAtOnce",
	},

	// Handing over without a pause.
	{
		Mechanism: "A worker that stops goes on until its leases are handed off",
		Promise:   "P5", Without: "it lets go at once, and nobody is there to take them",
		File: "lease/session.go",
		Old:  `grace += s.handOver(life)`,
		New:  `s.part(true, true)`,
		Test: "TestADeployLeavesEachShardWithoutAHolderForAMomentOnly",
	},
	{
		Mechanism: "A former owner goes on until its successor has been told",
		Promise:   "P5", Without: "it lets go when it is told itself",
		File: "lease/right.go",
		Old:  `at, latest := now.Add(notice), drainBy`,
		New:  `at, latest := now, drainBy`,
		Test: "TestAFormerOwnerGoesOnUntilItsSuccessorHasBeenTold",
	},
	{
		Mechanism: "The notice leaves the callbacks half of a handoff's time",
		Promise:   "P5", Without: "it may take all of it",
		File: "lease/right.go",
		Old:  `drainBy.Add(-r.handoff/2)`,
		New:  `drainBy`,
		Test: "TestTheNoticeLeavesTheCallbacksHalfOfAHandoffsTime",
	},
	{
		Mechanism: "A successor waits for the former owner, however often it looks",
		Promise:   "P2", Without: "it takes the lease when it looks",
		File: "lease/handover.go",
		Old: `		case row.CheckpointOwner == "":
			s.occupy(ctx, row)`,
		New: `		case true:
			s.occupy(ctx, row)`,
		Test: "TestASuccessorLooksOftenAtWhatItWaitsForAndNotForEver",
	},
	{
		Mechanism: "A successor looks rarely when a handoff takes long",
		Promise:   "P8", Without: "it goes on as it began",
		File: "lease/handover.go",
		Old:  `if known > s.cfg.FailoverTime {`,
		New:  `if known < 0 {`,
		Test: "TestASuccessorLooksOftenAtWhatItWaitsForAndNotForEver",
	},
	{
		Mechanism: "A worker that stops waits for nobody when nobody is left",
		Promise:   "P5", Without: "it hopes for an heir",
		File: "lease/handover.go",
		Old:  `alone, late := !s.heirs(ctx, others), ctx.Err() != nil`,
		New:  `alone, late := s.heirs(ctx, others) && false, ctx.Err() != nil`,
		Test: "TestWhereNobodyCanTakeAnythingAStopWaitsForNobody",
	},
	{
		Mechanism: "A worker that stops does not wait for one that is dead",
		Promise:   "P5", Without: "the stop waits for a leader that does not come",
		File: "lease/handover.go",
		Old:  ` && others.fate(m.Incarnation) == alive`,
		New:  ``,
		Test: "TestWhereNobodyCanTakeAnythingAStopWaitsForNobody",
	},
	{
		Mechanism: "What is handed off to nobody is let go in time",
		Promise:   "P5", Without: "it is kept until Drain is over",
		File: "lease/handover.go",
		Old:  `if all || (late || s.planned) && h.letGo.IsZero() {`,
		New:  `if all {`,
		Test: "TestWhereNobodyCanTakeAnythingAStopWaitsForNobody",
	},
	{
		Mechanism: "A leader that stops plans for itself as for any other worker that does",
		Promise:   "P5", Without: "it keeps its leases",
		File: "lease/pass.go",
		Old:  `l.resignFrom(members)`,
		New:  `_ = members`,
		Test: "TestALeaderThatStopsHandsItsOwnLeasesOffBeforeItLetsThemGo",
	},
	{
		Mechanism: "A leader heeds what it has written of its own leases",
		Promise:   "P5", Without: "it lets go what it has just handed off, before its successor was told",
		File: "lease/pass.go",
		Old:  `h.observe(c.next)`,
		New:  `_ = h`,
		Test: "TestALeaderThatStopsHandsItsOwnLeasesOffBeforeItLetsThemGo",
	},

	{
		Mechanism: "A row that cannot be understood stands for no other",
		Promise:   "P5", Without: "a worker that holds it can re-read none of its rows, and loses all",
		File: "lease/poll.go",
		Old:  `if !errors.Is(err, ErrUnreadable) {`,
		New:  `if true {`,
		Test: "TestARowThatCannotBeUnderstoodIsLostAndNoOther",
	},
	{
		Mechanism: "A row that cannot be understood is no end of a listing",
		Promise:   "P1", Without: "one such row, and no leader can plan and no worker sees what is its own",
		File:    "lease/internal/sqlstore/listed.go",
		Old:     `if errors.Is(err, lease.ErrUnreadable) {`,
		New:     `if errors.Is(nil, lease.ErrUnreadable) {`,
		Package: "lease/sqlite",
		Test:    "TestTheSQLiteStoreKeepsTheContract/ARowThatCannotBeUnderstoodIsPassedOverInListings",
	},
	{
		Mechanism: "The SQLite store says that a row cannot be understood",
		Promise:   "P5", Without: "to a worker it is a store that fails, and all its other rows stay unread",
		File: "lease/sqlite/row.go",
		Old:  `fmt.Errorf("lease %s: %w: %w", l.Key, lease.ErrUnreadable, err)`,
		New:  `fmt.Errorf("lease %s: %w", l.Key, err)`,
		Test: "TestTheSQLiteStoreKeepsTheContract/WhoReadsARowThatCannotBeUnderstoodIsTold",
	},
	{
		Mechanism: "The PostgreSQL store says that a row cannot be understood",
		Promise:   "P5", Without: "to a worker it is a store that fails, and all its other rows stay unread",
		File: "lease/postgres/row.go",
		Old:  `fmt.Errorf("lease %s: %w: %w", l.Key, lease.ErrUnreadable, err)`,
		New:  `fmt.Errorf("lease %s: %w", l.Key, err)`,
		Test: "TestThePostgresStoreKeepsTheContract/Prepared/WhoReadsARowThatCannotBeUnderstoodIsTold",
	},

	// Rule 6: a write without an answer is unknown.
	{
		Mechanism: "A write without an answer is read back",
		Promise:   "P2, P4", Without: "it is taken for a success",
		File: "lease/held.go",
		Old: `		return row, true, err
	}
	reading, cancel`,
		New: `		return row, true, err
	default:
		next.Counter = base.Counter + 1
		return next, true, nil
	}
	reading, cancel`,
		Test: "TestAWriteWithoutAnAnswerIsReadBack",
	},
	{
		Mechanism: "A conflict is no loss when the row shows that the write went through",
		Promise:   "P5", Without: "every conflict is one",
		File: "lease/held.go",
		Old:  `if row.Counter <= base.Counter || !sameState(row.Checkpoint, next.Checkpoint) {`,
		New:  `if true {`,
		Test: "TestAWriteWithoutAnAnswerIsReadBack",
	},
	{
		Mechanism: "A last write that somebody saw go through is no loss",
		Promise:   "P5", Without: "it is taken for one",
		File: "lease/held.go",
		Old:  `return h.unless(last && sent, err)`,
		New:  `return h.unless(sent && false, err)`,
		Test: "TestALastWriteThatAPollSawGoThroughIsNoLoss",
	},
	{
		Mechanism: "A take without an answer is read back",
		Promise:   "P1", Without: "it is taken for a loss",
		File: "lease/serve.go",
		Old:  `if err == nil || known && StandingOf(row, s.me, base.Counter+1) != Lost {`,
		New:  `if err == nil {`,
		Test: "TestATakeWithoutAnAnswerIsReadBack",
	},

	// Rule 7: bumps and notifications only speed things up.
	{
		Mechanism: "Workers look for their leases without being told",
		Promise:   "P1", Without: "they wait for a bump",
		File: "lease/poll.go",
		Old:  `delay := dice.about(s.cfg.PlanInterval)`,
		New:  `delay := 1000 * dice.about(s.cfg.PlanInterval)`,
		Test: "TestALeaderThatDiesBeforeItTellsLeavesNoShardIdle",
	},

	// The row.
	{
		Mechanism: "A holder that sees another one in the row is lost",
		Promise:   "P2", Without: "it writes over the row as it is",
		File: "lease/held.go",
		Old: `	case Lost:
		h.lose()`,
		New: `	case Lost:
		_ = h.lose`,
		Test: "TestAFormerOwnerCannotCheckpoint",
	},
	{
		Mechanism: "What a worker holds is told by its term, not by its name",
		Promise:   "P2", Without: "a row with its name will do",
		File: "lease/transition.go",
		Old:  `case worker == "" || l.Term != term || l.Finished():`,
		New:  `case worker == "" || l.Finished():`,
		Test: "TestStandings",
	},
	{
		Mechanism: "A stored checkpoint never goes back",
		Promise:   "P4", Without: "the last one to be written counts",
		File: "lease/transition.go",
		Old:  `if s.Position.Compare(l.Checkpoint.Position) < 0 {`,
		New:  `if false {`,
		Test: "TestACheckpointNeverGoesBack",
	},

	// Parents and children.
	{
		Mechanism: "A worker does not begin a child before its parents are finished",
		Promise:   "P3", Without: "it begins what it is given",
		File: "lease/serve.go",
		Old:  `if len(l.Parents) == 0 || l.Begun() {`,
		New:  `if true {`,
		Test: "TestStatusTellsWhatIsHeldAndWhyTheRestWaits",
	},
	{
		Mechanism: "A child belongs to nobody before all its parents are finished",
		Promise:   "P3", Without: "it is assigned at once",
		File: "lease/plan.go",
		Old:  `if !p.waiting(l) {`,
		New:  `if true {`,
		Test: "TestPlan/AChildWaitsForAllItsParents",
	},
	{
		Mechanism: "Rows of parents are created before those of their children",
		Promise:   "P3", Without: "all are created at once",
		File: "lease/sync.go",
		Old:  `if !slices.ContainsFunc(sh.Parents, func(p string) bool { return missing[p] != nil }) {`,
		New:  `if true {`,
		Test: "TestSync/FirstContactAtTrimHorizonTakesAllParentsFirst",
	},
	{
		Mechanism: "A finished row stays until all children have begun",
		Promise:   "P3", Without: "it is retired when it is finished",
		File: "lease/sync.go",
		Old:  `passed = (passed || len(past.children[l.Shard]) == 0 && !listed) &&`,
		New:  `passed = (passed || len(past.children[l.Shard]) > 0 || !listed) &&`,
		Test: "TestSync/AParentStaysUntilAllChildrenHaveBegun",
	},
	{
		Mechanism: "A shard that was retired is not created again",
		Promise:   "P3", Without: "every shard without a row gets one",
		File: "lease/sync.go",
		Old:  `if s.rows[sh.ID] != nil || behind[sh.ID] {`,
		New:  `if s.rows[sh.ID] != nil || behind == nil {`,
		Test: "TestSync/ARetiredShardIsNotCreatedAgain",
	},
	{
		Mechanism: "Parents are retired before their children",
		Promise:   "P4", Without: "in any order, so that the row of a parent tells nothing",
		File: "lease/sync.go",
		Old:  `!slices.ContainsFunc(l.Parents, func(p string) bool { return s.rows[p] != nil })`,
		New:  `true`,
		Test: "TestSync/AParentIsRetiredBeforeItsChildren",
	},
	{
		Mechanism: "A worker claims the children of its shard only while their parents are not retired",
		Promise:   "P4", Without: "always, though its creation of their rows came late",
		File:    "lease/serve.go",
		Old:     `return slices.ContainsFunc(row.Parents, func(p string) bool { l := parents[p]; return !l.Finished() })`,
		New:     `return false`,
		Package: "internal/sim",
		Test:    "TestIncidentACreationArrivesWhenItsShardIsRetired",
	},
	{
		Mechanism: "A stream that hangs holds up no pass of the leader for long",
		Promise:   "P2", Without: "each pass waits for it",
		File: "lease/listing.go",
		Old:  `patience, cancel := context.WithTimeout(ctx, l.cfg.PlanInterval/2)`,
		New:  `patience, cancel := context.WithTimeout(ctx, l.cfg.FailoverTime)`,
		Test: "TestAStreamThatHangsHoldsUpNoPassForLong",
	},
	{
		Mechanism: "A row that a late leader created after its shard was retired is retired again",
		Promise:   "P3", Without: "it is processed from its beginning",
		File: "lease/sync.go",
		Old:  `if passed && (l.Finished() || l.Term == 0 && !l.Begun()) {`,
		New:  `if passed && l.Finished() {`,
		Test: "TestARowThatALateLeaderCreatedAfterItsShardWasRetiredIsRetiredAgain",
	},
	{
		Mechanism: "A row of another program with a checkpoint is none that came too late",
		Promise:   "P1", Without: "a row without a term has never been held",
		File: "lease/sync.go",
		Old:  `if passed && (l.Finished() || l.Term == 0 && !l.Begun()) {`,
		New:  `if passed && (l.Finished() || l.Term == 0) {`,
		Test: "TestARowOfAnotherProgramIsNoneThatCameTooLate",
	},
	{
		Mechanism: "LATEST becomes a concrete position before anybody is given the row",
		Promise:   "P1", Without: "it is given out as it is",
		File: "lease/pass.go",
		Old:  `l.pin(ctx, from.stream, todo.Pin, leases)`,
		New:  `l.pin(ctx, from.stream, nil, leases)`,
		Test: "TestARowThatSaysLatestIsGivenToNobodyBeforeItIsPinned",
	},
	{
		Mechanism: "A row whose place could not be pinned is given to nobody",
		Promise:   "P1", Without: "it is given out as it is",
		File: "lease/pass.go",
		Old:  `return unseen || unpinned(c.old)`,
		New:  `return unseen`,
		Test: "TestARowThatSaysLatestIsGivenToNobodyWhileItsStreamHangs",
	},
	{
		Mechanism: "A new row of a stream that could not be listed is given to nobody",
		Promise:   "P2", Without: "one that came too late begins a shard again that was finished and retired, under an older term",
		File: "lease/pass.go",
		Old:  `l.unseen[fresh.Key] = fresh.StreamID`,
		New:  `_ = fresh`,
		Test: "TestALeaderGivesOutNoNewRowOfAStreamThatItCannotList",
	},
	{
		Mechanism: "A checkpoint that has no room in its row is told to whoever asked for it",
		Promise:   "P1", Without: "it is tried again for ever, and no other is stored",
		File: "lease/held.go",
		Old:  `case errors.Is(err, checkpoint.ErrTooLarge):`,
		New:  `case errors.Is(err, checkpoint.ErrTooLarge) && ctx.Err() != nil:`,
		Test: "TestACheckpointThatHasNoRoomIsNotTriedAgain",
	},
	{
		Mechanism: "Rows that came too late, of a shard and of its children, are retired together",
		Promise:   "P3", Without: "each one covers its parent, which is processed again",
		File: "lease/sync.go",
		Old:  `(row == nil || row.Term == 0) && p.over(c)`,
		New:  `row == nil && p.over(c)`,
		Test: "TestRowsThatCameTooLateAreRetiredTogether",
	},
	{
		Mechanism: "A leader takes a second look at the rows that it has created before it gives them to anybody",
		Promise:   "P3", Without: "it gives them out as it created them",
		File: "lease/pass.go",
		Old:  `_, unseen := l.unseen[c.old.Key]`,
		New:  `_, unseen := l.unseen[c.old.Key+"?"]`,
		Test: "TestALeaderGivesOutNoRowThatCameTooLate",
	},
	{
		Mechanism: "Later shards begin at TRIM_HORIZON",
		Promise:   "P1", Without: "they begin where the first ones did",
		File: "lease/sync.go",
		Old:  `if s.firstContact(sh) {`,
		New:  `if true {`,
		Test: "TestSync/LaterShardsBeginAtTrimHorizon",
	},
	{
		Mechanism: "A listing that is not complete is not acted on",
		Promise:   "P1", Without: "its part counts as the whole",
		File: "lease/listing.go",
		Old: `	shards, err := s.Shards(asking)
	if err != nil {`,
		New: `	shards, err := s.Shards(asking)
	if err != nil && len(shards) == 0 {`,
		Test: "TestAListingThatBreaksOffIsNotActedOn",
	},
	{
		Mechanism: "A listing without shards is no listing",
		Promise:   "P1", Without: "all rows count as gone",
		File: "lease/sync.go",
		Old:  `if len(shards) == 0 {`,
		New:  `if false {`,
		Test: "TestAnEmptyListingRetiresNothing",
	},

	{
		Mechanism: "What is left of a first contact that broke off begins where the first contact was to",
		Promise:   "P1", Without: "it begins at TRIM_HORIZON, with all that is old",
		File: "lease/sync.go",
		Old:  `if s.firstContact(sh) {`,
		New:  `if len(s.rows) == 0 {`,
		Test: "TestAFirstContactThatBreaksOffGoesOnWhereItWasToBegin",
	},
	{
		Mechanism: "A lease goes to a worker that serves its stream",
		Promise:   "P1", Without: "it goes to anybody",
		File: "lease/plan.go",
		Old:  `return (!p.served[id] || b.streams[id])`,
		New:  `return (!p.served[id] || b.streams[id] || true)`,
		Test: "TestPlan/LeasesGoToThoseWhoServeTheirStream",
	},
	{
		Mechanism: "A checkpoint that a transaction finds stored is not stored with it again",
		Promise:   "P6", Without: "effects whose commit had no answer happen twice",
		File: "lease/held.go",
		Old:  `case row.Checkpoint.Position.Compare(state.Position) >= 0:`,
		New:  `case row.Checkpoint.Position.Compare(state.Position) > 0:`,
		Test: "TestACheckpointInATransactionIsThereWhenThatCommits",
	},
	{
		Mechanism: "What a transaction has written itself is not taken for committed before",
		Promise:   "P6", Without: "a second checkpoint in one transaction drops its effects",
		File: "lease/held.go",
		Old:  `			if inside {`,
		New:  `			if inside && false {`,
		Test: "TestACheckpointInATransactionIsThereWhenThatCommits",
	},
	{
		Mechanism: "A transaction sees who has the shard",
		Promise:   "P6", Without: "a former holder commits effects beside the new one",
		File: "lease/held.go",
		Old:  `case StandingOf(row, h.s.me, h.term) == Lost:`,
		New:  `case false:`,
		Test: "TestATransactionOfAFormerHolderDoesNotCommit",
	},
	{
		Mechanism: "What a transaction has stored stays when the worker stores less",
		Promise:   "P4", Without: "a shard whose effects are committed can not be checkpointed any more",
		File: "lease/held.go",
		Old:  `at.Compare(h.joined) <= 0`,
		New:  `false`,
		Test: "TestAnOlderCheckpointDoesNotUndoTheOneOfATransaction",
	},
	{
		Mechanism: "A leader makes way for a worker that serves more streams",
		Promise:   "P1", Without: "nobody looks after the others",
		File: "lease/pass.go",
		Old:  `if l.outdone(members) {`,
		New:  `if false {`,
		Test: "TestARolloutThatAddsAStreamGivesItToThoseWhoServeIt",
	},
	{
		Mechanism: "A leader that cannot see a stream makes way for a worker that may",
		Promise:   "P1", Without: "it leads on, and nobody looks after the stream",
		File: "lease/pass.go",
		Old:  `if l.blind(members) {`,
		New:  `if false {`,
		Test: "TestALeaderThatCannotSeeItsStreamMakesWay",
	},
	{
		Mechanism: "A leader makes way for a worker that serves a stream which it has never reached",
		Promise:   "P1", Without: "only for those who know the stream as the same one",
		File: "lease/pass.go",
		Old:  `|| !own.covers(m.Streams)`,
		New:  `|| !own.covers(m.Streams) && false`,
		Test: "TestALeaderMakesWayForOneWhoServesWhatItNeverReached",
	},

	{
		Mechanism: "A leader whose pass hangs loses the office",
		Promise:   "P1", Without: "it beats on and plans nothing",
		File: "lease/lead.go",
		Old:  `if steps := l.steps.Load(); steps != seen {`,
		New:  `if steps := l.steps.Load(); steps != seen || true {`,
		Test: "TestALeaderWhosePassHangsLosesTheOffice",
	},
	{
		Mechanism: "A leader whose passes take long and go on keeps the office",
		Promise:   "P1", Without: "no leader gets to plan where many streams hang",
		File: "lease/pass.go",
		Old: `		f(i)
		l.steps.Add(1)`,
		New: `		f(i)
		l.steps.Add(0)`,
		Test: "TestALeaderWhosePassesTakeLongAndGoOnKeepsTheOffice",
	},

	// A stream that was deleted and created again.
	{
		Mechanism: "Rows of a former incarnation of the stream are never applied to this one",
		Promise:   "P9", Without: "the stream's name is enough",
		File: "lease/sync.go",
		Old:  `case l.StreamID == s.id:`,
		New:  `case l.Stream == id.Name:`,
		Test: "TestSync/AFormerIncarnationIsRetiredAndNeverApplied",
	},
	{
		Mechanism: "A leader that is behind leaves the rows of a later incarnation alone",
		Promise:   "P9", Without: "it retires them",
		File: "lease/sync.go",
		Old:  `case l.Stream == id.Name && createdBefore(l.StreamID, id):`,
		New:  `case l.Stream == id.Name:`,
		Test: "TestSync/ALaterIncarnationIsLeftAlone",
	},
}
