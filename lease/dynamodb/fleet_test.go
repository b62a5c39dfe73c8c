package dynamodb_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease/dynamodb"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// account counts how often each record was processed, by its number.
type account struct {
	mu      sync.Mutex
	times   map[int]int
	workers map[string]bool
	last    map[string]stream.Sequence // by shard
	changed chan struct{}
}

func (a *account) add(by, shard string, records []stream.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers[by] = true
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			return err
		}
		a.times[n]++
		a.last[shard] = r.Sequence
	}
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

// wait returns when enough says so of the account, or the test has no time left.
// Now and then it does something meanwhile.
func (a *account) wait(t *testing.T, what string, enough func() bool, meanwhile func()) {
	t.Helper()
	late := time.After(3 * time.Minute)
	now := time.NewTicker(100 * time.Millisecond)
	defer now.Stop()
	for {
		a.mu.Lock()
		done, changed := enough(), a.changed
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-now.C:
			meanwhile()
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// losses counts the log lines that explain a repeated record.
type losses struct {
	mu  sync.Mutex
	n   int
	log strings.Builder // of all workers, for when something goes wrong
}

func (l *losses) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(line), "lease lost") {
		l.n++
	}
	l.log.Write(line)
	return len(line), nil
}

// fleet is what the workers of a test have in common.
type fleet struct {
	t       *testing.T
	client  dynamodb.API
	config  dynamodb.Config
	engine  *engine.Engine
	stream  *engine.Stream
	account *account
	losses  *losses
	put     int
}

func newFleet(t *testing.T, client dynamodb.API, shards int) *fleet {
	t.Helper()
	e, err := engine.Open(t.TempDir(), engine.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{
		t: t, client: client, engine: e, stream: s, losses: &losses{},
		config:  dynamodb.Config{Application: testdynamo.TableName()},
		account: newAccount(),
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		f.losses.mu.Lock()
		defer f.losses.mu.Unlock()
		t.Logf("what the workers told:\n%s", f.losses.log.String())
		store, err := dynamodb.New(client, f.config)
		if err != nil {
			return
		}
		for l, err := range store.Leases(context.WithoutCancel(t.Context())) {
			t.Logf("%+v %v", l, err)
		}
	})
	return f

}

func newAccount() *account {
	return &account{times: map[int]int{}, workers: map[string]bool{}, last: map[string]stream.Sequence{}, changed: make(chan struct{})}
}

// start starts a worker as a process of its own would, with a store of its own,
// and returns how to stop it.
func (f *fleet) start(name string) (stop func()) {
	f.t.Helper()
	store, err := dynamodb.New(f.client, f.config)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := store.CreateTables(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	w, err := worker.New(worker.Config{
		Application: f.config.Application, Name: name, Streams: []stream.Stream{f.stream}, Leases: store,
		FailoverTime: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(f.losses, nil)),
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, b *processors.Batch) error { return f.account.add(name, shard.ID, b.Records) })
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(stop)
	return stop
}

func (f *fleet) puts(n int) {
	f.t.Helper()
	for range n {
		f.put++
		entry := stream.Entry{PartitionKey: strconv.Itoa(f.put), Data: []byte(strconv.Itoa(f.put))}
		if results, err := f.stream.Put(f.t.Context(), entry); err != nil || results[0].Err != nil {
			f.t.Fatal(err, results)
		}
	}
}

func (f *fleet) processed(what string) {
	f.t.Helper()
	f.account.wait(f.t, what, func() bool { return len(f.account.times) == f.put }, func() {})
}

// settle checks, when all workers have stopped, that every record was processed,
// and again only where a lost lease explains it.
func (f *fleet) settle() {
	f.t.Helper()
	repeats := 0
	for n := 1; n <= f.put; n++ {
		if f.account.times[n] == 0 {
			f.t.Errorf("record %d was lost", n)
		}
		repeats += max(0, f.account.times[n]-1)
	}
	if repeats > 0 && f.losses.n == 0 {
		f.t.Errorf("%d records were processed again, and no lease was lost", repeats)
	}
	f.t.Logf("%d records, %d of them again after %d lost leases", f.put, repeats, f.losses.n)
}

func TestAFleetProcessesEverythingAcrossAJoinAndAStop(t *testing.T) {
	t.Parallel()
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
		t.Parallel()
		if testing.Short() && api.Name == "moto" {
			t.Skip("one emulator is enough for a short run")
		}
		f := newFleet(t, api.Client(t, nil), 6)
		f.puts(300)
		stopFirst := f.start("first")
		f.processed("the first worker works alone")
		stopSecond := f.start("second")
		stopThird := f.start("third")
		for _, name := range []string{"second", "third"} {
			f.account.wait(t, name+" gets a share", func() bool { return f.account.workers[name] }, func() { f.puts(6) })
		}
		stopFirst()
		f.puts(300)
		f.processed("two workers have all shards")
		stopSecond()
		stopThird()

		f.settle()
	})
}

