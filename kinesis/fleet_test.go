package kinesis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// Two workers read a stream by polling it over the API, through a split, a merge
// and a handoff: every record is processed once.
func TestAFleetPollsThroughSplitMergeAndHandoffWithoutARepeat(t *testing.T) {
	e, client := serve(t, server.Config{})
	if _, err := e.CreateStream(t.Context(), "orders", engine.StreamConfig{Shards: 2}); err != nil {
		t.Fatal(err)
	}
	st := func() *Stream {
		s, err := New(client, "orders", near)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var mu sync.Mutex
	times := map[string]int{}
	changed := make(chan struct{}, 1)
	leases := lease.NewMemory()
	start := func(name string) (stop func()) {
		w, err := worker.New(worker.Config{
			Application: "fleet", Name: name, Streams: []stream.Stream{st()}, Leases: leases, Logger: quiet,
			Processor: func(processors.Shard) processors.RecordProcessor {
				return processors.Func(func(_ context.Context, b *processors.Batch) error {
					mu.Lock()
					defer mu.Unlock()
					for i := range b.Records {
						times[string(b.Records[i].Data)]++
					}
					select {
					case changed <- struct{}{}:
					default:
					}
					return nil
				})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		return sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("worker %s: %v", name, err)
			}
		})
	}
	put := 0
	puts := func(n int) {
		t.Helper()
		var entries []stream.Entry
		for range n {
			entries = append(entries, stream.Entry{PartitionKey: fmt.Sprintf("key-%d", put%10), Data: fmt.Append(nil, put)})
			put++
		}
		results, err := st().Put(t.Context(), entries...)
		for _, r := range results {
			if r.Err != nil {
				err = r.Err
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	processed := func() {
		t.Helper()
		late := time.After(time.Minute)
		for {
			mu.Lock()
			got := len(times)
			mu.Unlock()
			if got == put {
				break
			}
			select {
			case <-changed:
			case <-late:
				t.Fatalf("%d records are processed, want %d", got, put)
			}
		}
		for data, n := range times {
			if n != 1 {
				t.Errorf("record %s was processed %d times", data, n)
			}
		}
	}

	stopA := start("a")
	defer stopA()
	stopB := start("b")
	defer stopB()
	puts(500)
	r := st()
	for _, reshard := range []error{
		r.Split(t.Context(), first, stream.SplitHashSpace(2)[0].Middle()),
		r.Merge(t.Context(), "shardId-000000000003", "shardId-000000000001"),
		r.UpdateShardCount(t.Context(), 4),
	} {
		if reshard != nil {
			t.Fatal(reshard)
		}
	}
	puts(500)
	processed()
	stopA()
	puts(500)
	processed()
}

// A shard that was closed leaves its stream with its last record, though the fleet
// was away and has not read it to its end. The fleet says so, and goes on.
func TestAFleetGoesOnWithTheChildrenOfAShardThatLeftItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		var log bytes.Buffer
		var mu sync.Mutex // guards what is done
		done := map[string]int{}
		leases := lease.NewMemory()
		run := func(d time.Duration) {
			w, err := worker.New(worker.Config{
				Application: "fleet", Name: "a", Streams: []stream.Stream{s.stream(Config{})}, Leases: leases,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Processor: func(shard processors.Shard) processors.RecordProcessor {
					return processors.Func(func(_ context.Context, b *processors.Batch) error {
						mu.Lock()
						defer mu.Unlock()
						done[shard.ID] += len(b.Records)
						return nil
					})
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
		}
		s.put(0, 10, 10)
		run(time.Minute)
		s.put(0, 10, 10)
		s.split(0)
		s.left = map[string]bool{first: true}
		s.put(1, 10, 10)
		s.put(2, 10, 10)
		run(2 * time.Minute)
		if done[first] != 10 || done[s.shards[1].id] != 10 || done[s.shards[2].id] != 10 {
			t.Errorf("done are %v", done)
		}
		if n := strings.Count(log.String(), "shard left the stream"); n != 1 || !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("told %d times", n)
		}
	})
}
