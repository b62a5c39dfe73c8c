package dynamodb

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
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

// atRest returns what a fleet at rest costs in a second, with the default settings.
func atRest(t *testing.T, leases, workers int) (per cost) {
	t.Helper()
	const span = 5 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		p := &priced{Memory: lease.NewMemory(), known: map[string]time.Time{}}
		p.reset()
		orders := streamtest.NewMemory("orders", leases)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range workers {
			w, err := lease.NewCoordinator(lease.Config{
				Worker: fmt.Sprint("w", i), Store: silent{p}, Streams: []stream.Stream{orders}, Seed: uint64(i + 1),
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				_ = w.Run(ctx, func(ctx context.Context, h lease.Hold) error {
					select {
					case <-h.Draining():
					case <-ctx.Done():
					}
					return nil
				})
			})
		}
		time.Sleep(4 * time.Minute) // everything is shared out, and calm
		p.reset()
		time.Sleep(span)
		p.count(func(now *cost) {
			per = cost{now.perSecond(span.Seconds()), now.reads / span.Seconds(), now.writes / span.Seconds()}
		})
		cancel()
		running.Wait()
	})
	return per
}

// Requests cost money. At rest, with the default settings, a fleet writes its
// beats alone, and one worker scans. The README has the table, of which the largest
// fleet is tried when MILLRACE_LARGE_FLEETS is set.
func TestAFleetAtRestCostsAsMuchAsIsSaid(t *testing.T) {
	said := readTable(t)
	var table []string
	for _, c := range []struct{ leases, workers int }{{100, 3}, {1000, 10}, {1000, 50}, {10_000, 100}} {
		if testing.Short() && c.workers > 10 || os.Getenv("MILLRACE_LARGE_FLEETS") == "" && c.leases > 1000 {
			continue // which takes a minute
		}
		per := atRest(t, c.leases, c.workers)
		figures := []any{"leases", c.leases, "workers", c.workers}
		for _, kind := range slices.Sorted(maps.Keys(per.requests)) {
			figures = append(figures, kind+"s a second", round(per.requests[kind]))
		}
		figures = append(figures, "read units a second", round(per.reads), "write units a second", round(per.writes),
			"the KCL's write units a second", round(kcl2(c.leases, c.workers).writes))
		proof.Report(t, "DynamoDB requests of a fleet at rest, without checkpoints", figures...)

		if kcl := kcl2(c.leases, c.workers).writes; per.writes > kcl/10 && c.leases >= 1000 && c.workers <= 10 {
			t.Errorf("%d leases on %d workers: %.2f writes a second, want a tenth of the KCL's %.2f at most", c.leases, c.workers, per.writes, kcl)
		}
		if most := 0.6 * float64(c.workers); per.writes > most {
			t.Errorf("%d leases on %d workers: %.2f writes a second, want %.2f at most: the beats of each worker", c.leases, c.workers, per.writes, most)
		}
		if most := 2*float64(c.workers)*0.25 + 2*0.3 + 0.3; per.requests["Query"] > most {
			t.Errorf("%d leases on %d workers: %.2f queries a second, want two for each worker's polls, and three for each of the leader's passes, %.2f at most",
				c.leases, c.workers, per.requests["Query"], most)
		}
		if most := 0.3; per.requests["Scan"]/up(c.leases, pageRows) > most {
			t.Errorf("%d leases on %d workers: %.2f scans a second, want one for each of the leader's passes, %.2f at most", c.leases, c.workers, per.requests["Scan"], most)
		}
		for _, who := range []struct {
			name string
			cost cost
		}{{"Millrace", per}, {"KCL 2.x", kcl2(c.leases, c.workers)}, {"KCL 3.x", kcl3(c.leases, c.workers)}} {
			line := tableLine(c.leases, c.workers, who.name, who.cost)
			table = append(table, line)
			if !alike(said[rowName(line)], line) {
				t.Errorf("the README says of %s\n%s\nand it is\n%s", rowName(line), said[rowName(line)], line)
			}
		}
	}
	t.Logf("the table of the README:\n%s\n%s", tableHead, strings.Join(table, "\n"))
}

