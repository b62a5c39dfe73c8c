package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// A stream is put to, and read from its beginning.
func Example() {
	ctx := context.Background()
	e, err := engine.OpenMemory(engine.Config{}) // engine.Open(dir, …) keeps it
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = orders.Put(ctx,
		stream.Entry{PartitionKey: "customer-7", Data: []byte("two apples")},
		stream.Entry{PartitionKey: "customer-9", Data: []byte("a pear")},
	)
	if err != nil {
		log.Fatal(err)
	}
	shards, err := orders.Shards(ctx)
	if err != nil {
		log.Fatal(err)
	}
	r, err := orders.Open(ctx, shards[0].ID, stream.TrimHorizon)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	var batch stream.Batch
	if err := r.Next(ctx, &batch); err != nil {
		log.Fatal(err)
	}
	for _, record := range batch.Records {
		fmt.Printf("%s: %s\n", record.PartitionKey, record.Data)
	}
	// Output:
	// customer-7: two apples
	// customer-9: a pear
}

// A split shard ends and names its children.
func ExampleStream_Split() {
	ctx := context.Background()
	e, err := engine.OpenMemory(engine.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	s, err := e.CreateStream(ctx, "clicks", engine.StreamConfig{Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	shards, _ := s.Shards(ctx)
	if err := s.Split(ctx, shards[0].ID, shards[0].Hash.Middle()); err != nil {
		log.Fatal(err)
	}
	err = s.Subscribe(ctx, shards[0].ID, stream.TrimHorizon, stream.Batch{}, func(*stream.Batch) error { return nil })
	var end *stream.ShardEndError
	if errors.As(err, &end) {
		for _, child := range end.Children {
			fmt.Println(child.ID, child.Parents)
		}
	}
	// Output:
	// shardId-000000000001 [shardId-000000000000]
	// shardId-000000000002 [shardId-000000000000]
}
