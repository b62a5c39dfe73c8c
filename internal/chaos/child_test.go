package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// The child is one process with everything in it: an engine, producers, and a
// fleet of three workers with their leases in SQLite. It lives until it is
// killed, or, told to finish, until everything in the stream is processed.
const (
	envDir    = "MILLRACE_CHAOS_DIR"
	envFirst  = "MILLRACE_CHAOS_FIRST"  // the first record number to put
	envFinish = "MILLRACE_CHAOS_FINISH" // put nothing, process all, stop gracefully

	workers   = 3
	producers = 4
	keys      = 97
	failover  = 300 * time.Millisecond
)

// journal is a file of events that outlives a kill: what write(2) has taken
// stays, whatever becomes of the process. One line an event:
//
//	S number                       about to be put
//	A number                       acknowledged
//	D shard term sequence number   processed
type journal struct{ f *os.File }

func openJournal(dir string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &journal{f}, err
}

func (j *journal) write(lines []byte) error {
	_, err := j.f.Write(lines)
	return err
}

func child() error {
	dir := os.Getenv(envDir)
	first, err := strconv.Atoi(os.Getenv(envFirst))
	if err != nil {
		return err
	}
	finish := os.Getenv(envFinish) != ""
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	j, err := openJournal(dir)
	if err != nil {
		return err
	}
	e, err := engine.Open(filepath.Join(dir, "engine"), engine.Config{SegmentBytes: 4 << 20, Logger: quiet()})
	if err != nil {
		return err
	}
	s, err := e.EnsureStream(ctx, "orders", engine.StreamConfig{Shards: 4})
	if err != nil {
		return err
	}
	leases, err := sqlite.Open(ctx, filepath.Join(dir, "leases.db"), sqlite.Config{Application: "chaos"})
	if err != nil {
		return err
	}

	runCtx, enough := context.WithCancel(ctx)
	defer enough()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil && runCtx.Err() == nil {
			failed.CompareAndSwap(nil, &err)
			enough()
		}
	}
	fmt.Println("ready") // the parent waits for it before it counts the time to the kill
	for i := range workers {
		w, err := newWorker(i, s, leases, j)
		if err != nil {
			return err
		}
		wg.Go(func() { fail(w.Run(runCtx)) })
	}
	if finish {
		wg.Go(func() { fail(untilDone(runCtx, s, leases)); enough() })
	} else {
		for i := range producers {
			wg.Go(func() { fail(produce(runCtx, s, j, i, first)) })
		}
		wg.Go(func() { fail(reshard(runCtx, s)) })
	}
	wg.Wait()
	if p := failed.Load(); p != nil {
		return *p
	}
	return errors.Join(leases.Close(), e.Close())
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newWorker(i int, s stream.Stream, leases *sqlite.Store, j *journal) (*worker.Worker, error) {
	return worker.New(worker.Config{
		Application: "chaos", Name: fmt.Sprint("worker-", i),
		Streams: []stream.Stream{s}, Leases: leases, Logger: quiet(),
		FailoverTime: failover, CheckpointEvery: 20 * time.Millisecond,
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			var lines []byte
			return processors.Func(func(_ context.Context, b *processors.Batch) error {
				lines = lines[:0]
				for i := range b.Records {
					r := &b.Records[i]
					lines = fmt.Appendf(lines, "D %s %d %v %s\n", shard.ID, shard.Term, r.Sequence, r.Data)
				}
				return j.write(lines)
			})
		},
	})
}

// produce puts numbered records, some alone and some in groups, until ctx ends.
func produce(ctx context.Context, s *engine.Stream, j *journal, who, first int) error {
	for n := first + who; ctx.Err() == nil; {
		var entries []stream.Entry
		var submitted, acked []byte
		for range 1 + rand.IntN(8) {
			number := strconv.Itoa(n)
			entries = append(entries, stream.Entry{
				PartitionKey: "key-" + strconv.Itoa(n%keys),
				Data:         append([]byte(number), bytes.Repeat([]byte{' '}, rand.IntN(400))...),
			})
			submitted = fmt.Appendf(submitted, "S %s\n", number)
			n += producers
		}
		if err := j.write(submitted); err != nil {
			return err
		}
		results, err := s.Put(ctx, entries...)
		if err != nil {
			return err
		}
		for i, r := range results {
			if r.Err != nil {
				return r.Err
			}
			acked = fmt.Appendf(acked, "A %s\n", bytes.TrimRight(entries[i].Data, " "))
		}
		if err := j.write(acked); err != nil {
			return err
		}
	}
	return nil
}

// reshard splits or merges something now and then.
func reshard(ctx context.Context, s *engine.Stream) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(rand.IntN(400)) * time.Millisecond):
		}
		if err := s.UpdateShardCount(ctx, 2+rand.IntN(6)); err != nil {
			return err
		}
	}
}

// untilDone returns when every shard is ended or has a checkpoint at its end.
func untilDone(ctx context.Context, s *engine.Stream, leases *sqlite.Store) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := isDone(ctx, s, leases)
		if err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func isDone(ctx context.Context, s *engine.Stream, leases *sqlite.Store) (bool, error) {
	shards, err := s.Shards(ctx)
	if err != nil {
		return false, err
	}
	at := map[string]stream.Position{}
	for l, err := range leases.Leases(ctx) {
		if err != nil {
			return false, err
		}
		at[l.Shard] = l.Checkpoint.Position
	}
	for _, shard := range shards {
		p, known := at[shard.ID]
		if shard.Closed {
			// An ended shard's lease is retired some time after its end.
			if known && p != stream.ShardEnd {
				return false, nil
			}
			continue
		}
		if !known {
			return false, nil
		}
		rest, err := readRest(ctx, s, shard.ID, p)
		if err != nil || rest > 0 {
			return false, err
		}
	}
	return true, nil
}

// readRest counts the records of an open shard behind a position: those up to
// the shard's present end.
func readRest(ctx context.Context, s *engine.Stream, shard string, from stream.Position) (n int, err error) {
	end, err := s.Pin(ctx, shard)
	if err != nil {
		return 0, err
	}
	r, err := s.Open(ctx, shard, from)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond) // an empty rest waits for ever
	defer cancel()
	var b stream.Batch
	for r.Next(ctx, &b) == nil {
		for i := range b.Records {
			if end.Includes(b.Records[i].Sequence) {
				n++
			}
		}
	}
	return n, nil
}
