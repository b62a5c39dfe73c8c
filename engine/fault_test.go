package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// onCrash opens an engine on a disk that can be cut and can fail.
func onCrash(t testing.TB, fs *vfs.Crash) *Engine {
	t.Helper()
	cfg := small()
	cfg.fs = fs
	e, err := Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// kill ends an engine as kill -9 would: the disk sees nothing of it any more.
func kill(e *Engine, fs *vfs.Crash) {
	fs.Fail(func(vfs.Op) error { return vfs.ErrKilled })
	e.Close()
	fs.Fail(nil)
}

func TestAFailedSyncStopsPutsAndKeepsWhatWasAcknowledged(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpSync, vfs.OpWrite} {
		t.Run(kind.String(), func(t *testing.T) {
			fs := vfs.NewCrash()
			e := onCrash(t, fs)
			s := ensure(t, e, "orders", StreamConfig{})
			acked := mustPut(t, s, number(0, 10)...)
			fs.Fail(func(op vfs.Op) error {
				if op.Kind == kind && strings.HasSuffix(op.Name, ".log") {
					return syscall.EIO
				}
				return nil
			})
			_, err := s.Put(t.Context(), number(10, 1)...)
			if !errors.Is(err, stream.ErrReadOnly) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("put on a failing disk: %v, want ErrReadOnly with the cause", err)
			}
			// The disk is well again; what it did meanwhile nobody knows.
			fs.Fail(nil)
			if _, err := s.Put(t.Context(), number(11, 1)...); !errors.Is(err, stream.ErrReadOnly) {
				t.Fatalf("put afterwards: %v, want ErrReadOnly", err)
			}
			if err := s.Split(t.Context(), shardID(0), stream.FullRange.Middle()); !errors.Is(err, stream.ErrReadOnly) {
				t.Fatalf("split afterwards: %v, want ErrReadOnly", err)
			}
			if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != len(acked) {
				t.Fatalf("read %d records, want the %d that were acknowledged", len(got), len(acked))
			}
			if err := e.Close(); !errors.Is(err, stream.ErrReadOnly) {
				t.Fatalf("close: %v, want to be told", err)
			}
			s = ensure(t, onCrash(t, fs), "orders", StreamConfig{})
			got := mustRead(t, s, shardID(0), stream.TrimHorizon)
			if len(got) < len(acked) {
				t.Fatalf("read %d records after reopening, want at least %d", len(got), len(acked))
			}
			if r := mustPut(t, s, number(12, 1)...); !got[len(got)-1].Sequence.Less(r[0].Sequence) {
				t.Fatal("a sequence number was given twice")
			}
		})
	}
}

// askingHandler asks the engine while it logs, as one does that keeps its lines
// in a stream.
type askingHandler struct {
	slog.Handler
	e *Engine
}

func (h *askingHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.e != nil {
		_ = h.e.Err()
	}
	return h.Handler.Handle(ctx, r)
}

func TestALoggerMayAskTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		h := &askingHandler{Handler: quiet.Handler()}
		cfg := small()
		cfg.fs, cfg.Logger = fs, slog.New(h)
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		synctest.Wait()
		h.e = e
		fs.Fail(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		if _, err := s.Put(t.Context(), number(0, 1)...); !errors.Is(err, syscall.EIO) {
			t.Errorf("put: %v", err)
		}
		e.Close()
	})
}

func TestAPersonLearnsThatTheEngineWasNotClosed(t *testing.T) {
	for _, killed := range []bool{true, false} {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		mustPut(t, ensure(t, e, "orders", StreamConfig{}), number(0, 5)...)
		if killed {
			kill(e, fs)
		} else if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		cfg := small()
		cfg.fs, cfg.Logger = fs, slog.New(slog.NewTextHandler(&lines, nil))
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		if told := strings.Contains(lines.String(), "was not closed"); told != killed {
			t.Errorf("killed: %v, and logged is %q", killed, lines.String())
		}
	}
}

func TestAFailedSyncInTheBackgroundStopsPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		cfg := small()
		cfg.fs, cfg.Durability = fs, LoseOnPowerFailure
		e, err := Open("", cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := ensure(t, e, "orders", StreamConfig{})
		synctest.Wait()
		fs.Fail(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		mustPut(t, s, number(0, 1)...) // answered before the sync
		time.Sleep(time.Second)
		if _, err := s.Put(t.Context(), number(1, 1)...); !errors.Is(err, stream.ErrReadOnly) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("put: %v, want ErrReadOnly with the cause", err)
		}
		if err := e.Err(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the engine says %v", err)
		}
		if err := e.Close(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("close: %v", err)
		}
	})
}

// A file that could not even be made must not be looked for afterwards.
func TestALogFileThatCannotBeMadeIsMadeLater(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpTruncate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrash()
			e := onCrash(t, fs)
			s := ensure(t, e, "orders", StreamConfig{})
			synctest.Wait() // the spare segment is there
			fails := 2
			fs.Fail(func(op vfs.Op) error {
				if fails > 0 && op.Kind == kind && (strings.HasPrefix(op.Name, "pool-") || kind == vfs.OpSyncDir) {
					fails--
					return syscall.EMFILE
				}
				return nil
			})
			for range 40 {
				_, err := s.Put(t.Context(), entry("k", strings.Repeat("x", 5000)))
				if err != nil && !errors.Is(err, syscall.EMFILE) {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second) // virtual
			}
			mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
			e.Close()
		})
	}
}

func TestAFullDiskRefusesPutsUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrash()
		e := onCrash(t, fs)
		s := ensure(t, e, "orders", StreamConfig{})
		var full atomic.Bool
		synctest.Wait() // the spare segment is there
		fs.Fail(func(op vfs.Op) error {
			if full.Load() && op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, "pool-") {
				return syscall.ENOSPC
			}
			return nil
		})
		full.Store(true)
		acked := 0
		var err error
		for err == nil {
			if _, err = s.Put(t.Context(), entry("k", strings.Repeat("x", 5000))); err == nil {
				acked++
			}
			synctest.Wait()
		}
		if !errors.Is(err, stream.ErrReadOnly) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("put on a full disk: %v, want ErrReadOnly with the cause", err)
		}
		if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != acked {
			t.Fatalf("read %d records, want %d", len(got), acked)
		}
		if err := s.Tag(t.Context(), map[string]string{"a": "b"}); err != nil {
			t.Fatalf("the rest goes on: %v", err)
		}
		full.Store(false)
		time.Sleep(2 * time.Second) // virtual
		mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
		e.Close()
	})
}

func TestWhatWasReadAfterAKillIsDurable(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{})
	// The put is written, and the process dies before the sync.
	fs.Fail(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") {
			return vfs.ErrKilled
		}
		return nil
	})
	if _, err := s.Put(t.Context(), number(0, 5)...); err == nil {
		t.Fatal("acknowledged without a sync")
	}
	kill(e, fs)
	s = ensure(t, onCrash(t, fs), "orders", StreamConfig{})
	seen := mustRead(t, s, shardID(0), stream.TrimHorizon)
	if len(seen) != 5 {
		t.Fatalf("read %d records, want those that were written", len(seen))
	}
	r := fs.Replay()
	for r.Step() {
	}
	for seed := range uint64(20) {
		s := ensure(t, onCrash(t, r.Image(seed)), "orders", StreamConfig{})
		if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != len(seen) {
			t.Fatalf("image %d: %d records are left of %d that were read", seed, len(got), len(seen))
		}
	}
}

