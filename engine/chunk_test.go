package engine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/internal/proof"
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
	s := e.Stats()
	return s.RewrittenFiles, s.AdoptedFiles
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
	lives, chunks, adopted := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := equivalence(t, rt)
			lives, chunks, adopted = lives+1, chunks+a, adopted+b
		})
	})
	proof.Report(t, "reads of a log that is rewritten", "random lives", lives, "chunks", chunks, "adopted segments", adopted, "differences", 0)
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

// closedFiles returns the disk of an engine that was closed and had rewritten
// some files and closed others as they were, all of them little; what it holds,
// by shard; and the names of the closed files.
func closedFiles(t testing.TB) (*vfs.Crash, map[string][]stream.Record, []string) {
	t.Helper()
	fs := vfs.NewCrash()
	e, err := open(fs, Config{SegmentBytes: 8 << 10, ChunkBytes: 1, Logger: quiet}.withDefaults(false))
	if err != nil {
		t.Fatal(err)
	}
	s := ensure(t, e, "orders", StreamConfig{Shards: 3, MaxRecordBytes: 1000})
	for i := 0; ; i++ {
		chunks, adopted := fileKinds(e)
		if chunks > 0 && adopted > 0 {
			break
		}
		large := entry("large", strings.Repeat("x", 900))
		if chunks == 0 {
			mustPut(t, s, number(i*3, 3)...)
		} else {
			mustPut(t, s, large, large)
		}
	}
	all := map[string][]stream.Record{}
	for _, m := range s.topology.Load().all {
		all[m.id] = mustRead(t, s, m.id, stream.TrimHorizon)
	}
	var names []string
	for _, gen := range e.log.Files().Closed {
		names = append(names, closedName(gen))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, all, names
}

func closedName(gen uint64) string {
	if gen>>31 == 1 {
		return fmt.Sprintf("%016x.chunk", gen)
	}
	return fmt.Sprintf("%016x.log", gen)
}

// A closed file that is not there takes its own records with it, and nothing
// else. It is asked for at every opening until the loss is accepted.
func TestAMissingClosedFileIsALossOfItsRecordsOnly(t *testing.T) {
	disk, all, names := closedFiles(t)
	for _, name := range []string{names[0], names[len(names)-1]} {
		fs := disk.Now()
		if err := fs.Rename(name, "elsewhere"); err != nil {
			t.Fatal(err)
		}
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{})
		if d := e.Damage(); len(d) != 1 || d[0].File != name {
			t.Fatalf("damage: %v, want %s", d, name)
		}
		for _, l := range s.Losses() {
			if was := all[l.Shard]; l.File != name || was[len(was)-1].Sequence.Less(l.Last) {
				t.Errorf("loss %+v, want it to be of %s, and of records that there were", l, name)
			}
		}
		if err := e.sweep(); err != nil {
			t.Fatal(err)
		}
		e.Close()

		back := fs.Now()
		if err := back.Rename("elsewhere", name); err != nil {
			t.Fatal(err)
		}
		if lost, err := missing(t, back, all); len(lost) > 0 || err != nil {
			t.Errorf("%s is there again, and %d records are lost: %v", name, len(lost), err)
		}

		lost, err := missing(t, fs, all) // accepts
		if len(lost) == 0 || err != nil {
			t.Fatalf("%d losses, %v", len(lost), err)
		}
		e = onCrash(t, fs)
		if err := e.sweep(); err != nil {
			t.Fatal(err)
		}
		e.Close()
		e = onCrash(t, fs)
		if d := e.Damage(); len(d) > 0 {
			t.Errorf("damage that was accepted: %v", d)
		}
		e.Close()
	}
}

