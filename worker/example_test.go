package worker_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// A consumer in a few lines: an engine, a lease store, and a function. In a
// program they would be engine.Open and sqlite.Open, and last.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	e, err := engine.OpenMemory(engine.Config{Logger: discard()})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	for _, order := range []string{"two coffees", "a cake", "the bill"} {
		if _, err := orders.Put(ctx, stream.Entry{PartitionKey: "table-7", Data: []byte(order)}); err != nil {
			log.Fatal(err)
		}
	}

	w, err := worker.New(worker.Config{
		Application: "waiter",
		Streams:     []stream.Stream{orders},
		Leases:      lease.NewMemory(),
		Logger:      discard(),
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			return processors.Func(func(ctx context.Context, batch *processors.Batch) error {
				for _, r := range batch.Records {
					fmt.Printf("%s: %s\n", r.PartitionKey, r.Data)
					if string(r.Data) == "the bill" {
						stop() // hand over, and return from Run
					}
				}
				return nil // done: the checkpoint may pass these records
			})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// table-7: two coffees
	// table-7: a cake
	// table-7: the bill
}

// teller counts the records of its shard, and says so when the shard goes.
type teller struct {
	processors.Base
	shard processors.Shard
	count int
	stop  context.CancelFunc
}

func (t *teller) ProcessRecords(_ context.Context, batch *processors.Batch) error {
	if batch.Attempt == 1 {
		return fmt.Errorf("the database is away") // the same batch comes again
	}
	t.count += len(batch.Records)
	if t.count == 3 {
		t.stop()
	}
	return nil
}

func (t *teller) ShutdownRequested(ctx context.Context, c checkpoint.Checkpointer) error {
	fmt.Printf("%s of %s: %d records\n", t.shard.ID, t.shard.Stream.Name, t.count)
	return c.Checkpoint(ctx) // would come by itself
}

// A processor with a state of its own is a type: one is made for each term on a
// shard. An error gives the same batch again.
func Example_processor() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e, err := engine.OpenMemory(engine.Config{Logger: discard()})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	s, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := s.Put(ctx,
		stream.Entry{PartitionKey: "a", Data: []byte("1")},
		stream.Entry{PartitionKey: "b", Data: []byte("2")},
		stream.Entry{PartitionKey: "c", Data: []byte("3")},
	); err != nil {
		log.Fatal(err)
	}
	w, err := worker.New(worker.Config{
		Application: "count", Streams: []stream.Stream{s}, Leases: lease.NewMemory(), Logger: discard(),
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			return &teller{shard: shard, stop: stop}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: shardId-000000000000 of orders: 3 records
}
