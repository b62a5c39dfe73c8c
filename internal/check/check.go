package check

import (
	"container/heap"
	"errors"
	"fmt"
	"math/bits"
	"slices"
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
	more       int  // violations that were not kept
	remembers  bool // what was put, after it is covered
}

// over reports whether nothing may be processed under the term any more.
func (t *term) over() bool { return t.cancelled || t.released || t.returned }

// Stats is what was seen.
type Stats struct {
	Puts, Deliveries, Repeats int
	MostRepeats               int // in one term
	Terms, Clean, Cancelled   int
	Stored, Refused           int
	Ended, Retired            int
	Seeks                     int
	Lost                      int // records that were put and left the stream before they were done
	Violations                int
}

// Add adds the counts of another run.
func (s *Stats) Add(t Stats) {
	s.Puts += t.Puts
	s.Deliveries += t.Deliveries
	s.Repeats += t.Repeats
	s.MostRepeats = max(s.MostRepeats, t.MostRepeats)
	s.Terms += t.Terms
	s.Clean += t.Clean
	s.Cancelled += t.Cancelled
	s.Stored += t.Stored
	s.Refused += t.Refused
	s.Ended += t.Ended
	s.Retired += t.Retired
	s.Seeks += t.Seeks
	s.Lost += t.Lost
	s.Violations += t.Violations
}

type shard struct {
	id       string
	parents  []string
	children []string

	term   int64 // the newest that the store has issued
	holder string
	terms  map[int64]*term // those that have not returned, and the newest

	stored      stream.Position
	ended       bool
	gone        bool // the stream has it no longer
	effects     int64
	hash        uint64                       // of its events in their order
	outstanding sequences                    // acknowledged and not covered by the checkpoint
	put         []stream.Sequence            // all that was acknowledged, if that is remembered
	seen        map[stream.Sequence]progress // not covered, or not yet acknowledged
}

// progress is how far a record has come that no checkpoint covers.
type progress uint8

const (
	delivered progress = iota + 1
	done
)

type term struct {
	holder    string
	began     bool
	cancelled bool
	released  bool
	left      stream.Position // the checkpoint with which it was released
	returned  bool
	last      stream.Sequence // the greatest delivered
	any       bool            // last is set
	repeats   int             // records that had been delivered under earlier terms
	mayRepeat int             // how many of them were uncovered when the term was issued
	doneLast  stream.Sequence // the greatest done
	doneAny   bool
}

// New returns a Checker that has seen nothing.
func New() *Checker { return &Checker{shards: map[string]*shard{}} }

// Remember keeps every record that is put from now on, so that shards can be
// sought: memory grows with each.
func (c *Checker) Remember() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remembers = true
}

// Shard makes a shard known, with those of its parents that are processed too.
// It may be called again.
func (c *Checker) Shard(id string, parents ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shard(id).parents = parents
	for _, p := range parents {
		if of := c.shard(p); !slices.Contains(of.children, id) {
			of.children = append(of.children, id)
		}
	}
}

// Put says that a record was acknowledged.
func (c *Checker) Put(shard string, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	c.stats.Puts++
	if c.remembers {
		sh.put = append(sh.put, s)
	}
	if !sh.stored.Includes(s) {
		heap.Push(&sh.outstanding, s)
		return
	}
	if sh.seen[s] != done {
		c.violated("C4", sh, "record %v is acknowledged and not done, and the checkpoint %v has passed it", s, sh.stored)
	}
	delete(sh.seen, s)
}

