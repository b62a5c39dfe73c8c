package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// picture is a fleet as one sees it from outside: leases, members that were read
// after them, so that an owner that is not among them can never come again, and
// notes.
type picture struct {
	leases     []Lease
	members    []Member // without the leader's row
	leader     Member   // the leader's row
	notes      []Note
	orders     orders
	deeds      []Deed
	unreadable error // what could not be understood of the notes
}

// pictureOf reads a fleet.
func pictureOf(ctx context.Context, store Store, failover time.Duration) (*picture, error) {
	p := &picture{}
	listing, cancel := context.WithTimeoutCause(ctx, 3*failover, errSlow)
	defer cancel()
	for l, err := range store.Leases(listing) {
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		p.leases = append(p.leases, l)
	}
	slices.SortFunc(p.leases, func(a, b Lease) int { return cmp.Compare(a.Key, b.Key) })
	calling, cancel := context.WithTimeoutCause(ctx, failover, errSlow)
	defer cancel()
	err := p.readMembers(calling, store)
	if err != nil {
		return nil, err
	}
	if p.notes, err = store.Notes(calling); err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	p.orders, p.unreadable = ordersIn(p.notes)
	deeds, err := deedsIn(p.note(deedsNote))
	p.deeds, p.unreadable = deeds, errors.Join(p.unreadable, err)
	return p, nil
}

func (p *picture) readMembers(ctx context.Context, store Store) error {
	rows, err := store.Members(ctx)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	for _, m := range rows {
		if m.Incarnation == leaderKey {
			p.leader = m
		} else {
			p.members = append(p.members, m)
		}
	}
	return nil
}

// in says which members are not fenced.
func (p *picture) in() map[string]bool {
	in := make(map[string]bool, len(p.members))
	for _, m := range p.members {
		in[m.Incarnation] = !m.Fenced
	}
	return in
}

// seeks reports whether such a seek is under way, or was broken off.
func (p *picture) seeks(a Action) bool {
	order, err := orderIn(p.note(a.name()))
	return err == nil && order.To == a.To
}

// note returns the note of that name, the zero Note when there is none.
func (p *picture) note(name string) Note {
	if i := slices.IndexFunc(p.notes, func(n Note) bool { return n.Name == name }); i >= 0 {
		return p.notes[i]
	}
	return Note{}
}
