package leasetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/millrace/millrace/lease"
)

// Many callers do everything that can be done to a few rows, and what they saw
// of each row has to be one history: some order of the calls, not against their
// order in time, in which each answer is right. A call without an answer took
// place once or never, and perhaps later.
//
//	callers ──► (lost answers, late writes) ──► store
//	   │  what was asked, when, and what was answered
//	   └──────► porcupine ──► is there such an order?
var histories = []clause{
	{"WhatManyDoAtOnceIsOneHistory", func(r *room) {
		r.oneHistory(func() lease.Store { return r.store })
	}},

	{"WhatHasNoAnswerTookPlaceOnceOrNever", func(r *room) {
		var views []*Faulty
		r.oneHistory(func() lease.Store {
			f := NewFaulty(r.store, Faults{
				Seed: uint64(len(views)), FailBefore: 0.05, LoseAnswer: 0.1, Late: 0.2, LateBy: 5 * time.Millisecond,
			})
			views = append(views, f)
			return f
		})
		for _, f := range views {
			f.Wait()
		}
	}},
}

// How many callers there are, how many calls each makes, and how many of a row's
// calls may be without an answer: the search for an order takes long with many.
const callers, calls, unanswered = 6, 40, 6

// call is one call, as it was about one row.
type call struct {
	kind callKind
	row  string
	old  rowState // the guard of a swap or delete
	next rowState // what to write
}

type callKind int

const (
	readRow callKind = iota
	createRow
	swapRow
	deleteRow
	joinRow
	endRow
)

// rowState is a row as far as this is about it: the zero value is no row.
type rowState struct {
	version int64 // a lease's Counter
	owner   string
	mark    int64 // tells what was written
}

// answer is what became of a call.
type answer struct {
	known    bool // there was one
	conflict bool
	row      rowState // as it was returned, by all but creations and deletions
}

// after returns what the row may be after a call that was answered so; nothing
// when it cannot have been.
func (was rowState) after(c call, a answer) []rowState {
	is, conflict := was, false
	switch fits := was != (rowState{}) && was.version == c.old.version && was.owner == c.old.owner; c.kind {
	case createRow:
		if was == (rowState{}) {
			is = c.next
		}
	case swapRow:
		if conflict = !fits; fits {
			is = c.next
			is.version = was.version + 1
		}
	case deleteRow, endRow:
		if conflict = !fits; fits {
			is = rowState{}
		}
	case joinRow:
		if conflict = was != (rowState{}); !conflict {
			is = c.next
		}
	}
	switch {
	case !a.known:
		return []rowState{was, is}
	case a.conflict != conflict, c.kind != createRow && c.kind != deleteRow && a.row != is:
		return nil
	}
	return []rowState{is}
}

// rows is the model of one row for porcupine.
var rows = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		of := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(call).row
			of[key] = append(of[key], o)
		}
		for _, part := range of {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{rowState{}} },
	Step: func(state, input, output any) (next []any) {
		for _, s := range state.(rowState).after(input.(call), output.(answer)) {
			next = append(next, s)
		}
		return next
	},
}

// oneHistory lets callers loose on the store, each through its own view of it,
// and fails unless what they saw is a history of every row.
func (r *room) oneHistory(view func() lease.Store) {
	r.Helper()
	h := &history{keys: []string{"a", "b"}, members: []string{"v", "w"}, counter: 1000}
	var wg sync.WaitGroup
	for i := range callers {
		c := &caller{
			history: h, ctx: r.ctx, number: i, store: r.store, view: view(),
			random: rand.New(rand.NewPCG(uint64(i), 1)), leases: map[string]lease.Lease{}, seen: map[string]lease.Member{},
		}
		wg.Go(func() {
			for range calls {
				c.turn()
			}
		})
	}
	wg.Wait()
	if r.Failed() {
		return
	}
	switch result := porcupine.CheckOperationsTimeout(rows.ToModel(), h.operations, time.Minute); result {
	case porcupine.Ok:
	case porcupine.Unknown:
		r.Fatalf("whether %d calls are one history was not found out in a minute", len(h.operations))
	default:
		r.Fatalf("the rows are not linearizable: no order of the calls fits what they saw:\n%s", h.story())
	}
}

// history is what the callers did and saw.
type history struct {
	keys, members []string
	time          timeline
	counter       atomicCounter
	mu            sync.Mutex // guards what follows
	operations    []porcupine.Operation
	silent        [4]int // calls without an answer, by row
}

type atomicCounter int64

func (c *atomicCounter) next(by int64) int64 { return atomic.AddInt64((*int64)(c), by) }

// record takes note of a call. One without an answer may still take place when
// everything else is over.
func (h *history) record(client int, began int64, c call, a answer) {
	ended := h.time.tick()
	if !a.known {
		ended = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !a.known {
		h.silent[h.index(c.row)]++
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: c, Call: began, Output: a, Return: ended})
}

