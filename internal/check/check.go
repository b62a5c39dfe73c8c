package check

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/millrace/millrace/stream"
)

// Checker takes events in and finds violations. Its methods may be called at
// the same time. Shards are named by the caller, in one name space for all
// streams, for example by the keys of their leases.
type Checker struct {
	mu         sync.Mutex // guards everything below
	shards     map[string]*shard
	stats      Stats
	violations []error
	more       int // violations that were not kept
}

// over reports whether nothing may be processed under the term any more.
func (t *term) over() bool { return t.cancelled || t.released || t.returned }

// Stats is what was seen.
type Stats struct {
	Puts, Deliveries, Repeats int
	Terms, Clean, Cancelled   int
	Stored, Refused           int
	Ended, Retired            int
}

type shard struct {
	id      string
	parents []string

	term   int64 // the newest that the store has issued
	before int64 // the one before
	holder string
	terms  map[int64]*term // those that have not returned, and the newest

	stored      stream.Position
	ended       bool
	clean       bool // the term before ended cleanly
	effects     int64
	hash        uint64                   // of its events in their order
	outstanding sequences                // acknowledged and not covered by the checkpoint
	done        map[stream.Sequence]bool // done, and not covered or not yet acknowledged
}

type term struct {
	holder    string
	began     bool
	cancelled bool
	released  bool
	returned  bool
	clean     bool
	last      stream.Sequence // the greatest delivered
	any       bool            // last is set
	doneLast  stream.Sequence // the greatest done
	doneAny   bool
}

// New returns a Checker that has seen nothing.
func New() *Checker { return &Checker{shards: map[string]*shard{}} }

// Shard makes a shard known, with those of its parents that are processed too.
// It may be called again.
func (c *Checker) Shard(id string, parents ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shard(id).parents = parents
}

// Put says that a record was acknowledged.
func (c *Checker) Put(shard string, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.stats.Puts++
	if !sh.stored.Includes(s) {
		heap.Push(&sh.outstanding, s)
		return
	}
	if !sh.done[s] {
		c.violated("C4", sh, "record %v is acknowledged and not done, and the checkpoint %v has passed it", s, sh.stored)
	}
	delete(sh.done, s)
}

// Took says that the store issued a term: holder may process the shard from
// the stored checkpoint on.
func (c *Checker) Took(shard, holder string, t int64, from stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("took", shard, holder, t)
	c.stats.Terms++
	if t <= sh.term {
		c.violated("F1", sh, "%s was given term %d after term %d", holder, t, sh.term)
	}
	sh.clean = false
	for n, old := range sh.terms {
		if old.began && !old.over() {
			c.violated("F5", sh, "%s took term %d while %s holds term %d", holder, t, old.holder, n)
		}
		if old.returned || !old.began {
			delete(sh.terms, n)
		}
		if n == sh.term {
			sh.clean = old.clean
		}
	}
	if !sh.stored.IsZero() && from.Compare(sh.stored) != 0 {
		c.violated("C3", sh, "term %d starts at %v, stored is %v", t, from, sh.stored)
	}
	if sh.stored.IsZero() {
		sh.stored = from // what lies before the first contact is nobody's
		for len(sh.outstanding) > 0 && from.Includes(sh.outstanding[0]) {
			heap.Pop(&sh.outstanding)
		}
	}
	sh.before, sh.term, sh.holder = sh.term, t, holder
	sh.terms[t] = &term{holder: holder}
}

// Began says that the processing of a term began.
func (c *Checker) Began(shard string, t int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("began", shard, "", t)
	for n, old := range sh.terms {
		if n != t && old.began && !old.over() {
			c.violated("F5", sh, "term %d begins while %s holds term %d", t, old.holder, n)
		}
	}
	now := sh.terms[t]
	if now == nil {
		c.violated("F2", sh, "term %d begins that the store has not issued", t)
		now = &term{holder: "?"}
		sh.terms[t] = now
	}
	now.began = true
}

// Cancelled says that the context of a term was cancelled.
func (c *Checker) Cancelled(shard string, t int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("cancelled", shard, "", t)
	if now := sh.terms[t]; now != nil && !now.cancelled {
		now.cancelled = true
		c.stats.Cancelled++
	}
}

// Released says that the store accepted that the holder of the newest term
// gives the shard up: it has stopped, though it may not have returned yet.
func (c *Checker) Released(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("released", shard, "", sh.term)
	if now := sh.terms[sh.term]; now != nil {
		now.released = true
	}
}

// Returned says that the processing of a term is over. clean says that it
// ended in good order: everything done is stored, nothing may come again.
func (c *Checker) Returned(shard string, t int64, clean bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("returned", shard, fmt.Sprint(clean), t)
	now := sh.terms[t]
	if now == nil {
		return
	}
	now.returned, now.clean = true, clean
	if t == sh.before {
		sh.clean = clean
	}
	if !clean {
		return
	}
	c.stats.Clean++
	if now.any && !sh.stored.Includes(now.last) {
		c.violated("C5", sh, "term %d ended cleanly, having got record %v, and stored is %v", t, now.last, sh.stored)
	}
}

