package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

func TestBadValuesAreRefusedWithAFix(t *testing.T) {
	ctx := t.Context()
	e := openMemory(t, Config{Logger: quiet})
	s := ensure(t, e, "orders", StreamConfig{})
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("tag", i)] = "x"
	}
	create := func(name string, cfg StreamConfig) error {
		_, err := e.CreateStream(ctx, name, cfg)
		return err
	}
	open := func(cfg Config) error {
		_, err := OpenMemory(cfg)
		return err
	}
	read := func(from stream.Position) error {
		_, err := s.Open(ctx, shardID(0), from)
		return err
	}
	one := func(entry stream.Entry) error {
		results, err := s.Put(ctx, entry)
		if err != nil {
			return err
		}
		return results[0].Err
	}
	for _, c := range []struct {
		what string
		err  error
	}{
		{"directory", func() error { _, err := Open("", Config{}); return err }()},
		{"Config.Durability", open(Config{Durability: 7})},
		{"Config.SyncEvery", open(Config{SyncEvery: -1})},
		{"Config.SegmentBytes", open(Config{SegmentBytes: 1000})},
		{"Config.CacheBytes", open(Config{CacheBytes: -1})},
		{"Config.PendingBytes", open(Config{PendingBytes: -1})},
		{"Config.MinRetention", open(Config{MinRetention: -1})},
		{"stream name", create("or ders", StreamConfig{})},
		{"StreamConfig.Shards", create("a", StreamConfig{Shards: -1})},
		{"StreamConfig.Retention", create("a", StreamConfig{Retention: time.Hour})},
		{"StreamConfig.MaxRecordBytes", create("a", StreamConfig{MaxRecordBytes: 11 << 20})},
		{"StreamConfig.Limits", create("a", StreamConfig{Limits: 9})},
		{"StreamConfig.Tags", create("a", StreamConfig{Tags: many})},
		{"StreamConfig.Tags key", create("a", StreamConfig{Tags: map[string]string{"": "x"}})},
		{"StreamConfig.Tags value", create("a", StreamConfig{Tags: map[string]string{"a": "<"}})},
		{"PartitionKey", one(stream.Entry{PartitionKey: strings.Repeat("ä", 257)})},
		{"record size", one(stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<20)})},
		{"retention", s.SetRetention(ctx, 366*24*time.Hour)},
		{"MaxRecordBytes", s.SetMaxRecordBytes(ctx, 0)},
		{"tags", s.Tag(ctx, many)},
		{"shard count", s.UpdateShardCount(ctx, 10_001)},
		{"Config.SegmentBytes", open(Config{SegmentBytes: 100_000})},
		{"Config.SegmentBytes", open(Config{SegmentBytes: 2 << 30})},
		{"Config.MinRetention", open(Config{MinRetention: 366 * 24 * time.Hour})},
		{"stream name", create("", StreamConfig{})},
		{"stream name", create(strings.Repeat("a", 129), StreamConfig{})},
		{"StreamConfig.Shards", create("a", StreamConfig{Shards: 10_001})},
		{"StreamConfig.Retention", create("a", StreamConfig{Retention: 366 * 24 * time.Hour})},
		{"StreamConfig.MaxRecordBytes", create("a", StreamConfig{MaxRecordBytes: -1})},
		{"StreamConfig.MaxRecordBytes", create("a", StreamConfig{MaxRecordBytes: 4 << 20})}, // more than its log files take
		{"StreamConfig.Tags key", create("a", StreamConfig{Tags: map[string]string{strings.Repeat("k", 129): ""}})},
		{"StreamConfig.Tags value", create("a", StreamConfig{Tags: map[string]string{"a": strings.Repeat("v", 257)}})},
		{"PartitionKey", one(stream.Entry{Data: []byte("x")})},
		{"retention", s.SetRetention(ctx, 0)},
		{"MaxRecordBytes", s.SetMaxRecordBytes(ctx, 4<<20)},
		{"tags key", s.Tag(ctx, map[string]string{"a\xff": "x"})},
		{"shard count", s.UpdateShardCount(ctx, 0)},
		{"position", read(stream.Position{})},
	} {
		var invalid *InvalidError
		if !errors.As(c.err, &invalid) {
			t.Errorf("%s: %v, want an InvalidError", c.what, c.err)
			continue
		}
		if !strings.HasPrefix(invalid.Field, c.what) || !strings.Contains(invalid.Fix, "use ") && !strings.Contains(invalid.Fix, "name ") {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}
	for _, c := range []struct {
		what string
		err  error
		want error // nil: any
	}{
		{"a shard that is not there", s.Split(ctx, "shardId-7", stream.FullRange.Middle()), stream.ErrShardNotFound},
		{"a split at the start", s.Split(ctx, shardID(0), stream.Hash{}), nil},
		{"a merge of a shard with itself", s.Merge(ctx, shardID(0), shardID(0)), nil},
		{"a merge with a shard that is not there", s.Merge(ctx, shardID(0), shardID(9)), stream.ErrShardNotFound},
		{"no such shard to read", func() error { _, err := s.Open(ctx, "", stream.TrimHorizon); return err }(), stream.ErrShardNotFound},
		{"no such shard to pin", func() error { _, err := s.Pin(ctx, "x"); return err }(), stream.ErrShardNotFound},
		{"no such loss", func() error { _, err := s.AcceptLoss(ctx, "x"); return err }(), stream.ErrShardNotFound},
	} {
		if c.err == nil || c.want != nil && !errors.Is(c.err, c.want) || !strings.Contains(c.err.Error(), "orders") {
			t.Errorf("%s: %v, want %v, and the stream named", c.what, c.err, c.want)
		}
	}
	if _, err := e.Stream("none"); !errors.Is(err, stream.ErrStreamNotFound) {
		t.Error(err)
	}
	if err := create("orders", StreamConfig{}); !errors.Is(err, ErrStreamExists) {
		t.Error(err)
	}
	if err := e.DeleteStream(ctx, "none"); !errors.Is(err, stream.ErrStreamNotFound) {
		t.Error(err)
	}
	if err := one(stream.Entry{PartitionKey: strings.Repeat("ä", 256)}); err != nil {
		t.Errorf("256 characters of two bytes: %v", err)
	}
}

