package streamtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

const (
	// patience is how long a scenario waits for what must happen.
	patience = 30 * time.Second
	// moment is how long it watches that something does not happen. Too short a
	// moment can only let a fault pass, never invent one.
	moment = 10 * time.Millisecond
)

// patient returns a context that lasts as long as the patience of the scenario.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("nothing happened for %v", patience))
	t.Cleanup(cancel)
	return ctx
}

// background runs f and returns a channel that gets its error. The scenario
// does not end before f has, so f must heed a context of the scenario.
func background(t testing.TB, f func() error) <-chan error {
	result, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		result <- f()
	}()
	t.Cleanup(func() { within(t, ended, "a goroutine of the scenario to end") })
	return result
}

// within waits for a value of c.
func within[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience + time.Second)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("waited %v for %s", patience, what)
	}
	return v
}

// quiet fails when c gives a value within a moment.
func quiet[T any](t testing.TB, c <-chan T, what string) {
	t.Helper()
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case v := <-c:
		t.Fatalf("%s: %v", what, v)
	case <-timer.C:
	}
}

// anotherMillisecond waits until the clock shows another one.
func anotherMillisecond() {
	timer := time.NewTimer(2 * time.Millisecond)
	<-timer.C
}

func (s Subject) putter(t testing.TB) stream.Putter {
	t.Helper()
	if s.Putter != nil {
		return s.Putter
	}
	p, ok := s.Stream.(stream.Putter)
	if !ok {
		t.Fatalf("%T is no stream.Putter, and Subject.Putter is not set", s.Stream)
	}
	return p
}

// seam returns the stream as T, an optional seam that its Features promise.
func seam[T any](t testing.TB, s Subject) T {
	t.Helper()
	v, ok := s.Stream.(T)
	if !ok {
		t.Fatalf("%T is no %v, as its Features promise", s.Stream, reflect.TypeFor[T]())
	}
	return v
}

// put stores entries, all of which must be taken.
func put(t testing.TB, s Subject, entries ...stream.Entry) []stream.PutResult {
	t.Helper()
	results, err := s.putter(t).Put(patient(t), entries...)
	if err != nil {
		t.Fatalf("put %d entries: %v", len(entries), err)
	}
	if len(results) != len(entries) {
		t.Fatalf("put of %d entries gives %d results", len(entries), len(results))
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("put entry %d: %v", i, r.Err)
		}
	}
	return results
}

// fill puts n small records into one shard, one by one, and returns their
// sequence numbers. Their payloads are "<label> 0", "<label> 1", …
func fill(t testing.TB, s Subject, shard stream.Shard, n int, label string) []stream.Sequence {
	t.Helper()
	key := keyFor(t, shard)
	sequences := make([]stream.Sequence, n)
	for i := range sequences {
		r := put(t, s, stream.Entry{PartitionKey: key, Data: fmt.Appendf(nil, "%s %d", label, i)})[0]
		if r.Shard != shard.ID {
			t.Fatalf("%q went to %s, want %s", key, r.Shard, shard.ID)
		}
		sequences[i] = r.Sequence
	}
	return sequences
}

// keyFor returns a partition key that falls into a shard.
func keyFor(t testing.TB, shard stream.Shard) string {
	t.Helper()
	for i := range 1_000_000 {
		if key := fmt.Sprintf("key-%d", i); shard.Hash.Contains(stream.HashOf(key)) {
			return key
		}
	}
	t.Fatalf("no partition key falls into %s, whose range is %v", shard.ID, shard.Hash)
	return ""
}

// shards lists the shards.
func shards(t testing.TB, s Subject) []stream.Shard {
	t.Helper()
	list, err := s.Stream.Shards(patient(t))
	if err != nil {
		t.Fatalf("list shards: %v", err)
	}
	return list
}

// openShards lists the open shards by hash range, and checks that they divide
// the hash space.
func openShards(t testing.TB, s Subject) []stream.Shard {
	t.Helper()
	list := slices.DeleteFunc(shards(t, s), func(s stream.Shard) bool { return s.Closed })
	slices.SortFunc(list, func(a, b stream.Shard) int { return a.Hash.Start.Compare(b.Hash.Start) })
	next := stream.Hash{}
	for i, shard := range list {
		if shard.Hash.Start != next || shard.Hash.End.Compare(next) < 0 {
			t.Fatalf("open shard %s has the range %v, want one that starts at %v", shard.ID, shard.Hash, next)
		}
		next = shard.Hash.End.Next()
		if i == len(list)-1 && next != (stream.Hash{}) {
			t.Fatalf("the last open shard, %s, ends at %v", shard.ID, shard.Hash.End)
		}
	}
	if len(list) == 0 {
		t.Fatal("the stream has no open shard")
	}
	return list
}

