package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// ledger keeps what processors have done, by the number in each record's data.
type ledger struct {
	mu      sync.Mutex
	done    map[int]int // record number → times done
	last    map[string]int
	errs    []error
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{done: map[int]int{}, last: map[string]int{}, changed: make(chan struct{})}
}

// add enters a batch that is done, and checks that numbers grow inside a key
// unless they are repeated.
func (l *ledger) add(b *processors.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range b.Records {
		r := &b.Records[i]
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			l.errs = append(l.errs, err)
			continue
		}
		if l.done[n] == 0 && n <= l.last[r.PartitionKey] {
			l.errs = append(l.errs, fmt.Errorf("key %s: %d done after %d", r.PartitionKey, n, l.last[r.PartitionKey]))
		}
		l.done[n]++
		l.last[r.PartitionKey] = max(n, l.last[r.PartitionKey])
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait returns when n different records are done.
func (l *ledger) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(10 * time.Minute)
	for {
		l.mu.Lock()
		got, changed := len(l.done), l.changed
		l.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d records done, want %d", got, n)
		}
	}
}

// check fails the test unless records 1 to n are done, each of them at most
// most times.
func (l *ledger) check(t *testing.T, n, most int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.errs...); err != nil {
		t.Error(err)
	}
	for i := 1; i <= n; i++ {
		if l.done[i] == 0 {
			t.Errorf("record %d was lost", i)
		}
		if l.done[i] > most {
			t.Errorf("record %d was done %d times, want at most %d", i, l.done[i], most)
		}
	}
	if len(l.done) > n {
		t.Errorf("%d records done, only %d were put", len(l.done), n)
	}
}

// bundle is a stream, a lease store and what is done with both.
type bundle struct {
	t      testing.TB
	stream *streamtest.Memory
	store  lease.Store
	ledger *ledger
	log    journal
	put    int
}

func setup(t testing.TB, shards int) *bundle {
	return &bundle{t: t, stream: streamtest.NewMemory("orders", shards), store: lease.NewMemory(), ledger: newLedger()}
}

// puts adds n numbered records over ten keys.
func (b *bundle) puts(n int) {
	b.t.Helper()
	for range n {
		b.put++
		e := stream.Entry{PartitionKey: "key-" + strconv.Itoa(b.put%10), Data: []byte(strconv.Itoa(b.put))}
		results, err := b.stream.Put(b.t.Context(), e)
		if err != nil || results[0].Err != nil {
			b.t.Fatal(err, results)
		}
	}
}

// split splits the only shard in the middle.
func (b *bundle) split() {
	b.t.Helper()
	if err := b.stream.Split(b.t.Context(), only, stream.FullRange.Middle()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) config(name string) Config {
	return Config{
		Application: "test", Name: name,
		Streams: []stream.Stream{b.stream}, Leases: b.store,
		Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
		Processor: func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				b.ledger.add(batch)
				return nil
			})
		},
	}
}

// running is a worker at work.
type running struct {
	worker *Worker
	t      testing.TB
	cancel context.CancelFunc
	done   chan error
}

func (b *bundle) start(cfg Config) *running {
	b.t.Helper()
	w, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	r := &running{t: b.t, worker: w, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	return r
}

// stop asks for a graceful stop and waits for it.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
}

func (b *bundle) leases() map[string]lease.Lease {
	all := map[string]lease.Lease{}
	for l, err := range b.store.Leases(context.WithoutCancel(b.t.Context())) {
		if err != nil {
			b.t.Fatal(err)
		}
		all[l.Shard] = l
	}
	return all
}

// crash cuts a worker off from its store and lets it end: it stores nothing
// more, and nobody hears of its end.
func (r *running) crash(store *cuttable) {
	r.t.Helper()
	store.set(true)
	r.stop()
}

// scripted is a processor made of functions.
type scripted struct {
	processors.Base
	initialize func(context.Context, processors.Start) error
	process    func(context.Context, *processors.Batch) error
	shutdown   func(context.Context, checkpoint.Checkpointer) error
	ended      func() error
	lost       func(context.Context, error)
}

func (s *scripted) Initialize(ctx context.Context, st processors.Start) error {
	if s.initialize == nil {
		return nil
	}
	return s.initialize(ctx, st)
}

func (s *scripted) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	return s.process(ctx, b)
}

func (s *scripted) ShutdownRequested(ctx context.Context, c checkpoint.Checkpointer) error {
	if s.shutdown == nil {
		return nil
	}
	return s.shutdown(ctx, c)
}

func (s *scripted) ShardEnded(context.Context, checkpoint.Checkpointer) error {
	if s.ended == nil {
		return nil
	}
	return s.ended()
}

func (s *scripted) LeaseLost(ctx context.Context, cause error) {
	if s.lost != nil {
		s.lost(ctx, cause)
	}
}

// cuttable is a lease store that can be cut off.
type cuttable struct {
	lease.Store
	mu  sync.Mutex
	cut bool
}

func (c *cuttable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

var errCut = errors.New("cut off")

func (c *cuttable) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return errCut
	}
	return nil
}

func (c *cuttable) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if err := c.err(); err != nil {
		return lease.Lease{}, err
	}
	return c.Store.Swap(ctx, old, next)
}

func (c *cuttable) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if err := c.err(); err != nil {
		return lease.Member{}, err
	}
	return c.Store.SwapMember(ctx, old, next)
}

func (c *cuttable) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.Store.Read(ctx, keys...)
}

// journal is the log of all workers of a test.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

// count returns how many lines have all these parts.
func (j *journal) count(parts ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for line := range strings.Lines(j.text.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		n++
	}
	return n
}

// ailing is a stream whose calls fail, or hang, while they are told to.
type ailing struct {
	stream.Stream
	mu                   sync.Mutex
	hang                 bool // Identity waits for its context
	identity, open, next error
	shard                string // next concerns this one only
}

// set changes what fails.
func (a *ailing) set(f func(*ailing)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *ailing) Identity(ctx context.Context) (stream.Identity, error) {
	a.mu.Lock()
	hang, err := a.hang, a.identity
	a.mu.Unlock()
	if hang {
		<-ctx.Done()
		err = context.Cause(ctx)
	}
	if err != nil {
		return stream.Identity{}, err
	}
	return a.Stream.Identity(ctx)
}

func (a *ailing) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	a.mu.Lock()
	err := a.open
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r, err := a.Stream.Open(ctx, shard, from)
	return &ailingReader{r, a, shard}, err
}

// errEmpty as the error of Next stands for no records and no error.
var errEmpty = errors.New("empty")

type ailingReader struct {
	stream.Reader
	stream *ailing
	shard  string
}

func (r *ailingReader) Next(ctx context.Context, b *stream.Batch) error {
	r.stream.mu.Lock()
	err := r.stream.next
	concerned := r.stream.shard == "" || r.stream.shard == r.shard
	r.stream.mu.Unlock()
	switch {
	case !concerned || err == nil:
		return r.Reader.Next(ctx, b)
	case err == errEmpty:
		b.Reset()
		return nil
	default:
		return err
	}
}

// first returns the sequence number of the first record of the first shard.
func (b *bundle) first(t *testing.T) stream.Sequence {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	r, err := b.stream.Open(ctx, only, stream.TrimHorizon)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var batch stream.Batch
	if err := r.Next(ctx, &batch); err != nil {
		t.Fatal(err)
	}
	return batch.Records[0].Sequence
}
