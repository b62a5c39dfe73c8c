package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

func taken(t *testing.T, s *Store, shard, by string) lease.Lease {
	t.Helper()
	l := lease.NewLease("s", "s:1", stream.Shard{ID: shard, Hash: stream.FullRange}, stream.TrimHorizon)
	if err := s.Create(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	l, err := s.Swap(t.Context(), l, lease.Taken(l, by))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func rowOf(t *testing.T, s *Store, key string) lease.Lease {
	t.Helper()
	rows, err := s.Read(t.Context(), key)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
	return rows[0]
}

func savedAt(l lease.Lease, n uint64) lease.Lease {
	l.Checkpoint.Position = stream.After(stream.MakeSequence(1, 1, n))
	return l
}

func TestASwapInATransactionIsThereWhenThatCommits(t *testing.T) {
	server := testpg.Shared(t)
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			s := open(t, server, Config{Application: "app"}, in(mode))
			l := taken(t, s, "0", "a")
			begin := func(level pgx.TxIsoLevel) pgx.Tx {
				tx, err := s.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
				return tx
			}
			for n, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
				tx := begin(level)
				want := savedAt(l, uint64(n)+1)
				row, err := s.SwapIn(t.Context(), tx, l, want)
				want.Counter++
				if err != nil || row.Counter != want.Counter || row.Checkpoint.Position != want.Checkpoint.Position {
					t.Fatalf("%s: %+v, %v", level, row, err)
				}
				if now := rowOf(t, s, l.Key); now.Counter != l.Counter {
					t.Errorf("%s: others see it before the commit: %+v", level, now)
				}
				// The transaction itself sees what it has written.
				if row, err := s.SwapIn(t.Context(), tx, l, want); !errors.Is(err, lease.ErrConflict) || row.Counter != want.Counter {
					t.Errorf("%s: again from the old row: %+v, %v", level, row, err)
				}
				if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				l = rowOf(t, s, l.Key)
				if l.Counter != want.Counter || l.Checkpoint.Position != want.Checkpoint.Position {
					t.Errorf("%s: %+v", level, l)
				}

				tx = begin(level)
				if _, err := s.SwapIn(t.Context(), tx, l, savedAt(l, 100)); err != nil {
					t.Error(err)
				}
				if err := tx.Rollback(t.Context()); err != nil {
					t.Error(err)
				}
				if now := rowOf(t, s, l.Key); now.Counter != l.Counter || now.Checkpoint.Position != l.Checkpoint.Position {
					t.Errorf("%s: after a roll-back: %+v", level, now)
				}
			}
			if _, err := s.SwapIn(t.Context(), "tx", l, l); err == nil || !strings.Contains(err.Error(), "pgx.Tx") {
				t.Errorf("something else than a transaction: %v", err)
			}
		})
	}
}

// Whoever takes a shard while its former holder's transaction is open waits for
// that to end, and goes on from what it has stored.
func TestATakeoverWaitsForAnOpenTransactionAndSeesIt(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, Config{Application: "app"})
	l := taken(t, s, "0", "a")
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SwapIn(t.Context(), tx, l, savedAt(l, 7)); err != nil {
		t.Fatal(err)
	}
	var limit string
	if err := tx.QueryRow(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&limit); err != nil || limit != "10s" {
		t.Errorf("the transaction may idle for %q, %v", limit, err)
	}
	over := make(chan error)
	go func() {
		_, err := s.Swap(t.Context(), l, lease.Taken(lease.Forced(l), "b"))
		over <- err
	}()
	until(t, "the take-over waits", func() bool {
		var waiting int
		err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting)
		return err == nil && waiting > 0
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, lease.ErrConflict) {
		t.Errorf("over the checkpoint that was committed: %v", err)
	}
	now := rowOf(t, s, l.Key)
	now, err = s.Swap(t.Context(), now, lease.Taken(lease.Forced(now), "b"))
	if err != nil || now.Checkpoint.Position != savedAt(l, 7).Checkpoint.Position {
		t.Errorf("%+v, %v", now, err)
	}
}

// effects is a processor that books every record in a table, in the transaction
// of its checkpoint. It fails in all places where one can.
type effects struct {
	processors.Base
	pool *pgxpool.Pool
	book string
	dice *dice
	seen *atomic.Int64
}