// kcl2 and kcl3 are what the KCL sends in a second, with its default settings, as
// its source says: a renewal of each lease every 3.308 s; scans of the table by each
// worker every 20.05 s and 5 min (2.x), or by its leader every 20 s; the hunt for
// holes every 2 min. A row of its has about 400 bytes, which it reads eventually
// consistent.
func kcl2(leases, workers int) cost {
	c := cost{requests: map[string]float64{"UpdateItem": float64(leases) / 3.308}}
	c.writes = c.requests["UpdateItem"]
	c.kclScans(leases, float64(workers)*(1/20.05+1/300.0)+1/120.0)
	return c
}

// Besides, each worker of 3.x asks the index for its leases every 9.975 s and
// writes its metrics every 30 s; the leader beats, and others look at it, every 30 s.
func kcl3(leases, workers int) cost {
	w := float64(workers)
	c := cost{requests: map[string]float64{"UpdateItem": float64(leases)/3.308 + (w+1)/30, "Query": w / 9.975, "GetItem": 2 * (w - 1) / 30}}
	c.writes = c.requests["UpdateItem"]
	c.reads = 0.5*c.requests["Query"] + c.requests["GetItem"]
	c.kclScans(leases, 1/20.0+1/120.0)
	return c
}

func (c *cost) kclScans(leases int, perSecond float64) {
	const kclRow, page, unit = 400, 1_000_000, 8192
	c.requests["Scan"] = perSecond * up(leases*kclRow, page)
	c.reads += perSecond * float64(leases*kclRow) / unit
}

const tableHead = `| leases | workers | | UpdateItem | Scan | Query | BatchGetItem, GetItem | write units | read units |
|---:|---:|---|---:|---:|---:|---:|---:|---:|`

func tableLine(leases, workers int, who string, c cost) string {
	cells := []string{fmt.Sprint(leases), fmt.Sprint(workers), who}
	for _, n := range []float64{
		c.requests["UpdateItem"], c.requests["Scan"], c.requests["Query"], c.requests["BatchGetItem"] + c.requests["GetItem"], c.writes, c.reads,
	} {
		cells = append(cells, figure(n))
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// figure writes a rate with the digits that mean something.
func figure(n float64) string {
	switch {
	case n == 0:
		return "–"
	case n < 1:
		return strconv.FormatFloat(n, 'f', 2, 64)
	case n < 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	default:
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
}

// rowName returns the first three cells of a line.
func rowName(line string) string { return strings.Join(cells(line)[:3], ", ") }

func cells(line string) []string {
	all := strings.Split(strings.Trim(line, "| "), "|")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// readTable returns the lines of the README's table by their first cells.
func readTable(t *testing.T) map[string]string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), tableHead+"\n")
	if !found {
		t.Fatalf("the README has no table that begins with\n%s", tableHead)
	}
	lines := map[string]string{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		lines[rowName(line)] = strings.TrimSpace(line)
	}
	return lines
}

// alike reports whether two lines say about the same: jitter moves the figures by
// some hundredths.
func alike(said, is string) bool {
	a, b := cells(said), cells(is)
	return len(a) == len(b) && !slices.ContainsFunc(zip(a, b), func(pair [2]string) bool {
		x, errX := strconv.ParseFloat(pair[0], 64)
		y, errY := strconv.ParseFloat(pair[1], 64)
		if errX != nil || errY != nil {
			return pair[0] != pair[1]
		}
		return math.Abs(x-y) > max(0.03, 0.1*y)
	})
}

func zip(a, b []string) [][2]string {
	pairs := make([][2]string, len(a))
	for i := range a {
		pairs[i] = [2]string{a[i], b[i]}
	}
	return pairs
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