// Of several that are missing, a shard cannot tell which one took its records:
// none is given up before the loss is accepted.
func TestAllMissingClosedFilesMayComeBack(t *testing.T) {
	fs, all, names := closedFiles(t)
	for _, name := range names {
		if err := fs.Rename(name, "away-"+name); err != nil {
			t.Fatal(err)
		}
	}
	e := onCrash(t, fs)
	if d := e.Damage(); len(d) < 2 || len(d) != len(names) {
		t.Fatalf("damage: %v, want %v", d, names)
	}
	if err := e.sweep(); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for _, name := range names {
		if err := fs.Rename("away-"+name, name); err != nil {
			t.Fatal(err)
		}
	}
	if lost, err := missing(t, fs, all); len(lost) > 0 || err != nil {
		t.Errorf("all files are there again, and %d records are lost: %v", len(lost), err)
	}
}

// Rot in a chunk is met by who reads it; the file stays until that is accepted.
func TestRotInAChunkIsKeptUntilItsLossIsAccepted(t *testing.T) {
	disk, all, names := closedFiles(t)
	disk.Flip(names[0], 4096+70, 1)
	e := onCrash(t, disk)
	s := ensure(t, e, "orders", StreamConfig{})
	var corrupt *stream.CorruptError
	var shard string
	for id := range all {
		if _, err := readNow(s, id, stream.TrimHorizon); errors.As(err, &corrupt) {
			shard = id
		}
	}
	if shard == "" || corrupt.File != names[0] {
		t.Fatalf("read: %v", corrupt)
	}
	if err := e.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptLoss(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	left := len(mustRead(t, s, shard, stream.TrimHorizon))
	if left == 0 || left >= len(all[shard]) {
		t.Errorf("%d records of %d are left", left, len(all[shard]))
	}
	e.Close()
	// What was given up stays so.
	s = ensure(t, onCrash(t, disk), "orders", StreamConfig{})
	if got := mustRead(t, s, shard, stream.TrimHorizon); len(got) != left {
		t.Errorf("%d records after opening again, want %d", len(got), left)
	}
}

// Retention drops whole files: a stream of long retention does not keep the
// room of one that is short.
func TestEachRetentionHasFilesOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.Memory()
		e := mustOpen(t, rewriting(fs))
		brief := ensure(t, e, "brief", StreamConfig{Shards: 4, Retention: time.Minute})
		long := ensure(t, e, "long", StreamConfig{Shards: 4, Retention: time.Hour})
		kept := 0
		for i := range 300 {
			mustPut(t, brief, entry(fmt.Sprint(i), strings.Repeat("x", 4000)))
			if i%10 == 0 {
				mustPut(t, long, entry(fmt.Sprint(i), strings.Repeat("y", 4000)))
				kept++
			}
			synctest.Wait()
		}
		before, _ := fileKinds(e)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		after, _ := fileKinds(e)
		// 30 records of 4 KB, a file each at most.
		if before < 20 || after > before*3/4 {
			t.Errorf("%d chunks, and %d when the short retention was over", before, after)
		}
		found := 0
		for _, m := range long.topology.Load().all {
			found += len(mustRead(t, long, m.id, stream.TrimHorizon))
		}
		if found != kept {
			t.Errorf("%d records of the other stream, want %d", found, kept)
		}
		e.Close()
	})
}

func TestADeletedStreamGivesItsRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := mustOpen(t, rewriting(vfs.Memory()))
		s := ensure(t, e, "orders", StreamConfig{Shards: 4})
		for i := range 200 {
			mustPut(t, s, entry(fmt.Sprint(i), strings.Repeat("x", 4000)))
			synctest.Wait()
		}
		if chunks, _ := fileKinds(e); chunks < 5 {
			t.Fatalf("%d chunks", chunks)
		}
		if err := e.DeleteStream(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(e.sweepEvery() + time.Second)
		synctest.Wait()
		if files := e.log.Files(); len(files.Closed) > 0 {
			t.Errorf("files %v are left", files.Closed)
		}
		e.Close()
	})
}

