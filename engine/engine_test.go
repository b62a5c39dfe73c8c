package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/stream"
)

// bothKinds runs a test over a directory and in memory.
func bothKinds(t *testing.T, f func(t *testing.T, e *Engine)) {
	t.Run("Directory", func(t *testing.T) { f(t, openDir(t, t.TempDir(), small())) })
	t.Run("Memory", func(t *testing.T) { f(t, openMemory(t, small())) })
}

func TestWhatIsPutIsReadInOrder(t *testing.T) {
	bothKinds(t, func(t *testing.T, e *Engine) {
		s := ensure(t, e, "orders", StreamConfig{})
		const n = 5000
		for i := 0; i < n; i += 50 {
			mustPut(t, s, number(i, 50)...)
		}
		records := mustRead(t, s, shardID(0), stream.TrimHorizon)
		if len(records) != n {
			t.Fatalf("read %d records, want %d", len(records), n)
		}
		for i, r := range records {
			if string(r.Data) != fmt.Sprintf("data-%d", i) || r.PartitionKey != fmt.Sprintf("key-%d", i) {
				t.Fatalf("record %d is %q %q", i, r.PartitionKey, r.Data)
			}
			if i > 0 && !records[i-1].Sequence.Less(r.Sequence) {
				t.Fatalf("record %d: sequence numbers do not grow", i)
			}
		}
	})
}

func TestReopeningBringsEverythingBack(t *testing.T) {
	dir := t.TempDir()
	var want []stream.PutResult
	for round := range 5 {
		e := openDir(t, dir, small())
		s := ensure(t, e, "orders", StreamConfig{Shards: 3})
		want = append(want, mustPut(t, s, number(round*1000, 1000)...)...)
		got := map[stream.Sequence]string{}
		shards, _ := s.Shards(t.Context())
		for _, sh := range shards {
			for _, r := range mustRead(t, s, sh.ID, stream.TrimHorizon) {
				got[r.Sequence] = string(r.Data)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("round %d: read %d records, want %d", round, len(got), len(want))
		}
		for i, w := range want {
			if got[w.Sequence] != fmt.Sprintf("data-%d", i) {
				t.Fatalf("round %d: record %d is %q", round, i, got[w.Sequence])
			}
		}
		if d := e.Damage(); len(d) > 0 {
			t.Fatalf("round %d: damage %v", round, d)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASecondEngineCannotOpenTheDirectory(t *testing.T) {
	dir := t.TempDir()
	openDir(t, dir, small())
	if _, err := Open(dir, small()); !errors.Is(err, ErrLocked) {
		t.Fatalf("second Open: %v, want ErrLocked", err)
	}
}

func TestAnEngineTellsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	if got := openDir(t, dir, small()).Dir(); got != dir {
		t.Errorf("%s, want %s", got, dir)
	}
	if got := openMemory(t, small()).Dir(); got != "" {
		t.Errorf("in memory it is %s", got)
	}
}

func TestDeletingAStreamLeavesTheNextOfItsName(t *testing.T) {
	e := openMemory(t, small())
	old := ensure(t, e, "s", StreamConfig{})
	if err := old.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := ensure(t, e, "s", StreamConfig{})
	if err := old.Delete(t.Context()); !errors.Is(err, stream.ErrStreamNotFound) {
		t.Errorf("%v", err)
	}
	if s, err := e.Stream("s"); err != nil || s != next {
		t.Errorf("%v, %v", s, err)
	}
}