type dice struct {
	mu sync.Mutex
	*rand.Rand
}

func (d *dice) one(in int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.IntN(in) == 0
}

var errChaos = errors.New("chaos")

func (e *effects) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	err := pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		for i := range b.Records {
			if _, err := tx.Exec(ctx, "INSERT INTO "+e.book+" (record) VALUES ($1)", string(b.Records[i].Data)); err != nil {
				return err
			}
		}
		if e.dice.one(8) {
			return errChaos
		}
		if err := CheckpointTx(ctx, tx, b.Checkpointer, b.Records[len(b.Records)-1].Sequence); err != nil {
			return err
		}
		if e.dice.one(8) {
			return errChaos
		}
		return nil
	})
	switch {
	case errors.Is(err, checkpoint.ErrStored):
		return nil
	case err != nil:
		return err
	}
	e.seen.Add(int64(len(b.Records)))
	if e.dice.one(4) {
		return errChaos // after the commit, as when its answer is lost
	}
	return nil
}

// P6, with workers that are cut off in the middle, and come back under a new name.
func TestEffectsInTheTransactionOfTheCheckpointHappenOnce(t *testing.T) {
	server := testpg.Shared(t)
	config := Config{Application: "fleet", Schema: server.Schema(t)}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := beside(t, server, config, atMost(20))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	book := pgx.Identifier{config.Schema, "book"}.Sanitize()
	if _, err := s.pool.Exec(t.Context(), "CREATE TABLE "+book+" (record text NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	e, err := engine.OpenMemory(engine.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	orders, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: 4})
	if err != nil {
		t.Fatal(err)
	}
	random := &dice{Rand: rand.New(rand.NewPCG(1, 2))}
	var seen atomic.Int64
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	start := func(name string) (cut func()) {
		mortal := &cutStore{Store: beside(t, server, config, atMost(20))}
		w, err := worker.New(worker.Config{
			Application: "fleet", Name: name, Streams: []stream.Stream{orders}, Leases: mortal, Logger: log,
			Processor: func(processors.Shard) processors.RecordProcessor {
				return &effects{pool: s.pool, book: book, dice: random, seen: &seen}
			},
			FailoverTime: 2 * time.Second, CheckpointEvery: 20 * time.Millisecond, BatchRecords: 20,
			Retry: processors.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		life, end := context.WithCancel(ctx)
		running.Go(func() { _ = w.Run(life) })
		return func() { mortal.cut.Store(true); end() }
	}
	const records = 6000
	cut := start("a")
	start("b")
	for n := 0; n < records; {
		entries := make([]stream.Entry, 100)
		for i := range entries {
			entries[i] = stream.Entry{PartitionKey: fmt.Sprint(n), Data: fmt.Append(nil, n)}
			n++
		}
		if _, err := orders.Put(ctx, entries...); err != nil {
			t.Fatal(err)
		}
		if n == records/3 {
			until(t, "some is done", func() bool { return seen.Load() > records/10 })
			cut() // it can tell nobody that it is gone
			start("c")
		}
	}
	count := func(what string) (n int) {
		if err := s.pool.QueryRow(t.Context(), "SELECT count("+what+") FROM "+book).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "all is booked", func() bool { return count("DISTINCT record") == records })
	stop()
	running.Wait()
	if n := count("*"); n != records {
		t.Errorf("%d records were booked %d times", records, n)
	}
}

// cutStore is a store that can be cut off.
type cutStore struct {
	*Store
	cut atomic.Bool
}

func (c *cutStore) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if c.cut.Load() {
		return lease.Lease{}, errChaos
	}
	return c.Store.Swap(ctx, old, next)
}

func (c *cutStore) SwapIn(ctx context.Context, tx any, old, next lease.Lease) (lease.Lease, error) {
	if c.cut.Load() {
		return lease.Lease{}, errChaos
	}
	return c.Store.SwapIn(ctx, tx, old, next)
}

func (c *cutStore) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if c.cut.Load() {
		return lease.Member{}, errChaos
	}
	return c.Store.SwapMember(ctx, old, next)
}
