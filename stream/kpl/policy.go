package kpl

import (
	"fmt"

	"github.com/millrace/millrace/stream"
)

// Policy is what to do with aggregates, and with records in them that do not
// belong to the shard in which they are found.
//
// There are such records when a producer took the shard of an aggregate for
// another one than it was: it did not know yet that the shard had been split, or
// it packed together what goes to different shards. The KPL notices by the
// answer to its put and sends them again, to the shard where they belong; other
// producers do not. On streams that place records without regard for their keys,
// most records look as if they did not belong.
type Policy uint8

const (
	// Deliver unpacks aggregates and gives all their records, those of other
	// shards as well: they are not lost if nobody sends them again, and come
	// twice if somebody does. It is the zero value.
	Deliver Policy = iota
	// Drop leaves out records that do not belong to the shard. It is for the
	// KPL as the only producer. (The KCL leaves out the whole aggregate then, with
	// the records that do belong to the shard and are not sent again.)
	Drop
	// Fail gives an [*OutOfRangeError] in place of a record that does not belong
	// to the shard, again and again: reading goes no further until somebody
	// decides for one of the others.
	Fail
	// Keep does not unpack: aggregates are given as they are. A position behind the
	// first record of an aggregate is behind all of it.
	Keep
)

var policies = [...]string{Deliver: "deliver", Drop: "drop", Fail: "fail", Keep: "keep"}

// String returns the word for p: "deliver", "drop", "fail" or "keep".
func (p Policy) String() string {
	if int(p) < len(policies) {
		return policies[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// Valid reports whether p is one of the policies.
func (p Policy) Valid() bool { return int(p) < len(policies) }

// OutOfRangeError says that an aggregate has a record that does not belong to
// the shard in which it was found.
type OutOfRangeError struct {
	Shard    string
	Sequence stream.Sequence  // of the record, with its place in the aggregate
	Hash     stream.Hash      // where the record falls
	Range    stream.HashRange // what the shard holds
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("%s: the record %v inside an aggregate falls on %v, and the shard holds %v: deliver such records, drop them, or mend the producer",
		e.Shard, e.Sequence, e.Hash, e.Range)
}