func TestAPutMayBeLargerThanALogFile(t *testing.T) {
	e := openMemory(t, small())
	s := ensure(t, e, "orders", StreamConfig{Shards: 50})
	entries := make([]stream.Entry, 50_000) // 64 KiB files; tiny records are mostly headers
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: string(rune('a' + i%26)), HashKey: stream.HashOf(fmt.Sprint(i)), HasHashKey: true}
	}
	mustPut(t, s, entries...)
	n := 0
	for _, m := range s.topology.Load().all {
		n += len(mustRead(t, s, m.id, stream.TrimHorizon))
	}
	if n != len(entries) {
		t.Fatalf("%d records, want %d", n, len(entries))
	}
}

func TestARecordAsLargeAsTheStreamAllowsIsStored(t *testing.T) {
	for _, segment := range []int64{64 << 10, 64 << 20} {
		cfg := small()
		cfg.SegmentBytes = segment
		e := openDir(t, t.TempDir(), cfg)
		most := min(10<<20, wal.MaxRecord(segment))
		s := ensure(t, e, "orders", StreamConfig{MaxRecordBytes: most})
		data := make([]byte, most-1)
		for i := range data {
			data[i] = byte(i * 7)
		}
		for range 5 {
			mustPut(t, s, entry("k", "before"), stream.Entry{PartitionKey: "k", Data: data, HashKey: stream.MaxHash, HasHashKey: true}, entry("k", "after"))
		}
		records := mustRead(t, s, shardID(0), stream.TrimHorizon)
		if len(records) != 15 || !bytes.Equal(records[1].Data, data) || records[1].HashKey != stream.MaxHash || string(records[2].Data) != "after" {
			t.Fatalf("%d records", len(records))
		}
	}
}

func TestARecreatedStreamIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // all in one millisecond
		e := openMemory(t, small())
		s := ensure(t, e, "orders", StreamConfig{})
		old := mustPut(t, s, number(0, 3)...)
		oldID, _ := s.Identity(t.Context())
		reader, err := s.Open(t.Context(), shardID(0), stream.Latest)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := e.DeleteStream(t.Context(), "orders"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Put(t.Context(), number(0, 1)...); !errors.Is(err, stream.ErrStreamNotFound) {
				t.Fatalf("put into a deleted stream: %v", err)
			}
			s = ensure(t, e, "orders", StreamConfig{})
			id, _ := s.Identity(t.Context())
			if !id.Created.After(oldID.Created) {
				t.Fatalf("created at %v after %v", id.Created, oldID.Created)
			}
			oldID = id
		}
		var b stream.Batch
		if err := reader.Next(t.Context(), &b); !errors.Is(err, stream.ErrStreamNotFound) {
			t.Fatalf("a reader of the old stream: %v", err)
		}
		_, err = s.Open(t.Context(), shardID(0), stream.After(old[2].Sequence))
		if !errors.Is(err, ErrForeignPosition) || !strings.Contains(err.Error(), shardID(0)) {
			t.Fatalf("a position of the old stream: %v", err)
		}
		if r := mustPut(t, s, number(0, 1)...); !old[2].Sequence.Less(r[0].Sequence) {
			t.Fatal("sequence numbers of the new stream do not lie above those of the old")
		}
		e.Close()
	})
}

func TestTagsAndSettingsOutliveTheEngine(t *testing.T) {
	dir := t.TempDir()
	e := openDir(t, dir, small())
	s := ensure(t, e, "orders", StreamConfig{Tags: map[string]string{"team": "a", "env": "test"}})
	ctx := t.Context()
	for _, err := range []error{
		s.Tag(ctx, map[string]string{"team": "b"}), s.Untag(ctx, "env", "none"),
		s.SetRetention(ctx, 48*time.Hour), s.SetMaxRecordBytes(ctx, 1000),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want, _ := s.Describe()
	e.Close()
	got, err := ensure(t, openDir(t, dir, small()), "orders", StreamConfig{}).Describe()
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%+v\nwant\n%+v (%v)", got, want, err)
	}
	if fmt.Sprint(got.Tags) != "map[team:b]" || got.Retention != 48*time.Hour || got.MaxRecordBytes != 1000 {
		t.Fatalf("%+v", got)
	}
}

func TestTheShardCountIsReachedBySplitsAndMerges(t *testing.T) {
	for _, step := range []struct{ from, to, all int }{
		{1, 1, 1}, {1, 2, 3}, {2, 4, 6}, {4, 2, 6}, {3, 1, 5}, {1, 100, 199}, {2, 3, 7},
	} {
		e := openMemory(t, small())
		s := ensure(t, e, "orders", StreamConfig{Shards: step.from})
		if err := s.UpdateShardCount(t.Context(), step.to); err != nil {
			t.Fatal(err)
		}
		open := s.topology.Load().open
		for i, want := range stream.SplitHashSpace(step.to) {
			if open[i].hash != want {
				t.Fatalf("%d to %d: range %d is %v, want %v", step.from, step.to, i, open[i].hash, want)
			}
		}
		d, _ := s.Describe()
		if d.OpenShards != step.to || d.Shards != step.all {
			t.Errorf("%d to %d: %d open shards of %d, want %d of %d", step.from, step.to, d.OpenShards, d.Shards, step.to, step.all)
		}
	}
}

