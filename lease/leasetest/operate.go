package leasetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// Operate tests that an operator can act on a fleet over that store, which is
// empty: real coordinators, in real time. It takes some twenty seconds.
func Operate(t *testing.T, store lease.Store) {
	s := &site{T: t, store: store, stream: streamtest.NewMemory("orders", 4), given: map[int]int{}}
	ops, err := lease.NewOperator(store, lease.OperatorConfig{
		Actor: "ada", Streams: []stream.Stream{s.stream}, FailoverTime: siteFailover, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ops = ops
	stopA, stopB := s.start("a"), s.start("b")
	s.put(100)
	s.until("all is processed", func() bool { return s.least() == 1 })

	// Paused, nothing is processed, and everybody can see why.
	pause := s.do(lease.Action{Kind: lease.ActionPause, Scope: lease.Scope{Stream: "orders"}, Reason: "bad deploy"})
	s.until("all are paused", func() bool {
		return !slices.ContainsFunc(s.fleet().Shards, func(sh lease.ShardStatus) bool { return sh.State != lease.ShardPaused || sh.From != "" })
	})
	if text := s.fleet().Shards[0].String(); !strings.Contains(text, "paused by ada") || !strings.Contains(text, "bad deploy") {
		t.Errorf("a paused shard is told of as %q", text)
	}
	s.put(20)
	select {
	case <-time.After(siteFailover):
	case <-t.Context().Done():
	}
	if s.least() != 0 {
		t.Error("something was processed while all was paused")
	}

	// Sought back while it is paused, everything comes again when that is undone.
	s.do(lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon})
	s.undo(pause)
	s.until("what was processed comes again", func() bool { return s.times(100) >= 2 && s.least() >= 1 })

	// Sought on the running fleet.
	back := s.do(lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon})
	if len(back.Leases) != 4 || len(back.Notes) != 0 {
		t.Errorf("a seek of four shards changed %v, notes %v", back.Leases, back.Notes)
	}
	s.until("everything comes again", func() bool { return s.times(100) >= 3 && s.least() >= 2 })
	s.undo(back)

	// A drained worker has nothing, and then its share again.
	drain := s.do(lease.Action{Kind: lease.ActionDrain, Worker: "a"})
	s.until("the other one has all", func() bool { return s.held("b") == 4 })
	s.undo(drain)
	s.until("both have their share", func() bool { return s.held("a") == 2 && s.held("b") == 2 })
	shard := s.of("b")
	move := s.do(lease.Action{Kind: lease.ActionMove, Scope: lease.Scope{Stream: "orders", Shard: shard}, Worker: "a"})
	if len(move.Leases) != 1 || !strings.HasPrefix(move.Leases[0].After.Owner, "a#") {
		t.Errorf("moved: %v", move.Leases)
	}
	s.until("it is taken", func() bool { return s.held("a") >= 2 && s.held("a")+s.held("b") == 4 })

	// Sought while nobody works.
	stopA()
	stopB()
	before := s.times(120)
	if c := s.do(lease.Action{Kind: lease.ActionSeek, To: stream.TrimHorizon}); len(c.Leases) != 4 {
		t.Errorf("a seek while nobody works changed %v", c.Leases)
	}
	stopC := s.start("c")
	s.until("everything comes again", func() bool { return s.times(120) > before })
	stopC()
	fleet, err := lease.NewObserver(store, siteFailover).Look(t.Context())
	if err != nil || fleet.Unreadable != nil || len(fleet.Orders) > 0 {
		t.Errorf("orders are left: %v, %v, %v", fleet.Orders, fleet.Unreadable, err)
	}
	if n := len(fleet.Deeds); n == 0 || fleet.Deeds[n-1].Kind != lease.ActionSeek || fleet.Deeds[n-1].Shards != 4 {
		t.Errorf("what was done has left the trace %v", fleet.Deeds)
	}
}

// siteFailover is the FailoverTime of the fleets of Operate: short, and long enough
// for a busy machine.
const siteFailover = 5 * time.Second