// Readers go on while what they read is rewritten, and notice nothing.
func TestReadersBesideTheRewriter(t *testing.T) {
	cfg := small()
	cfg.CacheBytes, cfg.ChunkBytes = 1, 1
	e := openDir(t, t.TempDir(), cfg)
	const shards, records = 3, 12_000
	s := ensure(t, e, "orders", StreamConfig{Shards: shards})
	// readOnce reads a shard from its beginning to its last record, "end".
	readOnce := func(shard string) (n int, err error) {
		r, err := s.Open(t.Context(), shard, stream.TrimHorizon)
		if err != nil {
			return 0, err
		}
		defer r.Close()
		b := stream.Batch{MaxRecords: 200}
		last := -1
		for {
			if err := r.Next(t.Context(), &b); err != nil {
				return n, err
			}
			for _, rec := range b.Records {
				n++
				if rec.PartitionKey == "end" {
					return n, nil
				}
				at, err := strconv.Atoi(string(rec.Data[:10]))
				if err != nil || at <= last {
					return n, fmt.Errorf("record %d after %d: %w", at, last, err)
				}
				last = at
			}
		}
	}
	var wg sync.WaitGroup
	var read atomic.Int64
	const readers, times = 2, 3
	for range readers {
		for _, m := range s.topology.Load().all {
			wg.Go(func() {
				for range times {
					n, err := readOnce(m.id)
					if err != nil {
						t.Errorf("read %s: %v", m.id, err)
						return
					}
					read.Add(int64(n))
				}
			})
		}
	}
	for i := range records / 20 {
		entries := number(i*20, 20)
		for j := range entries {
			entries[j].Data = fmt.Appendf(nil, "%010d%s", i*20+j, strings.Repeat("x", 300))
		}
		mustPut(t, s, entries...)
	}
	for _, sh := range s.topology.Load().open {
		mustPut(t, s, stream.Entry{PartitionKey: "end", HashKey: sh.hash.Start, HasHashKey: true})
	}
	wg.Wait()
	if n := read.Load(); n != readers*times*(records+shards) {
		t.Errorf("%d records were read, want %d", n, readers*times*(records+shards))
	}
	if chunks, _ := fileKinds(e); chunks < 10 {
		t.Errorf("%d chunks", chunks)
	}
}

// A disk that is full, or fails, in the middle of rewriting leaves the log as it
// is: nobody loses anything, puts go on, and it is tried again.
func TestRewritingThatFailsIsTriedAgain(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync, vfs.OpRename} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrash()
			e := mustOpen(t, rewriting(fs))
			s := ensure(t, e, "orders", StreamConfig{Shards: 3})
			put := func() {
				for i := range 150 {
					mustPut(t, s, entry(fmt.Sprint(i), strings.Repeat("x", 2000)))
					synctest.Wait()
				}
			}
			synctest.Wait() // the spare segment is there
			failed, chunk := 0, ""
			fs.Fail(func(op vfs.Op) error {
				// Chunks have names of the pool while they are written.
				if strings.HasPrefix(op.Name, "pool-") && bytes.HasPrefix(op.Data, []byte("MBK1")) || strings.HasSuffix(op.To, ".chunk") {
					chunk = op.Name
				}
				if op.Kind == kind && op.Name == chunk {
					failed++
					chunk = "" // the file is for others now
					return syscall.ENOSPC
				}
				return nil
			})
			put()
			if chunks, _ := fileKinds(e); failed == 0 || chunks > 0 {
				t.Errorf("%v: failed %d times, and there are %d chunks", kind, failed, chunks)
			}
			fs.Fail(nil)
			put()
			time.Sleep(2 * retryRewrite)
			synctest.Wait()
			if chunks, _ := fileKinds(e); chunks < 5 {
				t.Errorf("%v: %d chunks after the disk was well again", kind, chunks)
			}
			n := 0
			for _, m := range s.topology.Load().all {
				n += len(mustRead(t, s, m.id, stream.TrimHorizon))
			}
			if n != 300 {
				t.Errorf("%v: %d records, want 300", kind, n)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
