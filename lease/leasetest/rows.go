package leasetest

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// past53 is a number that a store which keeps numbers as floating point
// cannot hold.
const past53 = 1<<53 + 1

// plain returns a row as shard sync makes it.
func plain(key string) lease.Lease {
	return lease.Lease{
		Key: key, Stream: "orders", StreamID: "orders:1700000000000", Shard: "shardId-" + key,
		Counter:    1_700_000_000_000,
		Checkpoint: checkpoint.State{Position: stream.TrimHorizon},
		Hash:       stream.FullRange,
	}
}

// owned returns a plain row that somebody owns.
func owned(key, owner string) lease.Lease {
	l := plain(key)
	l.Owner = owner
	return l
}

// full returns a row whose every field holds something.
func full(key string) lease.Lease {
	number := stream.MakeSequence(1<<58-1, 1<<63+7, 1<<64-1)
	return lease.Lease{
		Key: key, Stream: "orders", StreamID: "orders:1700000000000", Shard: "shardId-" + key,
		Owner: "w1/5f3a", CheckpointOwner: "w0/11aa",
		Counter: past53, Term: past53 - 2,
		Checkpoint: checkpoint.State{
			Position: stream.After(number.WithSub(41)),
			Pending:  checkpoint.Pending{Position: stream.At(number.Add(9)), Data: []byte("about to \x00\xff")},
			Progress: []byte{0, 1, 2, 0xfe, 0xff},
		},
		Parents:  []string{"shardId-1", "shardId-2"},
		Children: []string{"shardId-3", "shardId-4", "shardId-5"},
		Hash:     stream.HashRange{Start: stream.Hash{Hi: 1, Lo: 2}, End: stream.Hash{Hi: 1 << 63, Lo: 3}},
		Load:     lease.Load{BytesPerSecond: 1.0 / 3, RecordsPerSecond: 1e-300},
	}
}

// variant is a row that a careless store does not give back as it was.
type variant struct {
	name string
	row  lease.Lease
}

// variants returns rows with different keys, each odd in one way.
func variants() []variant {
	largest := stream.MakeSequence(1<<64-1, 1<<64-1, 1<<64-1)
	kinesis, err := stream.ParseSequence("49590338271490256608559692538361571095921575989136588898")
	if err != nil {
		panic(err)
	}
	var all []variant
	add := func(name string, change func(*lease.Lease)) {
		l := full("variant " + name)
		change(&l)
		all = append(all, variant{name, l})
	}
	position := func(name string, p stream.Position) {
		add(name, func(l *lease.Lease) { l.Checkpoint.Position = p })
		add(name+" pending", func(l *lease.Lease) { l.Checkpoint.Pending.Position = p })
	}

	add("everything set", func(*lease.Lease) {})
	add("nothing set", func(l *lease.Lease) { *l = lease.Lease{Key: l.Key} })
	position("no position", stream.Position{})
	position("trim horizon", stream.TrimHorizon)
	position("latest", stream.Latest)
	position("shard end", stream.ShardEnd)
	position("a time", stream.AtTime(time.UnixMilli(1_700_000_000_123)))
	position("a time before 1970", stream.AtTime(time.UnixMilli(-1)))
	position("at zero", stream.At(stream.Sequence{}))
	position("after zero", stream.After(stream.Sequence{}))
	position("at a Kinesis number", stream.At(kinesis))
	position("after a Kinesis number", stream.After(kinesis))
	position("after a sub-sequence", stream.After(kinesis.WithSub(1)))
	position("at a sub-sequence", stream.At(kinesis.WithSub(1<<64-1)))
	position("after the largest number", stream.After(largest))
	position("at the largest number and sub-sequence", stream.At(largest.WithSub(1<<64-1)))

	add("no owner", func(l *lease.Lease) { l.Owner = "" })
	add("no checkpoint owner", func(l *lease.Lease) { l.CheckpointOwner = "" })
	add("one owner twice", func(l *lease.Lease) { l.CheckpointOwner = l.Owner })
	add("an owner that looks like SQL", func(l *lease.Lease) { l.Owner = `'"; DROP TABLE lease; --%_\` })
	add("a unicode owner", func(l *lease.Lease) { l.Owner, l.CheckpointOwner = "köln-1/ø", "東京-2/🜁" })
	add("a long owner", func(l *lease.Lease) { l.Owner = strings.Repeat("w", 1000) })
	add("names that look like numbers", func(l *lease.Lease) { l.Stream, l.StreamID, l.Shard, l.Owner = "007", "1e3", "0x10", "1.0" })
	add("names with space around them", func(l *lease.Lease) { l.Stream, l.Shard, l.Owner = " orders ", "shard\n", "w1 " })

	add("term zero", func(l *lease.Lease) { l.Term = 0 })
	add("counter zero", func(l *lease.Lease) { l.Counter = 0 })
	add("counter one", func(l *lease.Lease) { l.Counter = 1 })
	add("counter near the end", func(l *lease.Lease) { l.Counter, l.Term = 1<<62+1, 1<<62-1 })

	add("empty note", func(l *lease.Lease) { l.Checkpoint.Pending.Data = []byte{} })
	add("no note", func(l *lease.Lease) { l.Checkpoint.Pending.Data = nil })
	add("empty progress", func(l *lease.Lease) { l.Checkpoint.Progress = []byte{} })
	add("no progress", func(l *lease.Lease) { l.Checkpoint.Progress = nil })
	add("a byte of zero", func(l *lease.Lease) { l.Checkpoint.Progress = []byte{0} })
	add("every byte", func(l *lease.Lease) { l.Checkpoint.Progress = everyByte(1) })
	add("a large progress", func(l *lease.Lease) { l.Checkpoint.Progress = everyByte(64) })

	add("no parents", func(l *lease.Lease) { l.Parents = nil })
	add("an empty list of parents", func(l *lease.Lease) { l.Parents = []string{} })
	add("one parent", func(l *lease.Lease) { l.Parents = []string{"shardId-9"} })
	add("no children", func(l *lease.Lease) { l.Children = nil })
	add("children in an order of their own", func(l *lease.Lease) { l.Children = []string{"b", "a", "c"} })
	add("ids with commas and quotes", func(l *lease.Lease) {
		l.Parents, l.Children = []string{`a,b`, `"`}, []string{`\`, `{}`, `<é>`}
	})

	add("hash range of a point", func(l *lease.Lease) { l.Hash = stream.HashRange{} })
	add("whole hash space", func(l *lease.Lease) { l.Hash = stream.FullRange })
	add("end of the hash space", func(l *lease.Lease) { l.Hash = stream.HashRange{Start: stream.MaxHash, End: stream.MaxHash} })
	add("no load", func(l *lease.Lease) { l.Load = lease.Load{} })
	add("a heavy load", func(l *lease.Lease) {
		l.Load = lease.Load{BytesPerSecond: 1.7e100, RecordsPerSecond: 123456789.123456789}
	})
	return all
}

