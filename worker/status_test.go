package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
)

func TestStatusTellsHowFarEachShardIsAndWhatBlocksIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		cfg := b.config("a")
		var poisoned atomic.Bool
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				for _, r := range batch.Records {
					if poisoned.Load() && string(r.Data) == "21" {
						return errors.New("out of stock")
					}
				}
				b.ledger.add(batch)
				return nil
			})
		}
		w, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.Status(); len(s.Shards) != 0 || s.Incarnation != "" {
			t.Errorf("before Run: %+v", s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		b.puts(20)
		b.ledger.wait(t, 20)
		synctest.Wait()
		s := w.Status()
		if len(s.Shards) != 2 || len(s.Leases) != 2 || !s.Leading {
			t.Fatalf("%+v", s)
		}
		for _, sh := range s.Shards {
			if _, after, ok := sh.Position.Sequence(); !ok || !after || sh.Term == 0 || sh.Stream != "orders" || !sh.Blocked.IsZero() || sh.Behind != 0 {
				t.Errorf("%+v", sh)
			}
		}

		poisoned.Store(true)
		b.puts(1)
		time.Sleep(time.Minute)
		var blocked ShardStatus
		for _, sh := range w.Status().Shards {
			if !sh.Blocked.IsZero() {
				blocked = sh
			}
		}
		what := blocked.Blocked
		if what.What != "process records" || what.Err != "out of stock" || what.Attempts < 3 || what.Record.IsZero() || what.Key != blocked.Key ||
			time.Since(what.Since) < 50*time.Second {
			t.Errorf("blocked: %+v", blocked)
		}
		// Whoever looks at the fleet sees it, too.
		fleet, err := lease.FleetStatus(t.Context(), b.store, 0)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, sh := range fleet.Shards {
			if sh.State == lease.ShardBlocked && strings.Contains(sh.String(), "process records failed") && sh.Blocked.Record == what.Record {
				told++
			}
		}
		if told != 1 || fleet.Members[0].State != lease.MemberLive || fleet.Leader != fleet.Members[0].Member.Incarnation {
			t.Errorf("the fleet: %v %v", fleet.Members, fleet.Shards)
		}

		poisoned.Store(false)
		b.ledger.wait(t, 21)
		synctest.Wait()
		for _, sh := range w.Status().Shards {
			if !sh.Blocked.IsZero() {
				t.Errorf("still blocked: %+v", sh)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s := w.Status(); len(s.Shards) != 0 {
			t.Errorf("after Run: %+v", s)
		}
	})
}

func TestWhatWaitsTheLongestIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told lease.Blocked
		s := standstill{tell: func(b lease.Blocked) { told = b }}
		read := s.begin("reading", lot{}, errors.New("cut"))
		time.Sleep(time.Second)
		process := s.begin("process records", lot{first: stream.MakeSequence(0, 0, 7)}, errors.New("no"))
		if told.What != "reading" {
			t.Errorf("told %+v", told)
		}
		s.again(read, lot{}, errors.New("cut again"))
		if told.Attempts != 2 || told.Err != "cut again" {
			t.Errorf("told %+v", told)
		}
		if s.end(read); told.What != "process records" || s.longest("k", time.Hour).Key != "k" {
			t.Errorf("told %+v", told)
		}
		if s.end(process); !told.IsZero() || !s.longest("k", time.Hour).IsZero() {
			t.Errorf("told %+v", told)
		}
	})
}

// At night: one record cannot be processed, the fleet's status names it, and an
// operator goes on behind it.
func TestAnOperatorSkipsThePoisonRecordThatTheFleetsStatusNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				if slices.ContainsFunc(batch.Records, func(r stream.Record) bool { return string(r.Data) == "5" }) {
					return errors.New("poison")
				}
				b.ledger.add(batch)
				return nil
			})
		}
		w := b.start(cfg)
		b.puts(10)
		b.ledger.wait(t, 4)
		time.Sleep(time.Minute)
		fleet, err := lease.FleetStatus(t.Context(), b.store, 0)
		if err != nil || len(fleet.Shards) != 1 || fleet.Shards[0].State != lease.ShardBlocked {
			t.Fatalf("%+v, %v", fleet.Shards, err)
		}
		shard := fleet.Shards[0]
		ops, err := lease.NewOperator(b.store, lease.OperatorConfig{Actor: "ada", Streams: []stream.Stream{b.stream}, Logger: cfg.Logger})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ops.Do(t.Context(), lease.Action{
			Kind: lease.ActionSeek, Scope: lease.Scope{Stream: "orders", Shard: shard.Lease.Shard}, To: stream.After(shard.Blocked.Record), Reason: "poison",
		}); err != nil {
			t.Fatal(err)
		}
		b.ledger.wait(t, 9)
		w.stop()
		b.ledger.mu.Lock()
		defer b.ledger.mu.Unlock()
		for n := 1; n <= 10; n++ {
			if want := map[bool]int{true: 0, false: 1}[n == 5]; b.ledger.done[n] != want {
				t.Errorf("record %d was done %d times, want %d", n, b.ledger.done[n], want)
			}
		}
	})
}

func TestACallbackThatDoesNotReturnIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		cfg := b.config("a")
		hanging := make(chan struct{})
		cfg.Processor = func(processors.Shard) processors.RecordProcessor {
			return processors.Func(func(_ context.Context, batch *processors.Batch) error {
				<-hanging
				b.ledger.add(batch)
				return nil
			})
		}
		w, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		b.puts(1)
		time.Sleep(w.cfg.FailoverTime / 2)
		told := func() (own, everybodys string) {
			t.Helper()
			fleet, err := lease.FleetStatus(t.Context(), b.store, 0)
			s := w.Status()
			if err != nil || len(fleet.Shards) != 1 || len(s.Shards) != 1 || len(s.Leases) != 1 {
				t.Fatalf("%v, %v, error %v", fleet, s, err)
			}
			if fleet.Shards[0].State == lease.ShardBlocked {
				everybodys = fleet.Shards[0].String()
			}
			if !s.Shards[0].Blocked.IsZero() {
				own = s.Shards[0].Blocked.String()
			}
			return own, everybodys
		}
		if own, everybodys := told(); own != "" || everybodys != "" {
			t.Errorf("told too early: %q, %q", own, everybodys)
		}
		time.Sleep(2 * w.cfg.FailoverTime)
		own, everybodys := told()
		if want := "process records has not returned"; !strings.Contains(own, want) || !strings.Contains(everybodys, want) {
			t.Errorf("told %q, and the fleet %q", own, everybodys)
		}
		close(hanging)
		time.Sleep(w.cfg.FailoverTime)
		if own, everybodys := told(); own != "" || everybodys != "" {
			t.Errorf("told though it has returned: %q, %q", own, everybodys)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
