package streamtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/millrace/millrace/stream"
)

// EveryRecordComesOnceAndInOrder puts records everywhere and reads each shard
// from its beginning.
func EveryRecordComesOnceAndInOrder(t testing.TB, s Subject) {
	type placed struct {
		stream.PutResult
		key, data string
	}
	wanted := map[string][]placed{}
	for call := range 20 {
		var entries []stream.Entry
		for i := range 25 {
			n := call*25 + i
			entries = append(entries, stream.Entry{PartitionKey: fmt.Sprintf("key-%d", n%37), Data: fmt.Appendf(nil, "record %d", n)})
		}
		for i, r := range put(t, s, entries...) {
			wanted[r.Shard] = append(wanted[r.Shard], placed{r, entries[i].PartitionKey, string(entries[i].Data)})
		}
	}
	for _, shard := range openShards(t, s) {
		records := read(t, open(t, s, shard.ID, stream.TrimHorizon), len(wanted[shard.ID]))
		for i, r := range records {
			w := wanted[shard.ID][i]
			if r.Sequence != w.Sequence || r.PartitionKey != w.key || string(r.Data) != w.data {
				t.Fatalf("record %d of %s is %q (%s) at %v, want %q (%s) at %v", i, shard.ID, r.Data, r.PartitionKey, r.Sequence, w.data, w.key, w.Sequence)
			}
			if i > 0 && !records[i-1].Sequence.Less(r.Sequence) {
				t.Fatalf("record %v of %s comes after %v", r.Sequence, shard.ID, records[i-1].Sequence)
			}
		}
		delete(wanted, shard.ID)
	}
	for shard := range wanted {
		t.Errorf("records were put into %s, which is not listed", shard)
	}
}

// EntriesOfOneCallKeepTheirOrder puts many entries of one shard at once.
func EntriesOfOneCallKeepTheirOrder(t testing.TB, s Subject) {
	shard := openShards(t, s)[1]
	entries := make([]stream.Entry, 200)
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: keyFor(t, shard), Data: fmt.Appendf(nil, "together %d", i)}
	}
	var sequences []stream.Sequence
	for _, r := range put(t, s, entries...) {
		sequences = append(sequences, r.Sequence)
	}
	want(t, read(t, open(t, s, shard.ID, stream.TrimHorizon), len(entries)), sequences, "together", 0)
}

// ReadingAPositionTwiceGivesEqualRecords reads the same records with several
// readers and different limits.
func ReadingAPositionTwiceGivesEqualRecords(t testing.TB, s Subject) {
	shard := openShards(t, s)[0]
	sequences := fill(t, s, shard, 30, "again")
	for _, from := range []stream.Position{stream.TrimHorizon, stream.At(sequences[0])} {
		once := read(t, open(t, s, shard.ID, from), len(sequences))
		var again []stream.Record
		r := open(t, s, shard.ID, from)
		for b := (stream.Batch{MaxRecords: 7}); len(again) < len(sequences); {
			next(t, r, &b)
			again = append(again, b.Records...)
		}
		for i := range once {
			if !equal(once[i], again[i]) {
				t.Fatalf("from %v, record %d was %+v and is %+v", from, i, once[i], again[i])
			}
		}
	}
}

// ConcurrentPutsAndReadersLoseNothing lets producers put while readers tail
// every shard.
func ConcurrentPutsAndReadersLoseNothing(t testing.TB, s Subject) {
	const producers, each = 8, 100
	var (
		mu     sync.Mutex
		got    = map[string][]string{} // by partition key
		number = map[string]stream.Sequence{}
		count  int
	)
	allRead := errors.New("all is read")
	ctx, stop := context.WithCancelCause(patient(t))
	defer stop(nil)

	var readers []<-chan error
	for _, shard := range openShards(t, s) {
		r := open(t, s, shard.ID, stream.TrimHorizon)
		readers = append(readers, background(t, func() error {
			var b stream.Batch
			for {
				if err := r.Next(ctx, &b); err != nil {
					stop(err)
					return err
				}
				mu.Lock()
				for _, r := range b.Records {
					got[r.PartitionKey] = append(got[r.PartitionKey], string(r.Data))
					number[string(r.Data)] = r.Sequence
				}
				count += len(b.Records)
				full := count >= producers*each
				mu.Unlock()
				if full {
					stop(allRead)
				}
			}
		}))
	}

	acknowledged := make([][]stream.Sequence, producers)
	var writers []<-chan error
	for p := range producers {
		putter := s.putter(t)
		writers = append(writers, background(t, func() error {
			for i := range each {
				results, err := putter.Put(ctx, stream.Entry{PartitionKey: fmt.Sprintf("producer-%d", p), Data: fmt.Appendf(nil, "%d/%d", p, i)})
				if err == nil {
					err = results[0].Err
				}
				if err != nil {
					stop(fmt.Errorf("put: %w", err))
					return err
				}
				acknowledged[p] = append(acknowledged[p], results[0].Sequence)
			}
			return nil
		}))
	}
	for _, w := range writers {
		within(t, w, "a producer")
	}
	for _, r := range readers {
		within(t, r, "a reader")
	}
	if why := context.Cause(ctx); !errors.Is(why, allRead) {
		t.Fatalf("read %d of %d records: %v", count, producers*each, why)
	}
	for p := range producers {
		records := got[fmt.Sprintf("producer-%d", p)]
		if len(records) != each {
			t.Fatalf("%d records of producer %d were read, want %d", len(records), p, each)
		}
		for i, data := range records {
			if wanted := fmt.Sprintf("%d/%d", p, i); data != wanted || i < len(acknowledged[p]) && number[data] != acknowledged[p][i] {
				t.Fatalf("record %d of producer %d is %q at %v", i, p, data, number[data])
			}
		}
	}
}