// everyByte returns n times all 256 bytes.
func everyByte(n int) []byte {
	data := make([]byte, 256)
	for i := range data {
		data[i] = byte(i)
	}
	return bytes.Repeat(data, n)
}

// lookAlikes are keys that a careless store takes for one another.
func lookAlikes() []string {
	return []string{
		"shard", "Shard", "SHARD", "shard ", " shard", "shard\t", "shard/1", "shard/10", "shard%", "shard_", "shar_",
		"é", "e\u0301", "ß", "ss", "ﬁ", "fi", "🜁", "東京", "1", "01", "1.0", "null", "NULL", "true", "''", `""`, `\`, `{"a":1}`, "a,b",
		strings.Repeat("k", 999), strings.Repeat("k", 1000),
	}
}

func compare(a, b string) int { return cmp.Compare(a, b) }

// sorted orders rows by key, in place.
func sorted(rows []lease.Lease) []lease.Lease {
	slices.SortStableFunc(rows, func(a, b lease.Lease) int { return compare(a.Key, b.Key) })
	return rows
}

// normal returns l with empty lists and slices as nil: the contract takes
// them for the same.
func normal(l lease.Lease) lease.Lease {
	if len(l.Parents) == 0 {
		l.Parents = nil
	}
	if len(l.Children) == 0 {
		l.Children = nil
	}
	if len(l.Checkpoint.Progress) == 0 {
		l.Checkpoint.Progress = nil
	}
	if len(l.Checkpoint.Pending.Data) == 0 {
		l.Checkpoint.Pending.Data = nil
	}
	return l
}

// diffLease says in which fields two rows differ; empty when in none.
func diffLease(got, want lease.Lease) string {
	g, w := reflect.ValueOf(normal(got)), reflect.ValueOf(normal(want))
	var diffs []string
	for i := range g.NumField() {
		if a, b := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			diffs = append(diffs, fmt.Sprintf("%s: got %.200q, want %.200q", g.Type().Field(i).Name, fmt.Sprint(a), fmt.Sprint(b)))
		}
	}
	return strings.Join(diffs, "; ")
}

// diffLeases says how two sets of rows differ, whatever their order.
func diffLeases(got, want []lease.Lease) string {
	got, want = sorted(slices.Clone(got)), sorted(slices.Clone(want))
	if g, w := keysOf(got), keysOf(want); !slices.Equal(g, w) {
		return fmt.Sprintf("got %d rows %.300s, want %d rows %.300s", len(g), fmt.Sprintf("%q", g), len(w), fmt.Sprintf("%q", w))
	}
	for i := range got {
		if diff := diffLease(got[i], want[i]); diff != "" {
			return fmt.Sprintf("row %.80q: %s", got[i].Key, diff)
		}
	}
	return ""
}

func keysOf(rows []lease.Lease) []string {
	keys := make([]string, len(rows))
	for i, l := range rows {
		keys[i] = l.Key
	}
	return keys
}