// site is a fleet with an operator.
type site struct {
	*testing.T
	store  lease.Store
	stream *streamtest.Memory
	ops    *lease.Operator
	n      int // records that were put

	mu    sync.Mutex
	given map[int]int // how often each record was processed
}

// put puts n more records, which are numbers.
func (s *site) put(n int) {
	s.Helper()
	for range n {
		s.n++
		results, err := s.stream.Put(s.Context(), stream.Entry{PartitionKey: fmt.Sprint("key ", s.n), Data: strconv.AppendInt(nil, int64(s.n), 10)})
		if err != nil || results[0].Err != nil {
			s.Fatal(err, results)
		}
	}
}

// times returns how often each of the first n records was processed at least.
func (s *site) times(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := s.given[1]
	for i := range n {
		least = min(least, s.given[i+1])
	}
	return least
}

func (s *site) least() int { return s.times(s.n) }

func (s *site) start(name string) (stop func()) {
	s.Helper()
	c, err := lease.NewCoordinator(lease.Config{
		Worker: name, Store: s.store, Streams: []stream.Stream{s.stream}, FailoverTime: siteFailover,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx, s.hold); err != nil {
			s.Error(err)
		}
	}()
	s.Cleanup(func() { cancel(); <-ended })
	return func() { cancel(); <-ended }
}

// hold processes a shard.
func (s *site) hold(ctx context.Context, h lease.Hold) error {
	row := h.Lease()
	r, err := s.stream.Open(ctx, row.Shard, row.Checkpoint.Position)
	if err != nil {
		return err
	}
	defer r.Close()
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		select {
		case <-h.Draining():
			stop()
		case <-reading.Done():
		}
	})
	state := checkpoint.State{Position: row.Checkpoint.Position}
	batch := stream.Batch{MaxRecords: 10, MaxBytes: 1 << 20}
	for {
		err := r.Next(reading, &batch)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case reading.Err() != nil:
			return h.Release(ctx, state)
		case err != nil:
			return err
		}
		s.mu.Lock()
		for i := range batch.Records {
			n, err := strconv.Atoi(string(batch.Records[i].Data))
			if err != nil {
				s.Error(err)
			}
			s.given[n]++
			state.Position = stream.After(batch.Records[i].Sequence)
		}
		s.mu.Unlock()
		if err := h.Save(ctx, state); errors.Is(err, checkpoint.ErrLeaseLost) {
			return err
		}
	}
}

func (s *site) do(a lease.Action) lease.Change {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	c, err := s.ops.Do(ctx, a)
	if err != nil {
		s.Fatalf("%v: %v", a, err)
	}
	return c
}

// undo undoes what was kept as JSON.
func (s *site) undo(c lease.Change) {
	s.Helper()
	var kept lease.Change
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
		defer cancel()
		_, err = s.ops.Undo(ctx, kept)
	}
	if err != nil {
		s.Fatalf("undo %v: %v", c.Action, err)
	}
}

func (s *site) fleet() lease.Fleet {
	s.Helper()
	fleet, err := lease.NewObserver(s.store, siteFailover).Look(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return fleet
}

// held returns how many shards a worker holds.
func (s *site) held(worker string) (n int) {
	for _, sh := range s.fleet().Shards {
		if sh.State == lease.ShardHeld && sh.Lease.Term != 0 && strings.HasPrefix(sh.Lease.Owner, worker+"#") {
			n++
		}
	}
	return n
}

// of returns one of the shards that a worker holds.
func (s *site) of(worker string) string {
	for _, sh := range s.fleet().Shards {
		if strings.HasPrefix(sh.Lease.Owner, worker+"#") {
			return sh.Lease.Shard
		}
	}
	s.Fatalf("%s holds nothing", worker)
	return ""
}

func (s *site) until(what string, so func() bool) {
	s.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-deadline.C:
			for _, sh := range s.fleet().Shards {
				s.Log(sh)
			}
			s.Fatalf("after three minutes it is still not so: %s", what)
		}
	}
}