// Took says that the store issued a term: holder may process the shard from
// the stored checkpoint on.
func (c *Checker) Took(shard, holder string, t int64, from stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("took "+holder, uint64(t))
	c.stats.Terms++
	if t <= sh.term {
		c.violated("F1", sh, "%s was given term %d after term %d", holder, t, sh.term)
	}
	for n, old := range sh.terms {
		if old.began && !old.over() {
			c.violated("F5", sh, "%s took term %d while %s holds term %d", holder, t, old.holder, n)
		}
		if old.returned || !old.began {
			delete(sh.terms, n)
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
	sh.term, sh.holder = t, holder
	sh.terms[t] = &term{holder: holder, mayRepeat: len(sh.seen)}
}

// Began says that the processing of a term began.
func (c *Checker) Began(shard string, t int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("began", uint64(t))
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
	sh.note("cancelled", uint64(t))
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
	sh.note("released", uint64(sh.term))
	if now := sh.terms[sh.term]; now != nil {
		now.released, now.left = true, sh.stored
	}
}

// Returned says that the processing of a term is over. clean says that it
// ended in good order: everything done is stored, nothing may come again.
func (c *Checker) Returned(shard string, t int64, clean bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	what := "returned"
	if clean {
		what = "returned clean"
	}
	sh.note(what, uint64(t))
	now := sh.terms[t]
	if now == nil {
		return
	}
	now.returned = true
	if !clean {
		return
	}
	c.stats.Clean++
	stored := sh.stored
	if now.released {
		stored = now.left // others may have gone on from there
	}
	if now.any && !stored.Includes(now.last) {
		c.violated("C5", sh, "term %d ended cleanly, having got record %v, and left %v", t, now.last, stored)
	}
}

// Delivered says that a record was given to the application under a term.
// A record that is given again because it failed is fed again.
func (c *Checker) Delivered(shard string, t int64, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.noteRecord("delivered", t, s)
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
	progress := sh.seen[s]
	if progress == done {
		c.stats.Repeats++
	}
	if now.any && !now.last.Less(s) {
		return // a batch that failed
	}
	now.last, now.any = s, true
	if progress == 0 {
		sh.seen[s] = delivered
		return
	}
	now.repeats++
	c.stats.MostRepeats = max(c.stats.MostRepeats, now.repeats)
	if now.repeats > now.mayRepeat {
		c.violated("C6", sh, "term %d repeats record %v and %d others, but only %d were delivered and not covered when it was issued",
			t, s, now.repeats-1, now.mayRepeat)
	}
}

// Done says that the application has done with a record.
func (c *Checker) Done(shard string, t int64, s stream.Sequence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.noteRecord("done", t, s)
	if now := sh.terms[t]; now != nil && (!now.doneAny || now.doneLast.Less(s)) {
		now.doneLast, now.doneAny = s, true
	}
	if !sh.stored.Includes(s) {
		sh.seen[s] = done
	}
}

// Stored says that the store accepted a checkpoint from a worker.
func (c *Checker) Stored(shard, holder string, p stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	at, _, _ := p.Sequence()
	sh.noteRecord("stored "+holder, 0, at)
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
		if sh.seen[s] != done {
			c.violated(passing, sh, "%s stored %v, but record %v is not done", holder, p, s)
		}
		delete(sh.seen, s)
	}
}

// Sought says that an operator made a shard go on from p: what was put behind it
// has to come, though it was covered before, and what lies before it need not.
func (c *Checker) Sought(shard string, p stream.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("sought " + p.String())
	c.stats.Seeks++
	if !c.remembers {
		c.violated("S1", sh, "sought to %v, and what was put is not remembered", p)
	}
	for n, old := range sh.terms {
		if old.began && !old.over() {
			c.violated("F5", sh, "sought to %v while %s holds term %d", p, old.holder, n)
		}
	}
	if sh.ended {
		c.violated("P2", sh, "sought to %v after its end", p)
	}
	for _, id := range sh.children {
		if child := c.shard(id); child.stored.Compare(stream.Latest) > 0 || child.term != 0 {
			c.violated("P1", sh, "sought to %v though its child %s has begun", p, id)
		}
	}
	sh.stored, sh.outstanding = p, sh.outstanding[:0]
	for _, s := range sh.put {
		if !p.Includes(s) {
			heap.Push(&sh.outstanding, s)
		}
	}
	for s := range sh.seen {
		if p.Includes(s) {
			delete(sh.seen, s)
		}
	}
}

// Refused counts a write of a former holder that was refused.
func (c *Checker) Refused(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Refused++
}

// Gone says that the stream has dropped a shard, or was deleted: what is left of
// it unprocessed is lost, and nobody's fault.
func (c *Checker) Gone(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("gone")
	sh.gone = true
	c.stats.Lost += len(sh.outstanding)
	sh.outstanding = nil
}

// GivenUp says that somebody who does not hold the shard has ended it: there is
// nothing left of it that could be processed.
func (c *Checker) GivenUp(shard, by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("given up " + by)
	if !sh.gone {
		c.violated("P5", sh, "%s gave it up, but the stream still has it", by)
	}
	sh.ended, sh.stored = true, stream.ShardEnd
}

// Retired says that the row of a shard was deleted.
func (c *Checker) Retired(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard(shard)
	sh.note("retired")
	c.stats.Retired++
	if !sh.ended && !sh.gone {
		c.violated("P4", sh, "its row was deleted before it had ended")
	}
	for _, id := range sh.children {
		if child := c.shard(id); child.stored.Compare(stream.Latest) <= 0 && !child.gone {
			c.violated("P4", sh, "its row was deleted before its child %s had begun; that is at %v", id, child.stored)
		}
	}
	// What was put and not yet acknowledged may still be asked for; all else is
	// over, but for the last term, which others may come after.
	for n := range sh.terms {
		if n != sh.term {
			delete(sh.terms, n)
		}
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

// Covered says which parts of a stream's hash space the shards have that are
// not ended, when nothing is under way any more.
func (c *Checker) Covered(id string, ranges []stream.HashRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := &shard{id: id}
	if holes := stream.Holes(ranges); len(holes) > 0 {
		c.violated("P3", of, "at rest, nobody processes %v", holes)
	}
	ranges = slices.SortedFunc(slices.Values(ranges), func(a, b stream.HashRange) int { return a.Start.Compare(b.Start) })
	for i := 1; i < len(ranges); i++ {
		if ranges[i].Start.Compare(ranges[i-1].End) <= 0 {
			c.violated("P3", of, "at rest, %v and %v lie over each other", ranges[i-1], ranges[i])
		}
	}
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
		if sh.seen[first] == done {
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
	for id, sh := range c.shards {
		named := shard{hash: sh.hash}
		named.note(id)
		sum += named.hash
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
	c.stats.Violations++
	if len(c.violations) >= kept {
		c.more++
		return
	}
	c.violations = append(c.violations, fmt.Errorf("%s violated: %s: %s", name, sh.id, fmt.Sprintf(format, args...)))
}

// note mixes an event into the hash of the shard. The checker's mu is held.
func (sh *shard) note(what string, numbers ...uint64) {
	mix := func(n uint64) { sh.hash = (bits.RotateLeft64(sh.hash, 29) ^ n) * 0x9e3779b97f4a7c15 }
	for i := range len(what) {
		mix(uint64(what[i]))
	}
	for _, n := range numbers {
		mix(n)
	}
}

func (sh *shard) noteRecord(what string, t int64, s stream.Sequence) {
	hi, mid, lo := s.Words()
	sh.note(what, uint64(t), hi, mid, lo, s.Sub())
}

func (c *Checker) shard(id string) *shard {
	sh := c.shards[id]
	if sh == nil {
		sh = &shard{id: id, terms: map[int64]*term{}, seen: map[stream.Sequence]progress{}}
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