// Whoever follows a shard to its end and then its children has read everything.
func TestReshardingUnderLoadLosesNothing(t *testing.T) {
	e := openDir(t, t.TempDir(), small())
	s := ensure(t, e, "orders", StreamConfig{})
	const writers, each = 4, 300
	var putting, reading sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	last := map[string]stream.Sequence{} // of each key
	started := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	var follow func(shard string)
	follow = func(shard string) {
		mu.Lock()
		again := started[shard]
		started[shard] = true
		mu.Unlock()
		if again {
			return
		}
		reading.Go(func() {
			r, err := s.Open(ctx, shard, stream.TrimHorizon)
			if err != nil {
				t.Error(err)
				return
			}
			var b stream.Batch
			for {
				err := r.Next(ctx, &b)
				var end *stream.ShardEndError
				switch {
				case errors.As(err, &end):
					for _, child := range end.Children {
						follow(child.ID)
					}
					return
				case ctx.Err() != nil:
					return
				case err != nil:
					t.Error(err)
					return
				}
				mu.Lock()
				for _, rec := range b.Records {
					got[string(rec.Data)]++
					if !last[rec.PartitionKey].Less(rec.Sequence) {
						t.Errorf("key %s: sequence numbers do not grow", rec.PartitionKey)
					}
					last[rec.PartitionKey] = rec.Sequence
				}
				if len(got) == writers*each {
					select {
					case <-done:
					default:
						close(done)
					}
				}
				mu.Unlock()
			}
		})
	}
	follow(shardID(0))
	for w := range writers {
		putting.Go(func() {
			for i := range each {
				if _, err := s.Put(ctx, entry(fmt.Sprintf("%d-%d", w, i%20), fmt.Sprintf("%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, n := range []int{3, 1, 4, 2, 5, 1, 2} {
		if err := s.UpdateShardCount(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	putting.Wait()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Errorf("read %d records of %d", len(got), writers*each)
	}
	cancel()
	reading.Wait()
}

func TestATailingReaderSharesTheMemoryOfTheLog(t *testing.T) {
	e := openMemory(t, Config{Logger: quiet})
	s := ensure(t, e, "orders", StreamConfig{})
	a, _ := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
	b, _ := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
	var ba, bb stream.Batch
	mustPut(t, s, number(0, 3)...)
	next(t, a, &ba)
	next(t, b, &bb)
	for i := range ba.Records {
		if unsafe.SliceData(ba.Records[i].Data) != unsafe.SliceData(bb.Records[i].Data) ||
			unsafe.StringData(ba.Records[i].PartitionKey) != unsafe.StringData(bb.Records[i].PartitionKey) {
			t.Fatal("two readers have copies")
		}
	}
	if ba.Footprint < ba.Bytes {
		t.Fatalf("footprint %d of %d bytes", ba.Footprint, ba.Bytes)
	}
	// Reading allocates nothing.
	for range 200 {
		mustPut(t, s, number(0, 1)...)
	}
	ba.MaxRecords = 1
	allocs := testing.AllocsPerRun(100, func() { next2(t, a, &ba) })
	if allocs > 0 {
		t.Fatalf("%v allocations a read", allocs)
	}
}

func next2(t *testing.T, r stream.Reader, b *stream.Batch) {
	if err := r.Next(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

func TestABatchOfOldRecordsDoesNotPinTheCache(t *testing.T) {
	e := openMemory(t, Config{Logger: quiet})
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	open := s.topology.Load().open
	filler := stream.Entry{PartitionKey: "k", Data: make([]byte, 500<<10), HashKey: open[1].hash.Start, HasHashKey: true}
	for range 40 { // one small record in every arena
		mustPut(t, s, stream.Entry{PartitionKey: "k", Data: []byte("small"), HashKey: open[0].hash.Start, HasHashKey: true}, filler, filler)
	}
	for _, most := range []int{0, 1, 64 << 10, 1 << 20, 3 << 20} {
		r, _ := s.Open(t.Context(), open[0].id, stream.TrimHorizon)
		b := stream.Batch{MaxFootprint: most}
		if most == 0 {
			most = 5 << 20
		}
		for total := 0; total < 40; total += len(b.Records) {
			next(t, r, &b)
			if b.Footprint > max(most, 2*b.Bytes)+64<<10 {
				t.Fatalf("%d records of %d bytes pin %d bytes, want at most about %d", len(b.Records), b.Bytes, b.Footprint, most)
			}
			for i := range b.Records {
				if string(b.Records[i].Data) != "small" {
					t.Fatalf("a record came as %q", b.Records[i].Data)
				}
			}
		}
	}
}

func TestASlowSubscriberKeepsLittleAndHindersNobody(t *testing.T) {
	e := openMemory(t, Config{CacheBytes: 4 << 20, SegmentBytes: 8 << 20, Logger: quiet})
	s := ensure(t, e, "orders", StreamConfig{})
	stuck := make(chan struct{})
	entered, caughtUp := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	var slow, fast int
	stop := errors.New("enough")
	const n, size = 2000, 16 << 10 // 32 MiB
	wg.Go(func() {
		err := s.Subscribe(ctx, shardID(0), stream.TrimHorizon, stream.Batch{MaxBytes: 64 << 10}, func(b *stream.Batch) error {
			if slow == 0 {
				close(entered)
				<-stuck
			}
			if slow += len(b.Records); slow == n {
				close(caughtUp)
			}
			if b.Bytes > 64<<10 {
				t.Errorf("a batch of %d bytes", b.Bytes)
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Errorf("subscription: %v", err)
		}
	})
	data := make([]byte, size)
	mustPut(t, s, stream.Entry{PartitionKey: "k", Data: data})
	<-entered
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	r, _ := s.Open(ctx, shardID(0), stream.TrimHorizon)
	var b stream.Batch
	for i := 1; i < n; i++ {
		mustPut(t, s, stream.Entry{PartitionKey: "k", Data: data})
	}
	for fast < n {
		next(t, r, &b)
		fast += len(b.Records)
	}
	b = stream.Batch{}
	runtime.GC()
	runtime.ReadMemStats(&m1)
	// The files are in memory here: what was put, and the cache, and little more.
	if grown, most := int(m1.HeapAlloc)-int(m0.HeapAlloc), n*size*5/4+(8<<20); grown > most {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, most)
	}
	close(stuck)
	<-caughtUp
	cancel(stop)
	wg.Wait()
}

func TestRecordsStayAsTheyWereReadWhenTheirMemoryLeavesTheCache(t *testing.T) {
	e := openMemory(t, Config{CacheBytes: 2 << 20, SegmentBytes: 8 << 20, Logger: quiet})
	s := ensure(t, e, "orders", StreamConfig{})
	r, _ := s.Open(t.Context(), shardID(0), stream.TrimHorizon)
	var kept []stream.Record
	for i := range 40 { // 20 MiB, and what is read is kept
		mustPut(t, s, entry(fmt.Sprint("key-", i), strings.Repeat(string(rune('a'+i%26)), 512<<10)))
		if i < 3 {
			var b stream.Batch
			next(t, r, &b)
			kept = append(kept, b.Records...)
		}
	}
	for i, rec := range kept {
		if rec.PartitionKey != fmt.Sprint("key-", i) || strings.Trim(string(rec.Data), string(rune('a'+i%26))) != "" {
			t.Fatalf("record %d has changed", i)
		}
	}
}

// heldFS holds back the syncs of log files.
type heldFS struct {
	vfs.FS
	hold atomic.Pointer[chan struct{}]
}

type heldFile struct {
	vfs.File
	fs *heldFS
}

func (f *heldFS) Open(name string) (vfs.File, error) { return f.wrap(f.FS.Open(name)) }

func (f *heldFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	if strings.HasPrefix(name, "MANIFEST") {
		return file, err
	}
	return f.wrap(file, err)
}

func (f *heldFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return heldFile{file, f}, nil
}

func (f heldFile) Sync() error {
	if hold := f.fs.hold.Load(); hold != nil {
		<-*hold
	}
	return f.File.Sync()
}

func TestAShardDoesNotEndBeforeItsLastRecordIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &heldFS{FS: vfs.Memory()}
		cfg := small()
		cfg.fs = fs
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		synctest.Wait()
		hold := make(chan struct{})
		fs.hold.Store(&hold)
		var put, split, late atomic.Bool
		go func() {
			mustPut(t, s, number(0, 1)...)
			put.Store(true)
		}()
		synctest.Wait()
		go func() {
			if err := s.Split(t.Context(), shardID(0), stream.FullRange.Middle()); err != nil {
				t.Error(err)
			}
			split.Store(true)
		}()
		synctest.Wait()
		go func() { // finds the shard closing, and waits for the children
			if r := mustPut(t, s, number(1, 1)...); r[0].Shard == shardID(0) {
				t.Error("put into a shard that was closing")
			}
			late.Store(true)
		}()
		synctest.Wait()
		if put.Load() || split.Load() || late.Load() {
			t.Fatalf("answered before the sync: put %v, split %v, put during it %v", put.Load(), split.Load(), late.Load())
		}
		if records, err := readNow(s, shardID(0), stream.TrimHorizon); err != nil || len(records) > 0 {
			t.Fatalf("read %d records, %v, before the sync", len(records), err)
		}
		fs.hold.Store(nil)
		close(hold)
		synctest.Wait()
		var end *stream.ShardEndError
		records, err := readNow(s, shardID(0), stream.TrimHorizon)
		if len(records) != 1 || !errors.As(err, &end) || len(end.Children) != 2 {
			t.Fatalf("read %d records, %v, want one and the end", len(records), err)
		}
		if !put.Load() || !split.Load() || !late.Load() {
			t.Fatal("not answered after the sync")
		}
		e.Close()
	})
}