// Delivered says that a record was given to the application under a term.
// A record that is given again because it failed is fed again.
func (c *Checker) Delivered(shard string, t int64, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("delivered", shard, s.String(), t)
	c.stats.Deliveries++
	now := sh.terms[t]
	if now == nil || !now.began || now.over() {
		c.violated("F4", sh, "record %v is delivered under term %d, which is over", s, t)
		return
	}
	for _, p := range sh.parents {
		if !c.shard(p).ended {
			c.violated("P1", sh, "record %v is delivered before the parent %s has ended", s, p)
		}
	}
	switch {
	case sh.stored.Includes(s):
		c.violated("C2", sh, "record %v is delivered though the checkpoint is %v", s, sh.stored)
	case now.doneAny && !now.doneLast.Less(s):
		c.violated("C2", sh, "record %v is delivered in term %d after %v was done", s, t, now.doneLast)
	}
	if sh.done[s] {
		c.stats.Repeats++
		if sh.clean {
			c.violated("C5", sh, "record %v comes again though the term before %d ended cleanly", s, t)
		}
	}
	if !now.any || now.last.Less(s) {
		now.last, now.any = s, true
	}
}

// Done says that the application has done with a record.
func (c *Checker) Done(shard string, t int64, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("done", shard, s.String(), t)
	if now := sh.terms[t]; now != nil && (!now.doneAny || now.doneLast.Less(s)) {
		now.doneLast, now.doneAny = s, true
	}
	if !sh.stored.Includes(s) {
		sh.done[s] = true
	}
}

// Stored says that the store accepted a checkpoint from a worker.
func (c *Checker) Stored(shard, holder string, p stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("stored", shard, holder+" "+p.String(), 0)
	c.stats.Stored++
	passing := "C4"
	if p == stream.ShardEnd {
		passing = "P2"
		if !sh.ended {
			c.stats.Ended++
		}
		sh.ended = true
	}
	if holder != sh.holder {
		c.violated("F2", sh, "%s stored %v, but term %d is held by %s", holder, p, sh.term, sh.holder)
	}
	if p.Compare(sh.stored) < 0 {
		c.violated("C3", sh, "%s stored %v after %v", holder, p, sh.stored)
	}
	if s, after, ok := p.Sequence(); ok && after && p != sh.stored {
		if now := sh.terms[sh.term]; now != nil && (!now.any || now.last.Less(s)) {
			c.violated("C4", sh, "%s stored %v, beyond what was delivered in term %d", holder, p, sh.term)
		}
	}
	sh.stored = p
	for len(sh.outstanding) > 0 && p.Includes(sh.outstanding[0]) {
		s := heap.Pop(&sh.outstanding).(stream.Sequence)
		if !sh.done[s] {
			c.violated(passing, sh, "%s stored %v, but record %v is not done", holder, p, s)
		}
		delete(sh.done, s)
	}
}

// Refused counts a write of a former holder that was refused.
func (c *Checker) Refused(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Refused++
}

// Sought says that an operator moved the checkpoint, forward or back.
func (c *Checker) Sought(shard string, p stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.stored, sh.clean = p, false
}

// Retired says that the row of a shard was deleted.
func (c *Checker) Retired(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.note("retired", shard, "", 0)
	c.stats.Retired++
	if !sh.ended {
		c.violated("P4", sh, "its row was deleted before it had ended")
	}
}

// Effect says that a sink which knows terms accepted a write under one.
func (c *Checker) Effect(shard string, t int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	if t < sh.effects {
		c.violated("F3", sh, "an effect of term %d was accepted after one of term %d", t, sh.effects)
	}
	sh.effects = max(sh.effects, t)
}

// AtRest says that nothing is under way any more: all that was put must be
// done and covered.
func (c *Checker) AtRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sh := range c.shards {
		if len(sh.outstanding) == 0 {
			continue
		}
		first := sh.outstanding[0]
		if sh.done[first] {
			c.violated("C1", sh, "at rest, record %v is done and not covered; stored is %v", first, sh.stored)
		} else {
			c.violated("C1", sh, "at rest, record %v is not done; stored is %v", first, sh.stored)
		}
	}
}

// Checkpoint returns how far a shard's checkpoint is, and whether it has ended.
func (c *Checker) Checkpoint(shard string) (p stream.Position, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	return sh.stored, sh.ended
}

// Stats returns what was seen so far.
func (c *Checker) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Hash returns a number that depends on all events, and on their order in each
// shard: two runs with the same number took the same course.
func (c *Checker) Hash() (sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sh := range c.shards {
		sum += sh.hash
	}
	return sum
}

// kept is how many violations are kept: the first ones tell the most.
const kept = 20

// Err returns all violations joined, or nil.
func (c *Checker) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := errors.Join(c.violations...)
	if c.more > 0 {
		err = errors.Join(err, fmt.Errorf("and %d more violations", c.more))
	}
	return err
}

// violated records a violation. The caller holds mu.
func (c *Checker) violated(name string, sh *shard, format string, args ...any) {
	if len(c.violations) >= kept {
		c.more++
		return
	}
	c.violations = append(c.violations, fmt.Errorf("%s violated: %s: %s", name, sh.id, fmt.Sprintf(format, args...)))
}

// note mixes an event into the hash of its shard. The caller holds mu.
func (c *Checker) note(what, shard, detail string, t int64) {
	sh := c.shard(shard)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s %s %s %d", sh.hash, what, shard, detail, t)
	sh.hash = h.Sum64()
}

func (c *Checker) shard(id string) *shard {
	sh := c.shards[id]
	if sh == nil {
		sh = &shard{id: id, terms: map[int64]*term{}, done: map[stream.Sequence]bool{}}
		c.shards[id] = sh
	}
	return sh
}

// sequences is a heap: the smallest first.
type sequences []stream.Sequence

func (q sequences) Len() int           { return len(q) }
func (q sequences) Less(i, j int) bool { return q[i].Less(q[j]) }
func (q sequences) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *sequences) Push(x any)        { *q = append(*q, x.(stream.Sequence)) }
func (q *sequences) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
