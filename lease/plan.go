package lease

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// View is what a leader plans from: one look at the leases, and one at the
// members that was taken after it.
type View struct {
	Leases []Lease
	// Members are all member rows. An owner that is not among them is gone.
	Members []Member
	// Stale names live members that have been silent for a while: they keep
	// what they have and are given nothing.
	Stale map[string]bool
	// Threshold is by how much, as a part of the mean, a worker's load may
	// differ from the mean before leases are moved for balance alone.
	Threshold float64
}

// Move gives a lease to another worker.
type Move struct {
	Lease Lease
	To    string
}

// Plan returns the moves that a fleet needs, all of them, in a certain order:
// the same view gives the same plan.
//
//   - Leases without a live owner, and those of members that are draining, go
//     first: children to the worker of their parents, others to the worker with
//     the least load; during a rollout to those with the newest code, as long
//     as that overloads nobody.
//   - Then leases move from the most to the least loaded until nobody differs
//     from the mean by more than the threshold; where loads are not known, and
//     leases only count, until nobody has two more than another. That is with
//     the fewest moves that do it, as far as counts are concerned.
//   - Nothing is given to members that are fenced, draining, stale or full. A
//     lease that is being handed over already is not moved again for balance.
//   - Finished shards weigh nothing and stay. A child whose parents are not all
//     finished waits, and belongs to nobody.
func Plan(v View) []Move {
	p := newPlanner(v)
	if len(p.open) == 0 {
		return nil
	}
	p.place()
	p.balance()
	return p.moves
}

// planner is the state of one call of Plan.
type planner struct {
	leases    []Lease
	weights   []float64
	unit      bool            // all leases weigh 1: loads are not known
	bins      map[string]*bin // live members by incarnation
	open      []*bin          // those that may be given leases
	homeless  []int           // leases that need an owner
	mean      float64         // load per open bin, when all are placed
	threshold float64
	parents   map[shardKey]int
	moves     []Move
}

// bin is one live member and what it carries.
type bin struct {
	member  *Member
	load    float64
	count   int
	open    bool   // may be given leases
	newest  bool   // has the newest code of all that are open
	movable []int  // leases that may go for balance, by weight once sorted
	at      [3]int // its place in each of the heaps
}

// Places of a bin in the planner's heaps.
const (
	inLightest = iota
	inNewest
	inHeaviest
)

type shardKey struct{ streamID, shard string }

