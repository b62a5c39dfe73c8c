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
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
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
	failover  = 200 * time.Millisecond
	// calm is the failover time of a process that shall stop cleanly: on a busy
	// machine a worker now and then does not run for longer than failover, and
	// what it did since its last checkpoint then comes again, as it must.
	calm = 5 * time.Second
)

// journal is a file of events that outlives a kill: what write(2) has taken
// stays, whatever becomes of the process. One line an event:
//
//	S number .                       about to be put
//	A number .                       acknowledged
//	D shard term sequence number .   processed
//
// A kill in the middle of a long write leaves a line without its end. It says
// nothing: an event that is not written down has not happened.
type journal struct{ f *os.File }

func openJournal(dir string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	j := &journal{f}
	return j, j.write([]byte("\n")) // so that a line that was cut stays alone
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
	go func() {
		// The parent never writes: this returns when it is gone, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx := context.Background()
	j, err := openJournal(dir)
	if err != nil {
		return err
	}
	e, err := engine.Open(filepath.Join(dir, "engine"), engine.Config{SegmentBytes: 1 << 20, ChunkBytes: 4 << 20, Logger: quiet()})
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
	m := &marks{}
	if finish {
		if m, err = putMarks(ctx, s); err != nil {
			return err
		}
	}
	fmt.Println("ready") // the parent waits for it before it counts the time to the kill
	for i := range workers {
		w, err := newWorker(i, s, leases, j, m, finish)
		if err != nil {
			return err
		}
		wg.Go(func() { fail(w.Run(runCtx)) })
	}
	if finish {
		wg.Go(func() {
			select {
			case <-m.all:
				enough()
			case <-runCtx.Done():
			}
		})
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

func newWorker(i int, s stream.Stream, leases *sqlite.Store, j *journal, m *marks, finish bool) (*worker.Worker, error) {
	patience := failover
	if finish {
		patience = calm
	}
	return worker.New(worker.Config{
		Application: "chaos", Name: fmt.Sprint("worker-", i),
		Streams: []stream.Stream{s}, Leases: leases, Logger: quiet(),
		FailoverTime: patience, CheckpointEvery: 20 * time.Millisecond,
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			var lines []byte
			return processors.Func(func(ctx context.Context, b *processors.Batch) error {
				if err := linger(ctx); err != nil {
					return err
				}
				lines = lines[:0]
				for i := range b.Records {
					r := &b.Records[i]
					if m.seen(r.Data) {
						continue
					}
					lines = fmt.Appendf(lines, "D %s %d %v %s .\n", shard.ID, shard.Term, r.Sequence, bytes.TrimRight(r.Data, " "))
				}
				return j.write(lines)
			})
		},
	})
}

// linger takes some time over a batch now and then: a fleet whose callbacks are
// all fast is hardly ever caught inside one.
func linger(ctx context.Context) error {
	if rand.IntN(4) > 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
		return ctx.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
			submitted = fmt.Appendf(submitted, "S %s .\n", number)
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
			acked = fmt.Appendf(acked, "A %s .\n", bytes.TrimRight(entries[i].Data, " "))
		}
		if err := j.write(acked); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
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

// marks are records behind all others, one in each open shard: when they have
// come, everything has.
type marks struct {
	mu   sync.Mutex
	left map[string]bool
	all  chan struct{} // closed when none is left
}

const mark = "mark "

func putMarks(ctx context.Context, s *engine.Stream) (*marks, error) {
	m := &marks{left: map[string]bool{}, all: make(chan struct{})}
	shards, err := s.Shards(ctx)
	if err != nil {
		return nil, err
	}
	var entries []stream.Entry
	for _, shard := range shards {
		if !shard.Closed {
			data := fmt.Sprintf("%s%d in %s", mark, os.Getpid(), shard.ID)
			entries = append(entries, stream.Entry{PartitionKey: "mark", Data: []byte(data), HashKey: shard.Hash.Start, HasHashKey: true})
			m.left[data] = true
		}
	}
	results, err := s.Put(ctx, entries...)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	return m, err
}

// seen reports whether a record is a mark, and ticks it off.
func (m *marks) seen(data []byte) bool {
	if !bytes.HasPrefix(data, []byte(mark)) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left[string(data)] {
		delete(m.left, string(data))
		if len(m.left) == 0 {
			close(m.all)
		}
	}
	return true
}
