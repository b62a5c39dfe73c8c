package dynamodb_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
	changed chan struct{}
}

func (a *account) add(by string, records []stream.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers[by] = true
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			return err
		}
		a.times[n]++
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
	mu sync.Mutex
	n  int
}

func (l *losses) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(line), "lease lost") {
		l.n++
	}
	return len(line), nil
}

// fleet is what the workers of a test have in common.
type fleet struct {
	t       *testing.T
	client  dynamodb.API
	config  dynamodb.Config
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
	return &fleet{
		t: t, client: client, stream: s, losses: &losses{},
		config:  dynamodb.Config{Application: testdynamo.TableName()},
		account: &account{times: map[int]int{}, workers: map[string]bool{}, changed: make(chan struct{})},
	}
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
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, b *processors.Batch) error { return f.account.add(name, b.Records) })
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

func TestAFleetProcessesEverythingAcrossAJoinAndAStop(t *testing.T) {
	testdynamo.Each(t, func(t *testing.T, api testdynamo.API) {
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

		repeats := 0
		for n := 1; n <= f.put; n++ {
			repeats += f.account.times[n] - 1
		}
		if repeats > 0 && f.losses.n == 0 {
			t.Errorf("%d records were processed again, and no lease was lost", repeats)
		}
		t.Logf("%d records, %d of them again after %d lost leases", f.put, repeats, f.losses.n)
	})
}
