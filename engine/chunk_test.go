package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// rewriting is the configuration of engines that rewrite every log file as soon
// as it is full, and read everything from files.
func rewriting(fs vfs.FS) Config {
	cfg := small()
	cfg.CacheBytes, cfg.ChunkBytes, cfg.fs = 1, 1, fs
	return cfg
}

func mustOpen(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// fileKinds counts the files that the engine has closed: those that were
// rewritten, and those that were left as they are.
func fileKinds(e *Engine) (chunks, adopted int) {
	for _, gen := range e.log.Files().Closed {
		if gen >= 1<<31 {
			chunks++
		} else {
			adopted++
		}
	}
	return chunks, adopted
}

// kept is what must be read of one shard.
type kept struct {
	records []stream.Record
}

func (k *kept) visible(cutoff int64) []stream.Record {
	i := 0
	for i < len(k.records) && k.records[i].Arrival.UnixMilli() < cutoff {
		i++
	}
	return k.records[i:]
}

func alike(a, b stream.Record) bool {
	return a.Sequence == b.Sequence && a.PartitionKey == b.PartitionKey && string(a.Data) == string(b.Data) &&
		a.Arrival.Equal(b.Arrival) && a.HashKey == b.HashKey && a.HasHashKey == b.HasHashKey
}

// checkReads reads the shard from every kind of position.
func checkReads(t testing.TB, s *Stream, shard string, k *kept, at int) {
	t.Helper()
	want := k.visible(s.cutoff())
	check := func(from stream.Position, want []stream.Record) {
		t.Helper()
		got := mustRead(t, s, shard, from)
		if len(got) != len(want) {
			t.Fatalf("%s from %v: %d records, want %d", shard, from, len(got), len(want))
		}
		for i := range got {
			if !alike(got[i], want[i]) {
				t.Fatalf("%s from %v: record %d is %v %q %v, want %v %q %v", shard, from, i,
					got[i].Sequence, got[i].PartitionKey, got[i].Arrival, want[i].Sequence, want[i].PartitionKey, want[i].Arrival)
			}
		}
	}
	check(stream.TrimHorizon, want)
	check(stream.Latest, nil)
	if len(want) == 0 {
		return
	}
	at %= len(want)
	check(stream.At(want[at].Sequence), want[at:])
	check(stream.After(want[at].Sequence), want[at+1:])
	since := want[at].Arrival
	first := slices.IndexFunc(want, func(r stream.Record) bool { return !r.Arrival.Before(since) })
	check(stream.AtTime(since), want[first:])
}

// Whatever happens around it, rewriting changes nothing that a reader sees.
func TestRewritingChangesNothingThatIsRead(t *testing.T) {
	chunks, adopted := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := equivalence(t, rt)
			chunks, adopted = chunks+a, adopted+b
		})
	})
	if chunks == 0 || adopted == 0 {
		t.Errorf("%d files were rewritten, %d adopted: want both", chunks, adopted)
	}
}

func equivalence(t *testing.T, rt *rapid.T) (chunks, adopted int) {
	fs := vfs.NewCrash()
	e := mustOpen(t, rewriting(fs))
	defer func() { e.Close() }()
	retentions := []time.Duration{time.Minute, time.Hour}
	models := map[string]map[string]*kept{"one": {}, "two": {}}
	streams := map[string]*Stream{}
	for i, name := range []string{"one", "two"} {
		streams[name] = ensure(t, e, name, StreamConfig{Shards: 1 + 4*i, Retention: retentions[i]})
	}
	sizes := rapid.SampledFrom([]int{0, 10, 10, 200, 1000, 6000, 20000})
	for step := range rapid.IntRange(1, 40).Draw(rt, "steps") {
		name := rapid.SampledFrom([]string{"one", "two"}).Draw(rt, "stream")
		s, model := streams[name], models[name]
		switch op := rapid.IntRange(0, 13).Draw(rt, "op"); op {
		case 0:
			open := s.topology.Load().open
			sh := open[rapid.IntRange(0, len(open)-1).Draw(rt, "split")]
			if err := s.Split(t.Context(), sh.id, sh.hash.Middle()); err != nil {
				t.Fatal(err)
			}
		case 1:
			if open := s.topology.Load().open; len(open) > 1 {
				i := rapid.IntRange(0, len(open)-2).Draw(rt, "merge")
				if err := s.Merge(t.Context(), open[i].id, open[i+1].id); err != nil {
					t.Fatal(err)
				}
			}
		case 2:
			time.Sleep(time.Duration(rapid.IntRange(1, 40).Draw(rt, "seconds")) * time.Second)
		case 3:
			if err := s.SetRetention(t.Context(), rapid.SampledFrom(retentions).Draw(rt, "retention")); err != nil {
				t.Fatal(err)
			}
		case 4:
			if err := e.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			streams[name] = ensure(t, e, name, StreamConfig{Shards: 3, Retention: time.Hour})
			clear(model)
		case 5:
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = mustOpen(t, rewriting(fs))
			if d := e.Damage(); len(d) > 0 {
				t.Fatalf("damage: %v", d)
			}
			for name := range streams {
				streams[name] = ensure(t, e, name, StreamConfig{})
			}
		default:
			// The same size throughout, so that some files are of large blocks.
			size := sizes.Draw(rt, "size")
			for i := range rapid.IntRange(1, 12).Draw(rt, "puts") {
				entries := make([]stream.Entry, 1+rapid.IntRange(0, 3).Draw(rt, "entries")*5)
				for j := range entries {
					key := fmt.Sprintf("%d-%d-%d", step, i, j)
					entries[j] = entry(key, key+strings.Repeat("x", size))
					if size == 6000 { // all to one shard
						entries[j].HashKey, entries[j].HasHashKey = stream.MaxHash, true
					}
				}
				for j, r := range mustPut(t, s, entries...) {
					if model[r.Shard] == nil {
						model[r.Shard] = &kept{}
					}
					model[r.Shard].records = append(model[r.Shard].records, stream.Record{
						Sequence: r.Sequence, PartitionKey: entries[j].PartitionKey, Data: entries[j].Data,
						HashKey: entries[j].HashKey, HasHashKey: entries[j].HasHashKey, Arrival: time.Now(),
					})
				}
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
		}
		a, b := fileKinds(e)
		chunks, adopted = max(chunks, a), max(adopted, b)
		at := rapid.IntRange(0, 1000).Draw(rt, "at")
		for name, s := range streams {
			shards, err := s.Shards(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, sh := range shards {
				k := models[name][sh.ID]
				if k == nil {
					k = &kept{}
				}
				for i := range k.records {
					k.records[i].Arrival = k.records[i].Arrival.Truncate(time.Millisecond)
				}
				checkReads(t, s, sh.ID, k, at)
			}
		}
	}
	return chunks, adopted
}