func (h *history) index(row string) int { return slices.Index(append(h.keys[:2:2], h.members...), row) }

// quiet reports whether as many calls of a row went without an answer as may.
func (h *history) quiet(row string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent[h.index(row)] >= unanswered
}

// story tells the history in the order in which the calls began.
func (h *history) story() string {
	var s strings.Builder
	slices.SortFunc(h.operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, o := range h.operations {
		fmt.Fprintf(&s, "%d to %d, caller %d: %+v: %+v\n", o.Call, o.Return, o.ClientId, o.Input, o.Output)
	}
	return s.String()
}

// caller makes calls one after the other.
type caller struct {
	*history
	ctx         context.Context
	number      int
	store, view lease.Store // the store itself, and as this caller sees it
	random      *rand.Rand
	leases      map[string]lease.Lease // what it believes
	seen        map[string]lease.Member
}

func leaseState(l lease.Lease) rowState {
	if l.Key == "" {
		return rowState{}
	}
	return rowState{l.Counter, l.Owner, l.Term}
}

func memberState(m lease.Member) rowState {
	return rowState{version: m.Version, mark: m.Beats}
}

// through returns the view to call, and a context that ends early now and then.
func (c *caller) through(row string) (lease.Store, context.Context, context.CancelFunc) {
	switch {
	case c.quiet(row):
		return c.store, c.ctx, func() {}
	case c.random.IntN(12) == 0:
		ctx, cancel := context.WithTimeout(c.ctx, time.Duration(c.random.IntN(int(2*time.Millisecond))))
		return c.view, ctx, cancel
	}
	return c.view, c.ctx, func() {}
}

func (c *caller) turn() {
	if c.random.IntN(3) == 0 {
		c.callMember()
		return
	}
	key := c.keys[c.random.IntN(len(c.keys))]
	store, ctx, cancel := c.through(key)
	defer cancel()
	old, next := c.leases[key], plain(key)
	next.Term = c.counter.next(1)
	next.Owner = string(rune('p' + c.random.IntN(3)))
	old.Key = key
	did := call{row: key, old: leaseState(old), next: leaseState(next)}
	began := c.time.tick()
	var row lease.Lease
	var err error
	switch n := c.random.IntN(10); {
	case n < 4:
		did.kind = swapRow
		row, err = store.Swap(ctx, old, next)
	case n < 6:
		did.kind = createRow
		next.Counter = c.counter.next(1000) // as the clock goes on
		did.next = leaseState(next)
		row, err = next, store.Create(ctx, next)
	case n < 7:
		did.kind = deleteRow
		err = store.Delete(ctx, old)
	default:
		var found []lease.Lease
		if found, err = store.Read(ctx, key); len(found) > 0 {
			row = found[0]
		}
	}
	a := answerOf(err, leaseState(row))
	if a.known && did.kind != deleteRow {
		c.leases[key] = row
	}
	c.record(c.number, began, did, a)
}

func (c *caller) callMember() {
	key := c.members[c.random.IntN(len(c.members))]
	store, ctx, cancel := c.through(key)
	defer cancel()
	old, next := c.seen[key], lease.Member{Incarnation: key, Beats: c.counter.next(1)}
	did := call{kind: swapRow, row: key, old: memberState(old), next: memberState(next)}
	switch n := c.random.IntN(10); {
	case n < 4:
	case n < 6:
		old, did.kind = nobody, joinRow
		did.old, did.next.version = rowState{}, 1
	case n < 7 && old != nobody:
		next, did.kind = nobody, endRow
	default:
		c.readMembers(ctx, store)
		return
	}
	if did.kind == swapRow && old == nobody {
		c.readMembers(ctx, store)
		return
	}
	began := c.time.tick()
	row, err := store.SwapMember(ctx, old, next)
	a := answerOf(err, memberState(row))
	if a.known {
		c.seen[key] = row
	}
	c.record(c.number, began, did, a)
}

// readMembers reads all members, which is one read of each.
func (c *caller) readMembers(ctx context.Context, store lease.Store) {
	began := c.time.tick()
	found, err := store.Members(ctx)
	if err != nil {
		return // a read without an answer tells nothing
	}
	for _, key := range c.members {
		var row lease.Member
		for _, m := range found {
			if m.Incarnation == key {
				row = m
			}
		}
		c.seen[key] = row
		c.record(c.number, began, call{row: key}, answer{known: true, row: memberState(row)})
	}
}

func answerOf(err error, row rowState) answer {
	conflict := errors.Is(err, lease.ErrConflict)
	return answer{known: err == nil || conflict, conflict: conflict, row: row}
}
