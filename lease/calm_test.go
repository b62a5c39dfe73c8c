package lease

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// planning is a leader's planning without a store: leases that belong to whom
// the plan says, at once, and loads that waver.
type planning struct {
	leases  []Lease
	members []Member
	loads   []float64 // by lease
	calm    *calm
	now     time.Time
	random  *rand.Rand
}

func newPlanning(n int, loads []float64, seed uint64) *planning {
	p := &planning{
		leases: leasesOf("", "k", len(loads)), members: workers(n), loads: loads,
		calm: newCalm(2500 * time.Millisecond), now: time.Unix(0, 0), random: rand.New(rand.NewPCG(seed, 1)),
	}
	for i := range p.leases {
		p.leases[i].Load.BytesPerSecond = loads[i]
	}
	return p
}

// pass plans once, five seconds after the last time, with loads that are wrong
// by up to a part of themselves, and returns how many leases moved.
func (p *planning) pass(noise float64) int {
	p.now = p.now.Add(5 * time.Second)
	fleet := map[string]bool{}
	for _, m := range p.members {
		fleet[m.Incarnation] = true
	}
	for i := range p.leases {
		p.leases[i].Load.BytesPerSecond = p.loads[i] * (1 + noise*(2*p.random.Float64()-1))
	}
	view := View{Members: p.members, Threshold: 0.1}
	var settled bool
	view.Leases, view.Unknown, settled = p.calm.look(p.now, p.leases, fleet)
	view.Unsettled = !settled
	moves := Plan(view)
	p.leases = applied(p.leases, moves)
	return len(moves)
}

// carried returns what the workers carry in truth, least first.
func (p *planning) carried() []float64 {
	by := map[string]float64{}
	for i := range p.leases {
		by[p.leases[i].Owner] += p.loads[i]
	}
	var sums []float64
	for _, m := range p.members {
		sums = append(sums, by[m.Incarnation])
	}
	slices.Sort(sums)
	return sums
}

func alike(n int) []float64 { return slices.Repeat([]float64{100}, n) }

// lognormal are loads of which most are small and a few large.
func lognormal(n int, sigma float64) []float64 {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	loads := make([]float64, n)
	for i := range loads {
		loads[i] = 100 * math.Exp(sigma*r.NormFloat64())
	}
	return loads
}

func TestLeasesStayWhileLoadsOnlyWaver(t *testing.T) {
	for _, test := range []struct {
		name    string
		workers int
		loads   []float64
		// first is the noise of the first two passes: uneven loads that are
		// shared out by wrong figures are shared out anew, and rightly so.
		first float64
	}{
		{"TwoWorkersThreeShards", 2, alike(3), 0.3},
		{"FiveWorkersSixShards", 5, alike(6), 0.3},
		{"FiveWorkersEightShards", 5, alike(8), 0.3},
		{"FiveWorkersTwelveShards", 5, alike(12), 0.3},
		{"ThreeWorkersThirtyShards", 3, alike(30), 0.3},
		{"TenWorkersAThousandShards", 10, alike(1000), 0.3},
		{"TwoWorkersThreeUnevenShards", 2, []float64{51, 49, 21}, 0},
		{"SomewhatUnevenFew", 5, lognormal(8, 0.3), 0},
		{"SomewhatUneven", 5, lognormal(40, 0.3), 0},
		{"VeryUnevenFew", 5, lognormal(12, 1), 0},
		{"VeryUneven", 10, lognormal(200, 1), 0},
		{"OneGiant", 5, append(lognormal(30, 0.3), 10_000), 0},
		{"ManyIdle", 10, append(make([]float64, 900), lognormal(100, 0.5)...), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range seeds(10) {
				p := newPlanning(test.workers, test.loads, seed)
				p.pass(test.first)
				p.pass(test.first)
				late, last := 0, 0
				for n := range 198 {
					if k := p.pass(0.3); k > 0 {
						late, last = late+k, n
					}
				}
				if late > 0 {
					t.Errorf("seed %d: %d moves, the last in pass %d; loads %.0f", seed, late, last, p.carried())
				}
			}
		})
	}
}

