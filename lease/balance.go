package lease

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

const (
	// halfLease is the part of the slack that leases need because they are
	// lumps: what is exactly even for counts differs from the mean by no more.
	halfLease = 0.5
	// worth is how many times its own weight must lie between two workers
	// before a lease moves from the one to the other, unless that makes the
	// heavier of the two lighter by the slack. At 1 it would only change
	// which of the two is the heavier one; at 2 they are even afterwards. Half
	// of its weight is what a move brings at least, and about what two loads
	// have to waver by before it is regretted.
	worth = 1.7
)

// balance brings those whose load is beyond the slack back to half of it: loads
// waver, and who has just been helped is not to need help at once. All others
// are left alone, but that they give and take.
func (p *planner) balance() {
	uneven := false
	for _, b := range p.open {
		b.uneven = math.Abs(b.load-p.mean) > p.slack
		uneven = uneven || b.uneven
	}
	if !uneven || len(p.open) < 2 {
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
		if from == nil || to == nil || from == to || !p.beyond(from, from.load-p.mean) && !p.beyond(to, p.mean-to.load) {
			return
		}
		at, ok := p.choose(from, to)
		if !ok && p.served != nil {
			to, at, ok = p.elsewhere(from)
		}
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

// elsewhere returns the lightest of all that a lease of a member may go to, where
// members do not serve the same streams.
func (p *planner) elsewhere(from *bin) (to *bin, at int, ok bool) {
	for _, b := range p.open {
		if b == from || b.full() || to != nil && !lighter(b, to) {
			continue
		}
		if k, fits := p.choose(from, b); fits {
			to, at, ok = b, k, true
		}
	}
	return to, at, ok
}

// beyond reports whether a load that differs by so much is to be mended.
func (p *planner) beyond(b *bin, by float64) bool {
	if b.uneven {
		return by > p.slack/2
	}
	return by > p.slack
}

// choose returns which lease to move: the heaviest that takes neither of the
// two beyond the mean, else the lightest beyond that, if it is worth it.
func (p *planner) choose(from, to *bin) (at int, ok bool) {
	leases := from.movable
	if p.served != nil {
		leases = slices.DeleteFunc(slices.Clone(leases), func(i int) bool { return !p.suits(i, to) })
	}
	weight := func(k int) float64 { return p.weights[leases[k]] }
	gap := from.load - to.load
	most := max(gap/worth, gap-p.slack) + tiny
	want := min(from.load-p.mean, p.mean-to.load)
	if want <= 0 {
		want = gap / 2
	}
	above := sort.Search(len(leases), func(k int) bool { return weight(k) > want+tiny })
	fits := above < len(leases) && weight(above) <= most
	switch {
	case above > 0 && (!fits || weight(above-1) >= want/2):
		return slices.Index(from.movable, leases[above-1]), true
	case fits:
		return slices.Index(from.movable, leases[above]), true
	default:
		return 0, false
	}
}