func newPlanner(v View) *planner {
	p := &planner{leases: v.Leases, threshold: v.Threshold, bins: make(map[string]*bin, len(v.Members))}
	members := slices.Clone(v.Members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	newest := ""
	for i := range members {
		m := &members[i]
		if m.Fenced {
			continue
		}
		b := &bin{member: m}
		p.bins[m.Incarnation] = b
		if !m.Draining && !v.Stale[m.Incarnation] {
			b.open = true
			p.open = append(p.open, b)
			newest = max(newest, m.Code)
		}
	}
	for _, b := range p.open {
		b.newest = b.member.Code == newest
	}
	p.weigh()
	p.sort(v.Stale)
	return p
}

// weigh gives each lease its weight. The mean is 1, so that a count and a load
// can stand side by side.
func (p *planner) weigh() {
	var bytes, records float64
	var running int
	for i := range p.leases {
		if l := &p.leases[i]; !l.Finished() {
			bytes += l.Load.BytesPerSecond
			records += l.Load.RecordsPerSecond
			running++
		}
	}
	p.unit = bytes == 0 && records == 0
	p.weights = make([]float64, len(p.leases))
	for i := range p.leases {
		switch l := &p.leases[i]; {
		case l.Finished():
		case p.unit || !l.Begun():
			p.weights[i] = 1 // an unknown load is taken for a usual one
		default:
			p.weights[i] = max(idleWeight, float64(running)*meanShare(l.Load, bytes, records))
		}
	}
}

// idleWeight is what a shard without traffic still costs, as a part of the
// mean: it is read and its lease is looked after.
const idleWeight = 0.1

// meanShare is the part that a shard has in the traffic, bytes and records
// counting alike.
func meanShare(l Load, bytes, records float64) float64 {
	share, kinds := 0.0, 0.0
	if bytes > 0 {
		share, kinds = share+l.BytesPerSecond/bytes, kinds+1
	}
	if records > 0 {
		share, kinds = share+l.RecordsPerSecond/records, kinds+1
	}
	return share / kinds
}

// sort finds for each lease where it is counted: with its owner, or among
// those that need one.
func (p *planner) sort(stale map[string]bool) {
	total := 0.0
	for i := range p.leases {
		l := &p.leases[i]
		if l.Finished() {
			continue
		}
		b := p.bins[l.Owner]
		switch {
		case b == nil || b.member.Draining:
			if !p.waiting(l) {
				p.homeless = append(p.homeless, i)
				total += p.weights[i]
			}
		case stale[l.Owner]:
		default:
			b.load += p.weights[i]
			b.count++
			total += p.weights[i]
			if l.CheckpointOwner == "" {
				b.movable = append(b.movable, i)
			}
		}
	}
	p.mean = total / float64(max(len(p.open), 1))
}

// waiting reports whether a parent of the lease is not finished yet. A parent
// without a row is: its row was retired, or lay before the first contact.
func (p *planner) waiting(l *Lease) bool {
	if len(l.Parents) == 0 || l.Begun() {
		return false
	}
	for _, parent := range l.Parents {
		if i, has := p.lease(l.StreamID, parent); has && !p.leases[i].Finished() {
			return true
		}
	}
	return false
}

// lease finds the row of a shard.
func (p *planner) lease(streamID, shard string) (int, bool) {
	if p.parents == nil {
		p.parents = make(map[shardKey]int, len(p.leases))
		for i := range p.leases {
			p.parents[shardKey{p.leases[i].StreamID, p.leases[i].Shard}] = i
		}
	}
	i, has := p.parents[shardKey{streamID, shard}]
	return i, has
}

// place gives the homeless leases to somebody, the heaviest first, so that the
// light ones can fill what is left.
func (p *planner) place() {
	slices.SortFunc(p.homeless, func(i, j int) int {
		return cmp.Or(cmp.Compare(p.weights[j], p.weights[i]), cmp.Compare(p.leases[i].Key, p.leases[j].Key))
	})
	lightest := newHeap(inLightest, lighter, p.open)
	newest := newHeap(inNewest, lighter, slices.DeleteFunc(slices.Clone(p.open), func(b *bin) bool { return !b.newest }))
	for _, i := range p.homeless {
		b := p.besideParents(&p.leases[i], p.weights[i])
		if b == nil {
			b = newest.top()
		}
		if b == nil || b.load+p.weights[i] > p.ceiling() {
			b = lightest.top()
		}
		if b == nil {
			return // everybody is full
		}
		p.move(i, b)
		for _, h := range []*heap{lightest, newest} {
			if b.full() {
				h.remove(b)
			} else {
				h.fix(b)
			}
		}
	}
}

// besideParents returns the worker that processed a parent of the lease, if it
// has room.
func (p *planner) besideParents(l *Lease, weight float64) *bin {
	for _, parent := range l.Parents {
		i, has := p.lease(l.StreamID, parent)
		if !has {
			continue
		}
		b := p.bins[p.leases[i].Owner]
		if b != nil && b.open && !b.full() && b.load+weight <= p.ceiling() {
			return b
		}
	}
	return nil
}

// ceiling is the load up to which a worker may be preferred to the lightest.
func (p *planner) ceiling() float64 {
	if p.unit {
		return math.Ceil(p.mean - 1e-9)
	}
	return p.mean * (1 + p.threshold)
}

func (p *planner) move(i int, to *bin) {
	p.moves = append(p.moves, Move{p.leases[i], to.member.Incarnation})
	to.load += p.weights[i]
	to.count++
}

// balance moves leases from the heaviest to the lightest while that helps.
func (p *planner) balance() {
	if len(p.open) < 2 || p.level(p.threshold) {
		return
	}
	for _, b := range p.open {
		slices.SortFunc(b.movable, func(i, j int) int {
			return cmp.Or(cmp.Compare(p.weights[i], p.weights[j]), cmp.Compare(p.leases[i].Key, p.leases[j].Key))
		})
	}
	lightest := newHeap(inLightest, lighter, p.open)
	heaviest := newHeap(inHeaviest, func(a, b *bin) bool { return lighter(b, a) }, p.open)
	for {
		from, to := heaviest.top(), lightest.top()
		if from == nil || to == nil || from == to || p.enough(from, to) {
			return
		}
		at, ok := p.choose(from, to)
		if !ok {
			heaviest.remove(from) // it has nothing that would help
			continue
		}
		i := from.movable[at]
		from.movable = slices.Delete(from.movable, at, at+1)
		from.load -= p.weights[i]
		from.count--
		heaviest.fix(from) // one after the other: a heap mends one change at a time
		lightest.fix(from)
		p.move(i, to)
		heaviest.fix(to)
		lightest.fix(to)
		if to.full() {
			lightest.remove(to)
		}
	}
}

// level reports whether nobody differs from the mean by more than that part.
func (p *planner) level(threshold float64) bool {
	if p.unit {
		return false // counting is exact; balance itself finds out
	}
	for _, b := range p.open {
		if math.Abs(b.load-p.mean) > p.mean*threshold {
			return false
		}
	}
	return true
}

// enough reports whether the two need no more balance. Loads waver, so that
// once it has begun it goes on to half the threshold.
func (p *planner) enough(from, to *bin) bool {
	if p.unit {
		return from.load-to.load < 1.5
	}
	slack := p.mean * p.threshold / 2
	return from.load <= p.mean+slack && to.load >= p.mean-slack
}

// choose returns which lease to move: the heaviest that takes neither of the
// two beyond the mean, else the lightest that still makes them more alike.
func (p *planner) choose(from, to *bin) (at int, ok bool) {
	gap := from.load - to.load
	want := min(from.load-p.mean, p.mean-to.load)
	if want <= 0 {
		want = gap / 2
	}
	above := sort.Search(len(from.movable), func(k int) bool { return p.weights[from.movable[k]] > want+1e-9 })
	if above > 0 {
		if w := p.weights[from.movable[above-1]]; w >= want/2 || above == len(from.movable) || p.weights[from.movable[above]] >= gap {
			return above - 1, w < gap-1e-9
		}
	}
	if above == len(from.movable) {
		return 0, false
	}
	return above, p.weights[from.movable[above]] < gap-1e-9
}

func (b *bin) full() bool { return b.member.MaxLeases > 0 && b.count >= b.member.MaxLeases }

// lighter orders by load, then newer code, then name.
func lighter(a, b *bin) bool {
	switch {
	case a.load != b.load:
		return a.load < b.load
	case a.newest != b.newest:
		return a.newest
	default:
		return a.member.Incarnation < b.member.Incarnation
	}
}