// One request in eight goes wrong: half of these take place all the same.
func TestAFleetLosesNothingOnABadWire(t *testing.T) {
	t.Parallel()
	wire := testdynamo.NewWire(testdynamo.Transport(t))
	f := newFleet(t, testdynamo.Any(t).Client(t, wire), 4)
	f.puts(100)
	stopFirst := f.start("first")
	stopSecond := f.start("second")
	wire.SetFault(func(string, int) testdynamo.Fault {
		return []testdynamo.Fault{testdynamo.Throttle, testdynamo.Break, testdynamo.LoseAnswer, testdynamo.FailAfter,
			testdynamo.Pass}[min(rand.IntN(32), 4)]
	})
	f.account.wait(t, "both get a share", func() bool { return len(f.account.workers) == 2 }, func() { f.puts(4) })
	stopSecond()
	f.puts(100)
	f.processed("the first worker has all shards again")
	stopFirst()
	f.settle()
	t.Logf("requests: %v", wire.Counts())
}

// first returns the first n records of a shard.
func (f *fleet) first(shard string, n int) (all []stream.Record) {
	f.t.Helper()
	r, err := f.stream.Open(f.t.Context(), shard, stream.TrimHorizon)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	for len(all) < n {
		var b stream.Batch
		if err := r.Next(f.t.Context(), &b); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, b.Records...)
	}
	return all[:n]
}

// The table of a KCL 2.x application that has stopped: one shard half done, one not
// begun, and one that was to begin at the latest record.
func TestAWorkerGoesOnWhereTheKCLStoppedAndTheKCLAfterIt(t *testing.T) {
	t.Parallel()
	client := testdynamo.Any(t).Client(t, nil)
	f := newFleet(t, client, 3)
	f.puts(300)
	ctx := t.Context()
	id, err := f.stream.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.config.SingleStream = id.Name
	shards, err := f.stream.Shards(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done, passed := f.first(shards[0].ID, 60), f.all(shards[2])
	store, err := dynamodb.New(client, f.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateTables(ctx); err != nil {
		t.Fatal(err)
	}
	textOf := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	numberOf := func(n int) types.AttributeValue { return &types.AttributeValueMemberN{Value: strconv.Itoa(n)} }
	for i, checkpoint := range []string{done[len(done)-1].Sequence.String(), "TRIM_HORIZON", "LATEST"} {
		_, err := client.PutItem(ctx, &sdk.PutItemInput{TableName: &f.config.Application, Item: map[string]types.AttributeValue{
			"leaseKey": textOf(shards[i].ID), "leaseOwner": textOf("ip-10-0-0-1:java"), "leaseCounter": numberOf(4711 * i),
			"ownerSwitchesSinceCheckpoint": numberOf(0), "checkpoint": textOf(checkpoint), "checkpointSubSequenceNumber": numberOf(0),
			"startingHashKey": textOf(shards[i].Hash.Start.String()), "endingHashKey": textOf(shards[i].Hash.End.String()),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}

	stop := f.start("ours")
	before := len(done) + len(passed)
	f.account.wait(t, "the rest is processed", func() bool { return len(f.account.times) == f.put-before }, func() {})
	pinned := false
	f.account.wait(t, "the table tells where the latest record was", func() bool { return pinned }, func() {
		pinned = !reflect.DeepEqual(f.row(shards[2])["checkpoint"], textOf("LATEST"))
	})
	f.puts(90)
	f.account.wait(t, "what came after it is processed", func() bool { return len(f.account.times) == f.put-before }, func() {})
	stop()
	for _, r := range append(done, passed...) {
		if n, _ := strconv.Atoi(string(r.Data)); f.account.times[n] != 0 {
			t.Errorf("record %d was processed, and was not to be", n)
		}
	}
	for _, shard := range shards {
		it := f.row(shard)
		if got, want := it["checkpoint"], textOf(f.account.last[shard.ID].String()); !reflect.DeepEqual(got, want) {
			t.Errorf("the checkpoint of %s is %+v, want %+v", shard.ID, got, want)
		}
		if owner, there := it["leaseOwner"]; there {
			t.Errorf("%s still has the owner %+v", shard.ID, owner)
		}
	}
}

// row returns the row of a shard in the table of a single-stream application.
func (f *fleet) row(shard stream.Shard) map[string]types.AttributeValue {
	f.t.Helper()
	out, err := f.client.GetItem(f.t.Context(), &sdk.GetItemInput{
		TableName: &f.config.Application, Key: map[string]types.AttributeValue{"leaseKey": &types.AttributeValueMemberS{Value: shard.ID}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.Item
}

// all returns the records that fall into the hash range of an open shard.
func (f *fleet) all(shard stream.Shard) []stream.Record {
	n := 0
	for i := 1; i <= f.put; i++ {
		if shard.Hash.Contains(stream.HashOf(strconv.Itoa(i))) {
			n++
		}
	}
	return f.first(shard.ID, n)
}

// In a single-stream table a shard of the new stream has the key of a shard of
// the old one, whose row has to go first.
func TestAStreamThatWasCreatedAgainIsBegunAnewInASingleStreamTable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testdynamo.Any(t).Client(t, nil), 2)
	ctx := t.Context()
	for life := range 2 {
		id, err := f.stream.Identity(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f.config.SingleStream = id.Name
		f.puts(50)
		stop := f.start("w")
		f.processed(fmt.Sprintf("life %d of the stream", life+1))
		stop()
		f.settle()
		if life == 0 {
			if err := f.engine.DeleteStream(ctx, "orders"); err != nil {
				t.Fatal(err)
			}
			if f.stream, err = f.engine.CreateStream(ctx, "orders", engine.StreamConfig{Shards: 2}); err != nil {
				t.Fatal(err)
			}
			f.account, f.put = newAccount(), 0
		}
	}
}
