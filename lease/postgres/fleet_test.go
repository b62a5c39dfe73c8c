package postgres

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// tally counts how often each record was done, and who did any.
type tally struct {
	mu   sync.Mutex
	done map[string]int
	by   map[string]int
	lost int // leases that were lost, as on a machine too slow to beat in time
}

// counter is a processor that enters what it sees in a tally.
type counter struct {
	processors.Base
	*tally
	name string
}

func (c *counter) ProcessRecords(_ context.Context, batch *processors.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch.Records {
		c.done[string(batch.Records[i].Data)]++
		c.by[c.name]++
	}
	return nil
}

func (c *counter) LeaseLost(context.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost++
}

func (l *tally) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

func (l *tally) of(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[name]
}

func TestAFleetOverPostgresProcessesEachRecordOnceAcrossAStopAndAJoin(t *testing.T) {
	t.Parallel()
	for name, pollOnly := range map[string]bool{"notified": false, "polling only": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runFleet(t, pollOnly)
		})
	}
}

func runFleet(t *testing.T, pollOnly bool) {
	server := testpg.Shared(t)
	config := Config{Application: "fleet", Schema: server.Schema(t), PollOnly: pollOnly}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := engine.OpenMemory(engine.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 8})
	if err != nil {
		t.Fatal(err)
	}
	ledger := &tally{done: map[string]int{}, by: map[string]int{}}

	var running sync.WaitGroup
	defer running.Wait()
	start := func(name string) (stop func()) {
		s := beside(t, server, config)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		w, err := worker.New(worker.Config{
			Application: "fleet", Name: name, Streams: []stream.Stream{orders}, Leases: s, Logger: log,
			Processor:    func(processors.Shard) processors.RecordProcessor { return &counter{tally: ledger, name: name} },
			FailoverTime: 6 * time.Second, CheckpointEvery: 50 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		running.Go(func() {
			defer close(ended)
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker %s: %v", name, err)
			}
		})
		return func() { cancel(); <-ended }
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	put := 0
	putting := func(enough func() bool) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for more := true; more; more = !enough() {
			if time.Now().After(deadline) {
				t.Fatalf("after %d records: still not there", put)
			}
			entries := make([]stream.Entry, 20)
			for i := range entries {
				entries[i] = stream.Entry{PartitionKey: fmt.Sprint("key ", put), Data: fmt.Append(nil, put)}
				put++
			}
			if _, err := orders.Put(ctx, entries...); err != nil {
				t.Fatal(err)
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}

	stopA, stopB := start("a"), start("b")
	putting(func() bool { return ledger.of("a") > 0 && ledger.of("b") > 0 })
	stopC := start("c") // a join
	putting(func() bool { return ledger.of("c") > 0 })
	stopA() // a stop, which hands over
	before := ledger.of("a")
	putting(func() bool { return ledger.count() > put-40 })
	until(t, "all records are done", func() bool { return ledger.count() == put })
	stopB()
	stopC()

	if ledger.of("a") != before {
		t.Error("a worker that had returned went on")
	}
	for record, times := range ledger.done {
		if times != 1 && ledger.lost == 0 {
			t.Errorf("record %s was done %d times, want once: every move was a clean one", record, times)
		}
	}
	s := beside(t, server, config)
	for l, err := range s.Leases(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Owner != "" || l.CheckpointOwner != "" {
			t.Errorf("%s is still owned by %q and %q", l.Key, l.Owner, l.CheckpointOwner)
		}
	}
	if members, err := s.Members(t.Context()); err != nil {
		t.Error(err)
	} else {
		t.Logf("%d records, shared out as %v; %d leases lost, %d members left", put, ledger.by, ledger.lost, len(members))
	}
}
