package dynamodb

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/proof"
	"github.com/millrace/millrace/internal/testdynamo"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// cost is what calls of the store cost: requests by kind, and the units that
// DynamoDB bills.
type cost struct {
	requests      map[string]float64
	reads, writes float64
}

// rowBytes is the size of a row, with room to spare. A page of a scan has 1 MB,
// and a read unit is 4 KB read consistently, of one row or of a whole page.
const (
	rowBytes  = 1000
	pageRows  = 1_000_000 / rowBytes
	rowsAUnit = 4096 / rowBytes
)

func up(n, by int) float64 { return float64((n + by - 1) / by) }

func (c *cost) add(kind string, requests, reads, writes float64) {
	c.requests[kind] += requests
	c.reads += reads
	c.writes += writes
}

// The price list: what each call of the store costs, by the rows that it is
// about. TestEachCallCostsWhatThePriceListSays holds it against the wire.
func (c *cost) leases(rows int) { c.add("Scan", up(max(1, rows), pageRows), up(rows, rowsAUnit), 0) }
func (c *cost) owned(unknown int) {
	c.add("Query", 2, 1, 0)
	c.add("BatchGetItem", up(unknown, batch), float64(unknown)/2, 0)
}
func (c *cost) read(keys int)   { c.add("BatchGetItem", up(keys, batch), float64(keys), 0) }
func (c *cost) create(rows int) { c.add("PutItem", float64(rows), 0, float64(rows)) }
func (c *cost) swap(moves bool) {
	c.add("UpdateItem", 1, 0, map[bool]float64{false: 1, true: 3}[moves])
}
func (c *cost) remove()          { c.add("DeleteItem", 1, 0, 1) }
func (c *cost) members(rows int) { c.add("Query", 1, up(rows, rowsAUnit), 0) }
func (c *cost) notes(rows int)   { c.add("Query", 1, up(max(1, rows), rowsAUnit), 0) }
func (c *cost) swapMember(end bool) {
	c.add(map[bool]string{false: "UpdateItem", true: "DeleteItem"}[end], 1, 0, 1)
}
func (c *cost) perSecond(s float64) map[string]float64 {
	per := maps.Clone(c.requests)
	for kind := range per {
		per[kind] /= s
	}
	return per
}

// priced is a memory store that counts what its calls would cost here.
type priced struct {
	*lease.Memory
	mu    sync.Mutex
	cost  cost
	known map[string]time.Time // when the leases of an owner were read
}

func (p *priced) count(f func(c *cost)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.cost)
}

func (p *priced) reset() { p.count(func(c *cost) { *c = cost{requests: map[string]float64{}} }) }

func (p *priced) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		n := 0
		for l, err := range p.Memory.Leases(ctx) {
			if n++; !yield(l, err) {
				break
			}
		}
		p.count(func(c *cost) { c.leases(n) })
	}
}

func (p *priced) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	rows, err := p.Memory.Owned(ctx, incarnation)
	p.count(func(c *cost) {
		unknown := 0
		if at, known := p.known[incarnation]; !known || time.Since(at) > trust {
			p.known[incarnation], unknown = time.Now(), len(rows)
		}
		c.owned(unknown)
	})
	return rows, err
}

func (p *priced) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	p.count(func(c *cost) { c.read(len(keys)) })
	return p.Memory.Read(ctx, keys...)
}

func (p *priced) Create(ctx context.Context, leases ...lease.Lease) error {
	p.count(func(c *cost) { c.create(len(leases)) })
	return p.Memory.Create(ctx, leases...)
}

func (p *priced) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	p.count(func(c *cost) { c.swap(old.Owner != next.Owner || old.CheckpointOwner != next.CheckpointOwner) })
	return p.Memory.Swap(ctx, old, next)
}

func (p *priced) Delete(ctx context.Context, old lease.Lease) error {
	p.count(func(c *cost) { c.remove() })
	return p.Memory.Delete(ctx, old)
}

