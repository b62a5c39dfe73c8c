package main

// serverMutants take out what keeps the server's own knowledge of streams.
var serverMutants = []Mutant{
	{
		Mechanism: "The server's state is synced before it takes the place of the old one",
		Promise:   "P7", Without: "it is written some day",
		File: "engine/server/internal/state/store.go",
		Old: `	if err == nil {
		err = f.Sync()
	}`,
		New:  ``,
		Test: "TestAPowerCutLeavesTheOldStateOrTheNewOne",
	},
	{
		Mechanism: "The directory is synced when the server's state gets its name",
		Promise:   "P7", Without: "the name is durable some day",
		File: "engine/server/internal/state/store.go",
		Old: `	if err == nil {
		err = dir.SyncDir()
	}`,
		New:  ``,
		Test: "TestAPowerCutLeavesTheOldStateOrTheNewOne",
	},
	{
		Mechanism: "What everybody sees of the server's state is not changed by a draft",
		Promise:   "P7", Without: "a draft has the streams themselves",
		File: "engine/server/internal/state/store.go",
		Old:  `		s = s.clone()`,
		New:  ``,
		Test: "TestWhatEverybodySeesIsNotChangedByADraft",
	},
	{
		Mechanism: "A damaged state of the server is refused",
		Promise:   "P7", Without: "its checksum is not looked at",
		File: "engine/server/internal/state/format.go",
		Old:  `	if string(line)+"\n" != fmt.Sprintf(header, version, crc32.Checksum(body, castagnoli)) {`,
		New:  `	if false {`,
		Test: "TestANewerVersionAndDamageAreRefusedWithTheFix",
	},
	{
		Mechanism: "A closed engine is not taken for one without streams",
		Promise:   "P7", Without: "what is known of its streams is forgotten",
		File: "engine/server/internal/state/store.go",
		Old: `		case err != nil:
			return err
		case !ok`,
		New: `		case err != nil:
			d.Forget(name)
			continue
		case !ok`,
		Package: "engine/server",
		Test:    "TestNothingIsForgottenWhenTheEngineIsClosedFirst",
	},
	{
		Mechanism: "What is known of a stream is known of one incarnation",
		Promise:   "P9", Without: "it is said of the next of that name",
		File: "engine/server/view.go",
		Old:  `known != nil && (known.Created == v.created.UnixMilli() || known.Created == 0)`,
		New:  `known != nil`,
		Test: "TestWhatIsKnownOfAStreamThatWasDeletedByTheProgramIsNotSaidOfTheNext",
	},
	{
		Mechanism: "What is known of an incarnation goes with it",
		Promise:   "P9", Without: "it is kept for the next of that name",
		File: "engine/server/internal/state/store.go",
		Old:  `case !ok || s.Created != 0 && s.Created != created:`,
		New:  `case !ok:`,
		Test: "TestWhatIsLeftOfStreamsAndConsumersThatWentIsTakenAway",
	},
	{
		Mechanism: "A new stream's mode is durable before the stream is",
		Promise:   "P7", Without: "it is noted afterwards only",
		File: "engine/server/internal/state/store.go",
		Old: `			s = d.Stream(name, 0)
			s.Created = created`,
		New: `			d.Forget(name)
			continue`,
		Package: "engine/server",
		Test:    "TestACrashBetweenTheAnnouncementAndTheStreamLeavesNoStreamThatForgotItsMode",
	},
	{
		Mechanism: "Iterators and tokens are authenticated",
		Promise:   "P9", Without: "whatever a client sends is believed",
		File: "engine/server/token.go",
		Old:  `return text, hmac.Equal(sum, s.sum(kind, text))`,
		New:  `return text, len(sum) > 0`,
		Test: "TestTokensAreOfOneKindOneServerAndOneStream",
	},
}