// shardNamed returns the shard with that ID.
func shardNamed(t testing.TB, s Subject, id string) stream.Shard {
	t.Helper()
	list := shards(t, s)
	i := slices.IndexFunc(list, func(s stream.Shard) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("%s is not among the shards: %v", id, list)
	}
	return list[i]
}

// childrenOf returns the shards whose parent that one is, by hash range.
func childrenOf(t testing.TB, s Subject, id string) []stream.Shard {
	t.Helper()
	children := slices.DeleteFunc(shards(t, s), func(s stream.Shard) bool { return !slices.Contains(s.Parents, id) })
	slices.SortFunc(children, func(a, b stream.Shard) int { return a.Hash.Start.Compare(b.Hash.Start) })
	return children
}

// open opens a reader that is closed with the scenario.
func open(t testing.TB, s Subject, shardID string, from stream.Position) stream.Reader {
	t.Helper()
	r, err := s.Stream.Open(patient(t), shardID, from)
	if err != nil {
		t.Fatalf("open %s at %v: %v", shardID, from, err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// next reads one batch and checks what holds for every batch.
func next(t testing.TB, r stream.Reader, b *stream.Batch) {
	t.Helper()
	if err := r.Next(patient(t), b); err != nil {
		t.Fatalf("next: %v", err)
	}
	checkBatch(t, b)
}

func checkBatch(t testing.TB, b *stream.Batch) {
	t.Helper()
	if len(b.Records) == 0 {
		t.Fatal("a batch is empty")
	}
	bytes := 0
	for i := range b.Records {
		bytes += b.Records[i].Size()
		if i > 0 && !b.Records[i-1].Sequence.Less(b.Records[i].Sequence) {
			t.Fatalf("record %v comes after %v", b.Records[i].Sequence, b.Records[i-1].Sequence)
		}
		if b.Records[i].Arrival.IsZero() {
			t.Fatalf("record %v has no arrival time", b.Records[i].Sequence)
		}
	}
	if b.Bytes != bytes {
		t.Fatalf("Bytes is %d, want %d", b.Bytes, bytes)
	}
	if b.Footprint < bytes {
		t.Fatalf("Footprint is %d, less than the records' %d bytes", b.Footprint, bytes)
	}
	if b.Behind < 0 {
		t.Fatalf("Behind is %v", b.Behind)
	}
}

// read reads n records and fails when more come with them.
func read(t testing.TB, r stream.Reader, n int) []stream.Record {
	t.Helper()
	var records []stream.Record
	var b stream.Batch
	for len(records) < n {
		next(t, r, &b)
		records = append(records, b.Records...)
	}
	if len(records) > n {
		t.Fatalf("%d records came, want %d; the first too many is %q", len(records), n, records[n].Data)
	}
	return records
}

// readToEnd reads a closed shard from its beginning.
func readToEnd(t testing.TB, s Subject, shardID string) ([]stream.Record, *stream.ShardEndError) {
	t.Helper()
	r := open(t, s, shardID, stream.TrimHorizon)
	var records []stream.Record
	var b stream.Batch
	for {
		err := r.Next(patient(t), &b)
		if end, ok := errors.AsType[*stream.ShardEndError](err); ok {
			return records, end
		}
		if err != nil {
			t.Fatalf("read %s: %v", shardID, err)
		}
		checkBatch(t, &b)
		records = append(records, b.Records...)
	}
}

// want checks that records are those that fill put, from number first on.
func want(t testing.TB, records []stream.Record, sequences []stream.Sequence, label string, first int) {
	t.Helper()
	if len(records) != len(sequences)-first {
		t.Fatalf("%d records came, want %d", len(records), len(sequences)-first)
	}
	for i, r := range records {
		if data := fmt.Sprintf("%s %d", label, first+i); string(r.Data) != data || r.Sequence != sequences[first+i] {
			t.Fatalf("record %d is %q at %v, want %q at %v", i, r.Data, r.Sequence, data, sequences[first+i])
		}
	}
}

// nothingMore checks that a reader at the end of an open shard waits.
func nothingMore(t testing.TB, r stream.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), moment, errMoment)
	defer cancel()
	var b stream.Batch
	if err := r.Next(ctx, &b); err == nil {
		checkBatch(t, &b)
		t.Fatalf("a record too many came: %q", b.Records[0].Data)
	} else if !errors.Is(err, errMoment) {
		t.Fatalf("waiting at the end: %v", err)
	}
}

var errMoment = errors.New("a moment has passed")

// equal reports whether two records are the same in every respect.
func equal(a, b stream.Record) bool {
	return a.Sequence == b.Sequence && a.PartitionKey == b.PartitionKey && string(a.Data) == string(b.Data) &&
		a.Arrival.Equal(b.Arrival) && a.HasHashKey == b.HasHashKey && a.HashKey == b.HashKey
}