func (p *priced) Members(ctx context.Context) ([]lease.Member, error) {
	rows, err := p.Memory.Members(ctx)
	p.count(func(c *cost) { c.members(len(rows)) })
	return rows, err
}

func (p *priced) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	p.count(func(c *cost) { c.swapMember(next == lease.Member{}) })
	return p.Memory.SwapMember(ctx, old, next)
}

func (p *priced) Notes(ctx context.Context) ([]lease.Note, error) {
	rows, err := p.Memory.Notes(ctx)
	p.count(func(c *cost) { c.notes(len(rows)) })
	return rows, err
}

// silent hides that the memory store wakes others, as DynamoDB does not.
type silent struct{ lease.Store }

// Requests cost money. At rest, with the default settings, a fleet writes its
// beats alone, and one worker scans.
func TestAFleetAtRestCostsAsMuchAsIsSaid(t *testing.T) {
	for _, c := range []struct{ leases, workers int }{{100, 3}, {1000, 10}} {
		var at cost
		const span = 10 * time.Minute
		synctest.Test(t, func(t *testing.T) {
			p := &priced{Memory: lease.NewMemory(), known: map[string]time.Time{}}
			p.reset()
			orders := streamtest.NewMemory("orders", c.leases)
			ctx, cancel := context.WithCancel(t.Context())
			var workers sync.WaitGroup
			for i := range c.workers {
				w, err := lease.NewCoordinator(lease.Config{
					Worker: fmt.Sprint("w", i), Store: silent{p}, Streams: []stream.Stream{orders}, Seed: uint64(i + 1),
					Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				workers.Go(func() {
					_ = w.Run(ctx, func(ctx context.Context, h lease.Hold) error {
						select {
						case <-h.Draining():
						case <-ctx.Done():
						}
						return nil
					})
				})
			}
			time.Sleep(10 * time.Minute) // everything is shared out, and calm
			p.reset()
			time.Sleep(span)
			p.count(func(now *cost) { at = cost{maps.Clone(now.requests), now.reads, now.writes} })
			cancel()
			workers.Wait()
		})
		per := at.perSecond(span.Seconds())
		figures := []any{"leases", c.leases, "workers", c.workers}
		for _, kind := range slices.Sorted(maps.Keys(per)) {
			figures = append(figures, kind+"s a second", round(per[kind]))
		}
		writes, kclWrites := at.writes/span.Seconds(), 0.302*float64(c.leases)
		figures = append(figures, "read units a second", round(at.reads/span.Seconds()), "write units a second", round(writes),
			"the KCL's write units a second", round(kclWrites))
		proof.Report(t, "DynamoDB requests of a fleet at rest, without checkpoints", figures...)

		if writes > kclWrites/10 && c.leases >= 1000 {
			t.Errorf("%d leases on %d workers: %.2f writes a second, want a tenth of the KCL's %.2f at most", c.leases, c.workers, writes, kclWrites)
		}
		if most := 0.6 * float64(c.workers); writes > most {
			t.Errorf("%d leases on %d workers: %.2f writes a second, want %.2f at most: the beats of each worker", c.leases, c.workers, writes, most)
		}
		if most := 2*float64(c.workers)*0.25 + 2*0.3 + 0.3; per["Query"] > most {
			t.Errorf("%d leases on %d workers: %.2f queries a second, want two for each worker's polls, and three for each of the leader's passes, %.2f at most", c.leases, c.workers, per["Query"], most)
		}
		if most := 0.3; per["Scan"]/up(c.leases, pageRows) > most {
			t.Errorf("%d leases on %d workers: %.2f scans a second, want one for each of the leader's passes, %.2f at most", c.leases, c.workers, per["Scan"], most)
		}
	}
}

func round(x float64) float64 { return float64(int(x*100+0.5)) / 100 }

func TestEachCallCostsWhatThePriceListSays(t *testing.T) {
	api := testdynamo.Any(t)
	wire := testdynamo.NewWire(testdynamo.Transport(t))
	s := open(t, api.Client(t, wire), Config{})
	s.pageSize = nil
	ctx := t.Context()
	const n = 130
	var rows []lease.Lease
	var keys []string
	for i := range n {
		l := lease.NewLease(orders.Name, orders.ID(), stream.Shard{ID: fmt.Sprintf("shardId-%012d", i), Hash: lowHalf}, stream.TrimHorizon)
		l.Owner, l.Counter = "ip-10-0-0-1.eu-central-1.compute.internal-4711#5f3a5f3a5f3a5f3a", time.Now().UnixMilli()
		l.Checkpoint.Position = after(seqText, 7)
		l.Parents, l.Load = []string{"shardId-000000000000"}, lease.Load{BytesPerSecond: 1.0 / 3, RecordsPerSecond: 1.0 / 7}
		rows, keys = append(rows, l), append(keys, l.Key)
	}
	if size := sizeOf(s.layout.newRow(rows[0], newMark())); size > rowBytes {
		t.Errorf("a row has %d bytes, the price list says %d", size, rowBytes)
	}
	var member lease.Member
	var note lease.Note
	for _, c := range []struct {
		name  string
		price func(*cost)
		call  func() error
	}{
		{"create", func(c *cost) { c.create(n) }, func() error { return s.Create(ctx, rows...) }},
		{"leases", func(c *cost) { c.leases(n) }, func() (err error) {
			for _, err = range s.Leases(ctx) {
			}
			return err
		}},
		{"owned", func(c *cost) { c.owned(n) }, func() error { _, err := s.Owned(ctx, rows[0].Owner); return err }},
		{"owned, again", func(c *cost) { c.owned(0) }, func() error { _, err := s.Owned(ctx, rows[0].Owner); return err }},
		{"owned by nobody here", func(c *cost) { c.owned(0) }, func() error { _, err := s.Owned(ctx, "w"); return err }},
		{"read", func(c *cost) { c.read(n) }, func() error { _, err := s.Read(ctx, keys...); return err }},
		{"swap", func(c *cost) { c.swap(false) }, func() (err error) { rows[0], err = s.Swap(ctx, rows[0], rows[0]); return err }},
		{"delete", func(c *cost) { c.remove() }, func() error { return s.Delete(ctx, rows[0]) }},
		{"join", func(c *cost) { c.swapMember(false) }, func() (err error) {
			member, err = s.SwapMember(ctx, member, lease.Member{Incarnation: "w"})
			return err
		}},
		{"members", func(c *cost) { c.members(1) }, func() error { _, err := s.Members(ctx); return err }},
		{"no notes", func(c *cost) { c.notes(0) }, func() error { _, err := s.Notes(ctx); return err }},
		{"note", func(c *cost) { c.swapMember(false) }, func() (err error) {
			note, err = s.SwapNote(ctx, note, lease.Note{Name: "pause", Version: 1})
			return err
		}},
		{"notes", func(c *cost) { c.notes(1) }, func() error { _, err := s.Notes(ctx); return err }},
		{"note's end", func(c *cost) { c.swapMember(true) }, func() error { _, err := s.SwapNote(ctx, note, lease.Note{}); return err }},
		{"end", func(c *cost) { c.swapMember(true) }, func() error { _, err := s.SwapMember(ctx, member, lease.Member{}); return err }},
	} {
		want := cost{requests: map[string]float64{}}
		c.price(&want)
		wire.SetFault(nil)
		if err := c.call(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for kind, n := range wire.Counts() {
			if want.requests[kind] != float64(n) {
				t.Errorf("%s took %d requests of kind %s, the price list says %v", c.name, n, kind, want.requests[kind])
			}
			delete(want.requests, kind)
		}
		for kind, n := range want.requests {
			if n != 0 {
				t.Errorf("%s took no %s, the price list says %v", c.name, kind, n)
			}
		}
	}
}
