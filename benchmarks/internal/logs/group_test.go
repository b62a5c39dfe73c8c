package logs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestAGroupCommitsEveryAppendOnceAndTellsEveryCaller(t *testing.T) {
	const callers, each, most, one = 20, 50, 40, 8 // one append is 8 bytes
	refused := errors.New("refused")
	seen := map[string]int{}
	g := newGroup(most, func(batch [][]Record) error {
		n, failed := 0, error(nil)
		for _, records := range batch {
			n += sizeOf(records)
			for _, r := range records {
				seen[r.Key]++
				if r.Key == "bad" {
					failed = refused
				}
			}
		}
		if n >= most+one { // the last append may go beyond it
			t.Errorf("a group has %d bytes", n)
		}
		return failed
	})
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			w := g.Writer()
			for i := range each {
				key := fmt.Sprintf("%02d%02d", c, i)
				if err := w.Append(context.Background(), []Record{{Key: key}, {Key: key}}); err != nil && !errors.Is(err, refused) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := g.Writer().Append(context.Background(), []Record{{Key: "bad"}}); !errors.Is(err, refused) {
		t.Errorf("a refused append returned %v", err)
	}
	g.close()
	if len(seen) != callers*each+1 {
		t.Errorf("%d keys were committed, want %d", len(seen), callers*each+1)
	}
	for key, n := range seen {
		if want := 2; key != "bad" && n != want {
			t.Errorf("%q was committed %d times, want %d", key, n, want)
		}
	}
}

// What every log promises: appends of many callers return without an error, and
// it can be closed.
func TestEveryLogTakesRecordsOfManyCallers(t *testing.T) {
	logs := map[string]func(dir string) (Log, error){
		"raft-wal":      OpenRaftWAL,
		"Pebble":        func(dir string) (Log, error) { return OpenPebble(dir, true) },
		"files":         func(dir string) (Log, error) { return OpenFiles(dir, 4, false) },
		"files, syncfs": func(dir string) (Log, error) { return OpenFiles(dir, 4, true) },
		"NATS":          func(dir string) (Log, error) { return OpenNATS(t.Context(), dir, false, false) },
		"NATS, batches": func(dir string) (Log, error) { return OpenNATS(t.Context(), dir, true, true) },
	}
	for name, open := range logs {
		t.Run(name, func(t *testing.T) {
			log, err := open(t.TempDir() + "/data")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 20 {
				w := log.Writer()
				wg.Go(func() {
					for range 3 {
						records := []Record{{Key: "one", Shard: 1, Data: []byte("1")}, {Key: "three", Shard: 3, Data: []byte("3")}}
						if err := w.Append(t.Context(), records); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if n, ok := log.(*NATS); ok {
				left := 120
				if err := n.Read(t.Context(), func(string, []byte) bool { left--; return left == 0 }); err != nil {
					t.Errorf("%d were not read: %v", left, err)
				}
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
