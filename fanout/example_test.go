package fanout_test

import (
	"context"
	"fmt"
	"log"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/stream"
)

// A stream that is read by push is a stream as any other. That of package
// kinesis is used in the same way: give it to Use, and a worker what Use returns.
func ExampleUse() {
	ctx := context.Background()
	e, err := engine.OpenMemory(engine.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{Shards: 1})
	if err != nil {
		log.Fatal(err)
	}

	pushed, err := fanout.Use(orders, "billing", fanout.Config{})
	if err != nil {
		log.Fatal(err)
	}
	r, err := pushed.Open(ctx, "shardId-000000000000", stream.TrimHorizon)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	if _, err := orders.Put(ctx, stream.Entry{PartitionKey: "customer-4711", Data: []byte("one sandwich")}); err != nil {
		log.Fatal(err)
	}
	var b stream.Batch
	if err := r.Next(ctx, &b); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", b.Records[0].PartitionKey, b.Records[0].Data)
	// Output: customer-4711: one sandwich
}
