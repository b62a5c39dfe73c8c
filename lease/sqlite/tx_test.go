package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// users opens a file as a user does who knows nothing of the store.
func users(t testing.TB, path string, parameters url.Values) *sql.DB {
	t.Helper()
	parameters.Set("_busy_timeout", "30000")
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: parameters.Encode()}
	db, err := sql.Open("sqlite", file.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

var immediate = url.Values{"_txlock": {"immediate"}}

func begin(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func taken(t testing.TB, s *Store, shard, by string) lease.Lease {
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

func rowOf(t testing.TB, s *Store, key string) lease.Lease {
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
	s := open(t, file(t), Config{Application: "app"})
	l := taken(t, s, "0", "a")
	for n, parameters := range []url.Values{{}, immediate} {
		db := users(t, pathOf(t, s), parameters)
		tx := begin(t, db)
		want := savedAt(l, uint64(n)+1)
		row, err := s.SwapIn(t.Context(), tx, l, want)
		want.Counter++
		if err != nil || row.Counter != want.Counter || row.Checkpoint.Position != want.Checkpoint.Position {
			t.Fatalf("%v: %+v, %v", parameters, row, err)
		}
		if now := rowOf(t, s, l.Key); now.Counter != l.Counter {
			t.Errorf("%v: others see it before the commit: %+v", parameters, now)
		}
		// The transaction itself sees what it has written.
		if row, err := s.SwapIn(t.Context(), tx, l, want); !errors.Is(err, lease.ErrConflict) || row.Counter != want.Counter {
			t.Errorf("%v: again from the old row: %+v, %v", parameters, row, err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		l = rowOf(t, s, l.Key)
		if l.Counter != want.Counter || l.Checkpoint.Position != want.Checkpoint.Position {
			t.Errorf("%v: %+v", parameters, l)
		}

		tx = begin(t, db)
		if _, err := s.SwapIn(t.Context(), tx, l, savedAt(l, 100)); err != nil {
			t.Error(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if now := rowOf(t, s, l.Key); now.Counter != l.Counter || now.Checkpoint.Position != l.Checkpoint.Position {
			t.Errorf("%v: after a roll-back: %+v", parameters, now)
		}
	}
	if _, err := s.SwapIn(t.Context(), "tx", l, l); err == nil || !strings.Contains(err.Error(), "*sql.Tx") {
		t.Errorf("something else than a transaction: %v", err)
	}
}

// A transaction over two files with write-ahead logs may be committed in one of
// them and not in the other.
func TestASwapInATransactionOfAnotherFileIsRefused(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	l := taken(t, s, "0", "a")
	db := users(t, file(t), immediate)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "ATTACH ? AS leases", pathOf(t, s)); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if row, err := s.SwapIn(t.Context(), tx, l, savedAt(l, 1)); err == nil || errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), "main") {
		t.Errorf("got %+v and error %v, want one that names the database main", row, err)
	}
}

// Whoever takes a shard while its former holder's transaction is open waits for
// that to end, and goes on from what it has stored.
func TestATakeoverWaitsForAnOpenTransactionAndSeesIt(t *testing.T) {
	s := open(t, file(t), Config{Application: "app"})
	l := taken(t, s, "0", "a")
	tx := begin(t, users(t, pathOf(t, s), immediate))
	if _, err := s.SwapIn(t.Context(), tx, l, savedAt(l, 7)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 3*busyTimeout)
	defer cancel()
	if _, err := s.Swap(short, l, lease.Taken(lease.Forced(l), "b")); !isDeadline(err) {
		t.Errorf("a take-over beside the open transaction: %v, want %v", err, context.DeadlineExceeded)
	}
	over := make(chan error)
	go func() {
		_, err := s.Swap(t.Context(), l, lease.Taken(lease.Forced(l), "b"))
		over <- err
	}()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, lease.ErrConflict) {
		t.Errorf("over the checkpoint that was committed: %v", err)
	}
	now := rowOf(t, s, l.Key)
	now, err := s.Swap(t.Context(), now, lease.Taken(lease.Forced(now), "b"))
	if err != nil || now.Checkpoint.Position != savedAt(l, 7).Checkpoint.Position {
		t.Errorf("%+v, %v", now, err)
	}
}

// effects is a processor that books every record in a table, in the transaction
// of its checkpoint. It fails in all places where one can.
type effects struct {
	processors.Base
	db   *sql.DB
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
	err := e.book(ctx, b)
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

func (e *effects) book(ctx context.Context, b *processors.Batch) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for i := range b.Records {
		if _, err := tx.ExecContext(ctx, "INSERT INTO book (record) VALUES (?)", string(b.Records[i].Data)); err != nil {
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
	return tx.Commit()
}

// P6, with workers that are cut off in the middle, and come back under a new name.
func TestEffectsInTheTransactionOfTheCheckpointHappenOnce(t *testing.T) {
	path := file(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	db := users(t, path, immediate)
	if _, err := db.Exec("CREATE TABLE book (record TEXT NOT NULL)"); err != nil {
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
		mortal := &cutStore{Store: open(t, path, Config{Application: "fleet"})}
		w, err := worker.New(worker.Config{
			Application: "fleet", Name: name, Streams: []stream.Stream{orders}, Leases: mortal, Logger: log,
			Processor: func(processors.Shard) processors.RecordProcessor {
				return &effects{db: db, dice: random, seen: &seen}
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
	const records = 3000
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
		if err := db.QueryRow("SELECT count(" + what + ") FROM book").Scan(&n); err != nil {
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

// until waits for something that is about to be so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	for !so() {
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("waited in vain for this: %s", what)
		}
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