func TestWhatWasCutOffDoesNotComeBack(t *testing.T) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	at := func(shard int, data string) stream.Entry {
		sh := s.topology.Load().open[shard]
		return stream.Entry{PartitionKey: "k", Data: []byte(data), HashKey: sh.hash.Start, HasHashKey: true}
	}
	end := int64(e.log.Durable()) & 0xffffffff
	// One group of two blocks, the first of which the crash has torn.
	mustPut(t, s, at(0, "torn"), at(1, "behind"))
	kill(e, fs)
	fs.Flip(firstLog, end+70, 0xff)

	e = onCrash(t, fs)
	s = ensure(t, e, "orders", StreamConfig{})
	if d := e.Damage(); len(d) > 0 {
		t.Fatalf("the torn end was taken for damage: %v", d)
	}
	mustPut(t, s, at(0, "next")) // as long as the torn one
	kill(e, fs)

	e = onCrash(t, fs)
	s = ensure(t, e, "orders", StreamConfig{})
	if got := mustRead(t, s, shardID(1), stream.TrimHorizon); len(got) > 0 {
		t.Fatalf("%q came back", got[0].Data)
	}
	if got := mustRead(t, s, shardID(0), stream.TrimHorizon); len(got) != 1 || string(got[0].Data) != "next" {
		t.Fatalf("shard 0 has %d records, want one", len(got))
	}
}

const firstLog = "0000000000000001.log"

// closedLog returns the disk of an engine that was closed, and what it holds:
// records by shard.
func closedLog(t testing.TB) (*vfs.Crash, map[string][]stream.Record) {
	fs := vfs.NewCrash()
	e := onCrash(t, fs)
	s := ensure(t, e, "orders", StreamConfig{Shards: 3})
	for i := range 12 {
		mustPut(t, s, number(i*3, 3)...)
	}
	if err := s.Split(t.Context(), shardID(0), s.topology.Load().open[0].hash.Middle()); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, number(100, 20)...)
	all := map[string][]stream.Record{}
	for _, m := range s.topology.Load().all {
		all[m.id] = mustRead(t, s, m.id, stream.TrimHorizon)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, all
}

