package lease

import (
	"cmp"
	"math"
	"slices"
)

// View is what a leader plans from: one look at the leases, and one at the
// members that was taken after it.
type View struct {
	Leases []Lease
	// Unknown names leases, by key, whose Load says nothing yet. They are taken
	// for usual ones. Other leases without any load are idle.
	Unknown map[string]bool
	// Members are all member rows. An owner that is not among them is gone.
	Members []Member
	// Stale names live members that have been silent for a while: they keep
	// what they have and are given nothing.
	Stale map[string]bool
	// Drained names members that people want to be without leases: they give away
	// what others can take, and are the last resort for what nobody else can.
	Drained map[string]bool
	// Paused names leases, by key, that nobody is to have.
	Paused map[string]bool
	// Unsettled says that shards or members have just changed, and may go on
	// to: leases are given to who has to have them, and balance waits.
	Unsettled bool
	// Threshold is by how much, as a part of the mean, a worker's load may
	// differ from the mean before leases are moved for balance alone. Half an
	// average lease is always allowed, since leases cannot be divided.
	Threshold float64
}

// Move gives a lease to another worker, or to nobody ("").
type Move struct {
	Lease Lease
	To    string
}

// Plan returns the moves that a fleet needs, all of them, in a certain order:
// the same view gives the same plan.
//
//   - What is paused is taken from whoever has it, and given to nobody.
//   - Leases without a live owner, and those of members that are draining or
//     drained, go first: children to the worker of their parents, others to the
//     worker with the least load; during a rollout to those with the newest code, as
//     long as that overloads nobody. Which code is the newest, [Config] tells.
//   - Then each worker whose load is beyond the threshold is brought well inside
//     it, with few moves; where loads are not known, or all alike, leases only
//     count, and nobody has two more than another.
//   - Nothing is given to members that are fenced, draining, stale or full, or
//     that do not serve its stream though others do, or in which a callback of an
//     earlier term on that shard is stuck; to drained ones only what has no owner who
//     may keep it, and nobody else to go to. A lease that is being handed
//     over already is not moved again for balance.
//   - Finished shards weigh nothing and stay. A child whose parents are not all
//     finished waits, and belongs to nobody.
func Plan(v View) []Move {
	p := newPlanner(v)
	p.place()
	if !v.Unsettled {
		p.balance()
	}
	return p.moves
}

// planner is the state of one call of Plan.
type planner struct {
	leases    []Lease
	weights   []float64       // an average lease weighs 1
	unit      bool            // all leases weigh 1: loads are not known, or alike
	bins      map[string]*bin // live members by incarnation
	open      []*bin          // those that may be given leases
	reserve   []*bin          // those that may be given what nobody of these can take
	homeless  []int           // leases that need an owner
	mean      float64         // what an open bin should carry, when all are placed
	slack     float64         // by how much it may differ
	threshold float64
	parents   map[shardKey]int
	served    map[string]bool // streams that somebody lists; nil when all list the same
	moves     []Move
}

// bin is one live member and what it carries.
type bin struct {
	member  *Member
	load    float64
	count   int
	open    bool            // may be given leases
	drained bool            // gives away what others can take
	uneven  bool            // its load was beyond the slack when balance began
	newest  bool            // has the newest code of all that are open
	streams map[string]bool // that it serves; set where members differ
	stuck   map[string]bool // leases, by key, that it cannot take
	movable []int           // leases that may go for balance, by weight once sorted
	at      [3]int          // its place in each of the heaps
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
	for i := range members {
		m := &members[i]
		if m.Fenced {
			continue
		}
		b := &bin{member: m, drained: v.Drained[m.Incarnation] && !m.Draining}
		for _, key := range m.Blocked.Stuck() {
			if b.stuck == nil {
				b.stuck = map[string]bool{}
			}
			b.stuck[key] = true
		}
		p.bins[m.Incarnation] = b
		switch {
		case m.Draining || v.Stale[m.Incarnation]:
		case b.drained:
			p.reserve = append(p.reserve, b)
		default:
			b.open = true
			p.open = append(p.open, b)
		}
	}
	newest := p.newestCode()
	for _, b := range p.open {
		b.newest = b.member.Code == newest
	}
	p.tellApart()
	p.weights, p.unit = weigh(v)
	p.sort(v)
	return p
}

