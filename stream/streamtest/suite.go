package streamtest

import (
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace/millrace/stream"
)

// Shards is how many shards a new [Subject] has.
const Shards = 4

// Features says what a stream can do beyond reading and writing, which every
// one must. Scenarios that need more are left out.
type Features struct {
	// Reshard says that the stream is a [stream.Resharder]. Default: false.
	Reshard bool
	// Subscribe says that the stream is a [stream.Subscriber]. Default: false.
	Subscribe bool
	// HashKeys says that Put obeys explicit hash keys. Default: false.
	HashKeys bool
	// Retention says that [Subject.Expire] is there, and that readers are told
	// of what they missed. Default: false.
	Retention bool
	// Recreate says that [Subject.Recreate] is there. Default: false.
	Recreate bool
}

// allows reports whether f has everything that is needed.
func (f Features) allows(needed Features) bool {
	return (f.Reshard || !needed.Reshard) &&
		(f.Subscribe || !needed.Subscribe) &&
		(f.HashKeys || !needed.HashKeys) &&
		(f.Retention || !needed.Retention) &&
		(f.Recreate || !needed.Recreate)
}

// Subject is a stream under test: new, empty, and with [Shards] open shards
// that divide the hash space evenly. Other seams than Putter are found on
// Stream by type assertion.
type Subject struct {
	Stream stream.Stream
	// Putter writes to Stream. Default: Stream itself.
	Putter stream.Putter
	// Refused are entries that Put answers with errors of their own, one by
	// one. Default: none: the stream refuses only whole calls.
	Refused []stream.Entry
	// Uneven says that UpdateShardCount may leave ranges of different sizes, as
	// Kinesis does. Default: false.
	Uneven bool
	// Expire makes retention drop every record that was put so far, and returns
	// when they are gone.
	Expire func(t testing.TB)
	// Recreate deletes the stream and returns a new one of the same name.
	Recreate func(t testing.TB) stream.Stream
}

// Scenario is one sentence of the contract.
type Scenario struct {
	// Name is the sentence.
	Name string
	// Run tests it. The subject is used up afterwards.
	Run func(t testing.TB, s Subject)
}

// Run tests a stream against the whole contract, one subtest for each
// scenario. newSubject is called once for each, and cleans up by t.Cleanup.
func Run(t *testing.T, f Features, newSubject func(t testing.TB) Subject) {
	for _, scenario := range Scenarios(f) {
		t.Run(scenario.Name, func(t *testing.T) { scenario.Run(t, newSubject(t)) })
	}
}

// Scenarios returns those that apply to a stream with these features.
func Scenarios(f Features) []Scenario {
	var scenarios []Scenario
	for _, c := range contract {
		if f.allows(c.needs) {
			scenarios = append(scenarios, Scenario{nameOf(c.run), c.run})
		}
	}
	return scenarios
}

// contract is every scenario with what it needs.
var contract = []struct {
	run   func(testing.TB, Subject)
	needs Features
}{
	{run: EveryRecordComesOnceAndInOrder},
	{run: EntriesOfOneCallKeepTheirOrder},
	{run: ReadingAPositionTwiceGivesEqualRecords},
	{run: ConcurrentPutsAndReadersLoseNothing},

	{run: BatchesStayWithinMaxRecords},
	{run: BatchesStayWithinMaxBytes},
	{run: ABatchKeepsNoMoreAliveThanItMay},
	{run: AnOversizedRecordComesAlone},
	{run: ABatchUsesItsMemoryAgain},
	{run: RecordsStayAsTheyWereRead},
	{run: PutKeepsNothingOfItsEntries},
	{run: ABatchTellsHowFarItIsBehind},

	{run: TrimHorizonIsTheBeginning},
	{run: LatestBeginsWithWhatIsPutNext},
	{run: AtBeginsWithThatRecordAndAfterWithTheNext},
	{run: AtAMissingNumberBeginsWithTheNextRecord},
	{run: AtTimeBeginsWithWhatArrivedThen},
	{run: APinStaysWhereItWas},
	{run: ThePositionShardEndEndsAtOnce},
	{run: UnknownShardsAreRefused},

	{run: NextWaitsForAPut},
	{run: APutWakesEveryReader},
	{run: NextReturnsTheCauseOfItsContext},
	{run: CloseWakesNext},
	{run: EveryMethodReturnsTheCauseOfItsContext},

	{run: ShardsDivideTheHashSpace},
	{run: APartitionKeyGoesToTheShardOfItsMD5},
	{run: AHashKeyGoesToTheShardThatHoldsIt, needs: Features{HashKeys: true}},
	{run: ARefusedEntryLeavesTheOthersAlone},

	{run: ASplitShardEndsWithItsChildren, needs: Features{Reshard: true}},
	{run: AMergedChildIsNamedAtTheEndOfBothParents, needs: Features{Reshard: true}},
	{run: AChildHasNothingOfItsParent, needs: Features{Reshard: true}},
	{run: AnEmptyParentEndsAtOnce, needs: Features{Reshard: true}},
	{run: AReshardWakesAWaitingReader, needs: Features{Reshard: true}},
	{run: AChildCanBeSplitAgain, needs: Features{Reshard: true}},
	{run: AReshardLosesNothing, needs: Features{Reshard: true}},
	{run: TheShardCountGoesUpAndDown, needs: Features{Reshard: true}},
	{run: AnImpossibleReshardChangesNothing, needs: Features{Reshard: true}},

	{run: ASubscriberGetsWhatAReaderGets, needs: Features{Subscribe: true}},
	{run: ASubscriberGetsWhatIsPutLater, needs: Features{Subscribe: true}},
	{run: ASlowSubscriberHindersNobody, needs: Features{Subscribe: true}},
	{run: ASubscriptionStaysWithinItsLimits, needs: Features{Subscribe: true}},
	{run: TheErrorOfAHandleEndsItsSubscription, needs: Features{Subscribe: true}},
	{run: ASubscriptionEndsWithTheCauseOfItsContext, needs: Features{Subscribe: true}},
	{run: ASubscriptionEndsWithItsShard, needs: Features{Subscribe: true, Reshard: true}},

	{run: ReadingBeginsBehindWhatWasDropped, needs: Features{Retention: true}},
	{run: AReaderIsToldOnceOfWhatItMissed, needs: Features{Retention: true}},
	{run: TheIdentityStays},
	{run: ARecreatedStreamIsAnotherOne, needs: Features{Recreate: true}},
}

// nameOf returns the name of a function without its package.
func nameOf(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}