// Somebody may be able to mend the file, or to copy it: it is not used again
// before its loss is accepted or its records have left retention.
func TestADamagedFileIsKeptUntilItsLossIsAccepted(t *testing.T) {
	for _, accept := range []bool{false, true} {
		disk, all := closedLog(t)
		e := onCrash(t, disk) // the log goes on in another file
		s := ensure(t, e, "orders", StreamConfig{})
		for range 30 {
			mustPut(t, s, entry("k", strings.Repeat("x", 5000)))
		}
		e.Close()
		flip := func() {
			disk.Flip(firstLog, 0, 1)
			disk.Flip(firstLog, 2048, 1)
		}
		flip()
		e = onCrash(t, disk)
		s = ensure(t, e, "orders", StreamConfig{})
		if len(e.Damage()) != 1 || len(s.Losses()) == 0 {
			t.Fatalf("damage %v, losses %v", e.Damage(), s.Losses())
		}
		if accept {
			for shard := range all {
				if _, err := s.AcceptLoss(t.Context(), shard); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := e.sweep(); err != nil {
			t.Fatal(err)
		}
		if used := e.log.Files().First > 1; used != accept {
			t.Errorf("accepted: %v, and given another use: %v", accept, used)
		}
		e.Close()
		if accept {
			continue
		}
		flip() // mended
		e = onCrash(t, disk)
		s = ensure(t, e, "orders", StreamConfig{})
		for shard, want := range all {
			if got := mustRead(t, s, shard, stream.TrimHorizon); len(got) < len(want) || got[0].Sequence != want[0].Sequence {
				t.Errorf("%s: %d records of %d after mending", shard, len(got), len(want))
			}
		}
		e.Close()
	}
}

func TestAnAcceptedLossStaysAccepted(t *testing.T) {
	disk, all := closedLog(t)
	disk.Flip(firstLog, 4096+200, 1)
	if gone, err := missing(t, disk, all); err != nil || len(gone) == 0 {
		t.Fatalf("lost %v, %v: want to be told once", gone, err)
	}
	for range 3 {
		e := onCrash(t, disk)
		s, err := e.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		if l := s.Losses(); len(l) > 0 {
			t.Fatalf("told again: %+v", l)
		}
		for shard := range all {
			mustRead(t, s, shard, stream.TrimHorizon)
		}
		mustPut(t, s, number(1000, 5)...)
		e.Close()
	}
}

func TestALogWithoutItsManifestIsRefused(t *testing.T) {
	disk, _ := closedLog(t)
	if err := disk.Remove("MANIFEST"); err != nil {
		t.Fatal(err)
	}
	before, _ := disk.List()
	cfg := small()
	cfg.fs = disk
	if _, err := Open("", cfg); err == nil || !strings.Contains(err.Error(), "MANIFEST") {
		t.Fatalf("open: %v, want a refusal that names the manifest", err)
	}
	after, _ := disk.List()
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Fatalf("files were %v and are %v", before, after)
	}
}

func TestRotOnTheDiskIsFoundByWhoReadsIt(t *testing.T) {
	fs := vfs.NewCrash()
	cfg := small()
	cfg.fs = fs
	cfg.CacheBytes = 1
	cfg.SegmentBytes = 1 << 20
	e, err := Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	open := s.topology.Load().open
	at := func(shard, i int) stream.Entry {
		return stream.Entry{PartitionKey: "k", Data: []byte(fmt.Sprint(i, strings.Repeat("x", 40_000))), HashKey: open[shard].hash.Start, HasHashKey: true}
	}
	var second int64
	for i := range 10 { // in an arena each, so that the last one alone is in memory
		if i == 5 {
			second = int64(e.log.Durable()) & 0xffffffff
		}
		mustPut(t, s, at(0, i), at(1, i))
	}
	for range 20 {
		mustPut(t, s, at(1, 99), at(1, 99))
	}
	fs.Flip(firstLog, second+1000, 1) // record 5 of the first shard
	var corrupt *stream.CorruptError
	for range 3 {
		records, err := readNow(s, open[0].id, stream.TrimHorizon)
		if !errors.As(err, &corrupt) || corrupt.File != firstLog || corrupt.Offset != second || corrupt.Shard != open[0].id {
			t.Fatalf("read: %v, want a CorruptError at %d", err, second)
		}
		if len(records) != 5 {
			t.Fatalf("%d records before the damage, want 5", len(records))
		}
	}
	if got := mustRead(t, s, open[1].id, stream.TrimHorizon); len(got) != 50 {
		t.Fatalf("the other shard has %d records, want 50", len(got))
	}
	losses, err := s.AcceptLoss(t.Context(), open[0].id)
	if err != nil || len(losses) != 1 || losses[0].Offset != second {
		t.Fatalf("accepted %+v, %v", losses, err)
	}
	if got := mustRead(t, s, open[0].id, stream.TrimHorizon); len(got) != 9 {
		t.Fatalf("%d records after the loss was accepted, want 9", len(got))
	}
}

func TestFilesOfAnotherVersionAreRefused(t *testing.T) {
	for name, off := range map[string]int64{firstLog: 8, "MANIFEST": 8} {
		disk, _ := closedLog(t)
		file, err := disk.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		size := disk.SizeOf(name)
		b := make([]byte, size)
		file.ReadAt(b, 0)
		copies := []int64{0, size / 2}
		if name == firstLog {
			copies = []int64{0, 2048}
		}
		for _, at := range copies {
			b[at+off] = 9
			// With a checksum that is right.
			crc := crc32.MakeTable(crc32.Castagnoli)
			if name == firstLog {
				binary.LittleEndian.PutUint32(b[at+40:], crc32.Checksum(b[at:at+40], crc))
			} else {
				binary.LittleEndian.PutUint32(b[at+20:], crc32.Update(crc32.Checksum(b[at:at+20], crc), crc, b[at+24:at+size/2]))
			}
		}
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		cfg := small()
		cfg.fs = disk
		if _, err := Open("", cfg); err == nil || !strings.Contains(err.Error(), "version 9") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s of version 9: %v", name, err)
		}
	}
}
