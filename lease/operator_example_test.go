package lease_test

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// leftBehind returns the store of a fleet that has processed some of a stream of
// two shards, and has stopped.
func leftBehind() (lease.Store, stream.Stream) {
	ctx, store, orders := context.Background(), lease.NewMemory(), streamtest.NewMemory("orders", 2)
	id, err := orders.Identity(ctx)
	if err != nil {
		panic(err)
	}
	shards, err := orders.Shards(ctx)
	if err != nil {
		panic(err)
	}
	for _, sh := range shards {
		if err := store.Create(ctx, lease.NewLease(id.Name, id.ID(), sh, stream.After(stream.MakeSequence(0, 0, 42)))); err != nil {
			panic(err)
		}
	}
	return store, orders
}

func ExampleOperator() {
	ctx := context.Background()
	store, orders := leftBehind()
	ops, err := lease.NewOperator(store, lease.OperatorConfig{Actor: "ada", Streams: []stream.Stream{orders}})
	if err != nil {
		panic(err)
	}

	// Nobody is to process the stream for a while.
	pause, err := ops.Do(ctx, lease.Action{
		Kind: lease.ActionPause, Scope: lease.Scope{Stream: "orders"}, Reason: "bad deploy",
	})
	if err != nil {
		panic(err)
	}

	// What would it change to process everything again?
	again := lease.Action{Kind: lease.ActionSeek, Scope: lease.Scope{Stream: "orders"}, To: stream.TrimHorizon}
	dry, err := ops.DryRun(ctx, again)
	if err != nil {
		panic(err)
	}
	for _, l := range dry.Leases {
		fmt.Println(l)
	}
	seek, err := ops.Do(ctx, again)
	if err != nil {
		panic(err)
	}

	// How does the fleet stand?
	fleet, err := lease.FleetStatus(ctx, store, 0)
	if err != nil {
		panic(err)
	}
	for _, s := range fleet.Shards {
		fmt.Println(s.Lease.Shard, "is", s.State, "by", s.Order.Actor, "because of a", s.Order.Reason, "at", s.Lease.Checkpoint.Position)
	}

	// On second thoughts: back to where it was, and on.
	for _, change := range []lease.Change{seek, pause} {
		if _, err := ops.Undo(ctx, change); err != nil {
			panic(err)
		}
	}
	fleet, err = lease.FleetStatus(ctx, store, 0)
	if err != nil {
		panic(err)
	}
	for _, s := range fleet.Shards {
		fmt.Printf("%v, at %v\n", s, s.Lease.Checkpoint.Position)
	}

	// Output:
	// shardId-000000000000: from AFTER:42 to TRIM_HORIZON
	// shardId-000000000001: from AFTER:42 to TRIM_HORIZON
	// shardId-000000000000 is paused by ada because of a bad deploy at TRIM_HORIZON
	// shardId-000000000001 is paused by ada because of a bad deploy at TRIM_HORIZON
	// shardId-000000000000: free, no worker lives, at AFTER:42
	// shardId-000000000001: free, no worker lives, at AFTER:42
}