func TestAnImbalanceThatLastsIsMendedWithTheFewestMoves(t *testing.T) {
	for _, test := range []struct {
		name    string
		workers int
		loads   []float64
		// change makes the load uneven, once the fleet is at rest.
		change func(p *planning)
		moves  int // that mend it
		within int // passes
	}{
		{"OneShardGetsHot", 2, alike(6), func(p *planning) { p.loads[0] *= 5 }, 1, 15},
		{"OneWorkersShardsDouble", 3, alike(30), func(p *planning) { p.scale("w0000", 2) }, 3, 15},
		{"OneOfManyWorkersDoubles", 10, alike(100), func(p *planning) { p.scale("w0003", 2) }, 4, 15},
		{"AWorkerJoins", 10, alike(1000), func(p *planning) { p.members = workers(11) }, 90, 2},
		{"AWorkerLeaves", 11, alike(1001), func(p *planning) { p.members = workers(10) }, 91, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range seeds(5) {
				p := newPlanning(test.workers, slices.Clone(test.loads), seed)
				for range 40 {
					p.pass(0.1)
				}
				test.change(p)
				before := fmt.Sprintf("%.0f", p.carried())
				moves, took := 0, 0
				for n := range 200 {
					if k := p.pass(0.1); k > 0 {
						moves, took = moves+k, n+1
					}
				}
				after := p.carried()
				if moves != test.moves || took > test.within {
					t.Errorf("seed %d: %d moves in %d passes, from %s to %.0f", seed, moves, took, before, after)
				}
			}
		})
	}
}

// seeds is how many of them are tried: n, or one of five with -short.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return max(1, n/5)
	}
	return n
}

// scale multiplies the loads of one worker's leases.
func (p *planning) scale(owner string, by float64) {
	for i := range p.leases {
		if p.leases[i].Owner == owner {
			p.loads[i] *= by
		}
	}
}

func TestBalanceWaitsForAMomentAfterAChange(t *testing.T) {
	const pause = 2 * time.Second
	c, began := newCalm(pause), time.Unix(0, 0)
	leases, two, three := leasesOf("a", "k", 2), map[string]bool{"a": true, "b": true}, map[string]bool{"a": true, "b": true, "c": true}
	for _, step := range []struct {
		after   time.Duration
		leases  []Lease
		fleet   map[string]bool
		settled bool
	}{
		{0, leases, two, false}, // a new leader
		{time.Second, leases, two, false},
		{2 * time.Second, leases, two, true},
		{3 * time.Second, leases, two, true},
		{4 * time.Second, leases, three, false}, // a join
		{6 * time.Second, leases, three, true},
		{7 * time.Second, leases[:1], three, false}, // a shard ends
		{9 * time.Second, leases[:1], three, true},
		{10 * time.Second, leases, two, false}, // a leave and a new shard
		{12 * time.Second, leases, two, true},
	} {
		if _, _, settled := c.look(began.Add(step.after), step.leases, step.fleet); settled != step.settled {
			t.Errorf("after %v: settled is %v", step.after, settled)
		}
	}
	settled := 0
	for i := range 100 { // something changes each second
		if _, _, now := c.look(began.Add(time.Minute+time.Duration(i)*time.Second), leases[:1+i%2], two); now {
			settled++
		}
	}
	if settled < 3 || settled > 6 {
		t.Errorf("settled %d times in 100 s of changes, want once in about %v", settled, restlessFor*pause)
	}
}

func TestTheLoadOfANewLeaseIsUnknownForAWhile(t *testing.T) {
	c, began := newCalm(time.Second), time.Unix(0, 0)
	old, fresh, fleet := leasesOf("a", "k", 1), leasesOf("a", "n", 1), map[string]bool{"a": true}
	old[0].Load.BytesPerSecond = 50
	unknown := func(after time.Duration, leases ...Lease) bool {
		_, unknown, _ := c.look(began.Add(after), leases, fleet)
		if unknown["k00000"] {
			t.Errorf("after %v: a lease that was there before its leader is unknown", after)
		}
		return unknown["n00000"]
	}
	unknown(0, old[0])
	if !unknown(time.Second, old[0], fresh[0]) || !unknown(unknownFor, old[0], fresh[0]) {
		t.Error("a new lease is known")
	}
	if unknown(time.Second+unknownFor, old[0], fresh[0]) {
		t.Error("after a while a lease without load is not idle")
	}
	// A stream that begins has nothing but new leases.
	c, fresh[0].Checkpoint.Position = newCalm(time.Second), stream.TrimHorizon
	if !unknown(0, fresh[0]) {
		t.Error("a lease that nobody has ever had is known")
	}
}

func TestLoadsAreSmoothedAndTheRowsStay(t *testing.T) {
	c, now, fleet := newCalm(time.Second), time.Unix(0, 0), map[string]bool{"a": true}
	rows := leasesOf("a", "k", 1)
	rows[0].Load.BytesPerSecond = 100
	c.look(now, rows, fleet)
	rows[0].Load.BytesPerSecond = 200
	steady, _, _ := c.look(now.Add(calmMemory/3), rows, fleet)
	if got := steady[0].Load.BytesPerSecond; math.Abs(got-400.0/3) > tiny {
		t.Errorf("after a third of the memory a load that doubled counts as %v", got)
	}
	if rows[0].Load.BytesPerSecond != 200 {
		t.Error("the row itself was changed")
	}
}
