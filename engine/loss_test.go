package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// The first block of an opening does not follow the one before it without a
// gap. When it is lost, accepted, and left out of what is rewritten, nobody may
// take the gap for another loss.
func TestAnAcceptedLossStaysAcceptedWhenTheRestIsRewritten(t *testing.T) {
	for _, met := range []string{"by a reader", "by opening"} {
		for _, behind := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d behind", met, behind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { acceptAndRewrite(t, met == "by a reader", behind) })
			})
		}
	}
}

func acceptAndRewrite(t *testing.T, byReader bool, behind int) {
	fs := vfs.NewCrash()
	cfg := rewriting(fs)
	cfg.ChunkBytes = -1
	e := mustOpen(t, cfg)
	s := ensure(t, e, "orders", StreamConfig{Shards: 2})
	put := func(hash stream.Hash, data string) {
		mustPut(t, s, stream.Entry{PartitionKey: "k", Data: []byte(data), HashKey: hash, HasHashKey: true})
	}
	fill := func() {
		for range 700 {
			put(stream.MaxHash, strings.Repeat("x", 200))
		}
	}
	put(stream.Hash{}, "first")
	e.Close()
	e = mustOpen(t, cfg)
	s = ensure(t, e, "orders", StreamConfig{})
	put(stream.Hash{}, "hurt")
	for range behind {
		put(stream.Hash{}, "last")
	}
	fill()
	var hit int64
	for _, op := range fs.History() {
		if i := strings.Index(string(op.Data), "hurt"); op.Kind == vfs.OpWrite && op.Name == firstLog && i > 0 {
			hit = op.Off + int64(i)
		}
	}
	fs.Flip(firstLog, hit, 1)
	expect := func(when string, losses int) {
		t.Helper()
		records, told, err := readAccepting(t.Context(), s, shardID(0))
		if err != nil || len(records) != 1+behind || told != losses {
			t.Errorf("%s: read %d records, told of %d losses, %v; want %d, %d", when, len(records), told, err, 1+behind, losses)
		}
	}
	told := 1
	if byReader {
		expect("before it is opened again", told)
		told = 0
	}
	e.Close()
	cfg.ChunkBytes = 1
	for i := range 3 {
		e = mustOpen(t, cfg)
		s = ensure(t, e, "orders", StreamConfig{})
		expect(fmt.Sprintf("opening %d", i), told)
		told = 0
		fill()
		time.Sleep(time.Minute)
		synctest.Wait()
		if e.log.Files().First == 1 {
			t.Errorf("the first segment is not rewritten: %+v", e.log.Files())
		}
		e.Close()
	}
}