// newestCode returns the code, of those that are open, whose first worker that lives
// joined last: beats tell, to a third of FailoverTime, for how long each has been
// there. Of those that came together it is the greatest.
func (p *planner) newestCode() string {
	age := map[string]int64{}
	for _, b := range p.bins {
		age[b.member.Code] = max(age[b.member.Code], b.member.Beats)
	}
	newest := ""
	for i, b := range p.open {
		code := b.member.Code
		if i == 0 || cmp.Or(cmp.Compare(age[newest], age[code]), cmp.Compare(code, newest)) > 0 {
			newest = code
		}
	}
	return newest
}

// tellApart notes who serves which streams, unless all serve the same.
func (p *planner) tellApart() {
	sets := map[StreamSet]bool{}
	for _, b := range p.bins {
		sets[b.member.Streams] = true
	}
	if len(sets) < 2 {
		return
	}
	p.served = map[string]bool{}
	for _, b := range p.bins {
		b.streams = map[string]bool{}
		for _, id := range b.member.Streams.IDs() {
			b.streams[id], p.served[id] = true, true
		}
	}
}

// suits reports whether a lease may be given to a member: one that serves its
// stream, or anybody when nobody says so, and in which no callback of an earlier
// term on that shard is stuck.
func (p *planner) suits(i int, b *bin) bool {
	id := p.leases[i].StreamID
	return (!p.served[id] || b.streams[id]) && !b.stuck[p.leases[i].Key]
}

// sort finds for each lease where it is counted: with its owner, among those
// that need one, or nowhere.
func (p *planner) sort(v View) {
	var placed []float64
	for i := range p.leases {
		l := &p.leases[i]
		if l.Finished() {
			continue
		}
		b := p.bins[l.Owner]
		switch {
		case v.Paused[l.Key]:
			if l.Owner != "" {
				p.moves = append(p.moves, Move{*l, ""})
			}
		case b == nil || b.member.Draining || b.drained || !p.suits(i, b):
			if !p.waiting(l) {
				p.homeless = append(p.homeless, i)
				placed = append(placed, p.weights[i])
				p.keep(i, 1) // until somebody else takes it
			}
		case v.Stale[l.Owner]:
		default:
			b.load += p.weights[i]
			b.count++
			placed = append(placed, p.weights[i])
			if l.CheckpointOwner == "" {
				b.movable = append(b.movable, i)
			}
		}
	}
	if p.unit {
		p.mean = float64(len(placed)) / float64(max(len(p.open), 1))
		p.slack = halfLease
	} else {
		p.mean = share(placed, len(p.open))
		p.slack = halfLease + p.threshold*p.mean
	}
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
	reserve := newHeap(inLightest, lighter, p.reserve)
	for _, i := range p.homeless {
		suits := func(b *bin) bool { return p.suits(i, b) }
		b := p.besideParents(i, p.weights[i])
		if b == nil {
			b = newest.first(suits)
		}
		if b == nil || b.load+p.weights[i] > p.ceiling() {
			b = lightest.first(suits)
		}
		if b == nil && !p.kept(i) {
			b = reserve.first(suits)
		}
		if b == nil {
			continue // whoever may have it is full, or it stays
		}
		p.keep(i, -1)
		p.move(i, b)
		for _, h := range []*heap{lightest, newest, reserve} {
			if b.full() {
				h.remove(b)
			} else {
				h.fix(b)
			}
		}
	}
}

// kept reports whether a lease belongs to a drained member, who keeps it unless
// others take it.
func (p *planner) kept(i int) bool {
	b := p.bins[p.leases[i].Owner]
	return b != nil && b.drained && p.suits(i, b)
}

// keep counts a lease of a drained member (+1), or no longer (-1).
func (p *planner) keep(i, change int) {
	if p.kept(i) {
		b := p.bins[p.leases[i].Owner]
		b.count += change
		b.load += float64(change) * p.weights[i]
	}
}

// besideParents returns the worker that processed a parent of the lease, if it
// has room.
func (p *planner) besideParents(i int, weight float64) *bin {
	l := &p.leases[i]
	for _, parent := range l.Parents {
		at, has := p.lease(l.StreamID, parent)
		if !has {
			continue
		}
		b := p.bins[p.leases[at].Owner]
		if b != nil && b.open && !b.full() && p.suits(i, b) && b.load+weight <= p.ceiling() {
			return b
		}
	}
	return nil
}

// ceiling is the load up to which a worker may be preferred to the lightest.
func (p *planner) ceiling() float64 {
	if p.unit {
		return math.Ceil(p.mean - tiny)
	}
	return max(1, p.mean+p.slack)
}

func (p *planner) move(i int, to *bin) {
	p.moves = append(p.moves, Move{p.leases[i], to.member.Incarnation})
	to.load += p.weights[i]
	to.count++
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
