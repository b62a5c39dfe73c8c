package lease

import (
	"context"
	"maps"
	"slices"
	"time"
)

// obedience is what a leader remembers of what people want, between its passes.
type obedience struct {
	orders
	begun      bool
	standing   map[string]Order     // by the names of their notes
	deeds      []Deed               // as they were last read
	gone       map[string]time.Time // drained workers of whom nothing is left: since when
	unreadable trouble
}

func newObedience() *obedience {
	return &obedience{gone: map[string]time.Time{}, unreadable: trouble{what: "reading an operator's order"}}
}

// forgetAfter is for how long there has to be no worker of a drained one's name
// before nobody can have meant what comes later: it outlasts restarts, deploys, and
// a machine that is mended.
const forgetAfter = time.Hour

// obey reads what people want. It tells of orders that have come or gone since the
// last pass, and of what operators did: they may be far away, and their own log with
// them.
func (l *leader) obey(ctx context.Context, members []Member) error {
	notes, err := l.notes(ctx)
	if err != nil {
		return err
	}
	p := &picture{notes: notes}
	orders, unreadable := ordersIn(notes)
	deeds, err := deedsIn(p.note(deedsNote))
	if unreadable == nil {
		unreadable = err
	}
	if unreadable != nil {
		l.wants.unreadable.met(ctx, l.log, unreadable)
	} else {
		l.wants.unreadable.over(ctx, l.log)
	}
	l.wants.orders = orders
	l.tellOrders(ctx, notes)
	l.tellDeeds(ctx, deeds)
	l.wants.begun = true
	l.forget(ctx, p, members)
	return nil
}

// tellOrders tells of orders that are new, and of those that are over.
func (l *leader) tellOrders(ctx context.Context, notes []Note) {
	standing := make(map[string]Order, len(notes))
	for _, n := range notes {
		if order, err := orderIn(n); err == nil {
			standing[n.Name] = order
		}
	}
	for _, name := range slices.Sorted(maps.Keys(standing)) {
		if order := standing[name]; !l.wants.standing[name].given(order) {
			l.log.InfoContext(ctx, "order in force", "of", order.of(), "order", order.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.wants.standing)) {
		if _, still := standing[name]; !still {
			order := l.wants.standing[name]
			l.log.InfoContext(ctx, "order is over", "of", order.of(), "order", order.String())
		}
	}
	l.wants.standing = standing
}

// tellDeeds tells of deeds that have come since the last pass.
func (l *leader) tellDeeds(ctx context.Context, deeds []Deed) {
	fresh := deeds
	for i, d := range deeds {
		if slices.ContainsFunc(l.wants.deeds, d.same) {
			fresh = deeds[i+1:]
		}
	}
	for _, d := range fresh {
		if l.wants.begun { // else it may be as old as can be
			l.log.InfoContext(ctx, "an operator has acted", "deed", d.String())
		}
	}
	l.wants.deeds = deeds
}

// forget removes drains of workers that have long been gone.
func (l *leader) forget(ctx context.Context, p *picture, members []Member) {
	there := make(map[string]bool, len(members))
	for _, m := range members {
		there[m.Worker] = true
	}
	for worker := range l.wants.gone {
		if _, drained := l.wants.drains[worker]; there[worker] || !drained {
			delete(l.wants.gone, worker)
		}
	}
	for _, worker := range slices.Sorted(maps.Keys(l.wants.drains)) {
		since, gone := l.wants.gone[worker]
		switch {
		case there[worker]:
		case !gone:
			l.wants.gone[worker] = time.Now()
		case time.Since(since) >= forgetAfter:
			l.forgetDrain(ctx, p, l.wants.drains[worker])
		}
	}
}

func (l *leader) forgetDrain(ctx context.Context, p *picture, order Order) {
	ctx, cancel := l.call(ctx)
	defer cancel()
	if _, err := l.store.SwapNote(ctx, p.note(order.name()), Note{}); err == nil { // else the next pass tries again
		l.log.InfoContext(ctx, "drain is forgotten: there was no worker of that name for long",
			"worker", order.Worker, "order", order.String(), "gone_for", forgetAfter)
	}
}

// given reports whether two are one order, read twice.
func (o Order) given(other Order) bool {
	return o.Action == other.Action && o.Actor == other.Actor && o.Since.Equal(other.Since)
}

// of tells what an order is about.
func (o Order) of() string {
	if o.Kind == ActionDrain {
		return "worker " + o.Worker
	}
	return o.Scope.String()
}

// heed tells why the worker has nothing to do, when people want it so: soon after
// it has joined, and whenever its last lease was taken away.
func (s *session) heed(ctx context.Context) {
	dice := s.diceOf("heed " + s.me)
	for {
		if !wait(ctx, dice.about(s.cfg.PlanInterval), nil) {
			return
		}
		s.mu.Lock()
		idle := len(s.slots) == 0 && !s.leaving && s.fresh()
		s.mu.Unlock()
		if idle {
			s.tellWhatHoldsBack(ctx)
		}
		select {
		case <-s.idleNow:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) tellWhatHoldsBack(ctx context.Context) {
	o, err := s.standing(ctx)
	if err != nil {
		return // whoever leads tells of it
	}
	tell := func(order Order) {
		s.log.InfoContext(ctx, "nothing to do by an operator's order", "of", order.of(), "order", order.String())
	}
	if order, drained := o.drains[s.cfg.Worker]; drained {
		tell(order)
	}
	for _, order := range slices.SortedFunc(maps.Values(o.holds), byScope) {
		tell(order)
	}
}
