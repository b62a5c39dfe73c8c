package wal

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/millrace/millrace/stream"
)

// Shard is one shard's part of the log.
type Shard struct {
	handle uint64
	base   stream.Sequence

	// What follows belongs to the end of the log and is guarded by Log.mu.

	next    uint64        // counter of the next record
	tail    uint64        // last counter of the last block, for the chain
	arrival int64         // of the last record appended, Unix ms: arrivals never go back
	sealed  chan struct{} // not nil while appends are held back; closed when they may go on

	// mu guards what readers see.
	mu sync.Mutex
	// index holds the blocks that are durable and not dropped.
	index index
	// committed is the counter of the last record that readers may see,
	// newest its arrival.
	committed uint64
	newest    int64
	// trimmed is the counter of the last record that retention has dropped.
	trimmed uint64
	// gaps are the runs of counters that are lost to damage and not accepted as
	// lost, in order.
	gaps []Gap
	// unread are the blocks that the disk could not read when it was last asked.
	// Their readers try again and again: it may be able to some day.
	unread map[entry]Gap
	// ended says that nothing will follow committed; gone, that the shard was
	// deleted.
	ended, gone bool
	// wake is closed when any of the above changes; nil while nobody waits.
	wake chan struct{}
}

// ShardState is what is known of a shard apart from the log.
type ShardState struct {
	// Handle identifies the shard in the log, for ever.
	Handle uint64
	// Base is the sequence number of counter 0.
	Base stream.Sequence
	// Last is a counter up to which all the shard's records were durable once;
	// with Ended, the last one there will ever be.
	Last  uint64
	Ended bool
	// Trimmed is the counter of the last record that retention has dropped.
	Trimmed uint64
	// Arrival is the earliest one that its next records may have, Unix ms,
	// whatever the clock says.
	Arrival int64
	// Accepted are the losses that somebody has accepted.
	Accepted []Range
}

// Range is a run of counters, both ends included.
type Range struct{ First, Last uint64 }

// Gap is a run of counters of one shard whose records cannot be read.
type Gap struct {
	Range
	// File, Offset and Detail say what is damaged.
	File   string
	Offset int64
	Detail string
	// before is a time at which nothing of what is lost can have arrived yet,
	// Unix ms: the gap leaves with retention.
	before int64
	// damage is all that may have taken it: those files are kept as long as the
	// gap. Empty when nobody knows.
	damage []Damage
	// block is what was found damaged, if the index has it; else its count is 0.
	block entry
}

// Handle returns the number that identifies the shard in the log.
func (s *Shard) Handle() uint64 { return s.handle }

// Base returns the sequence number of counter 0.
func (s *Shard) Base() stream.Sequence { return s.base }

// Status is a moment in the life of a shard.
type Status struct {
	// Committed is the counter of the last record that readers see, Trimmed of
	// the last that retention has dropped; 0 for none.
	Committed, Trimmed uint64
	// Newest is the arrival of the committed record, Unix ms.
	Newest int64
	// Blocks counts the blocks that can be read.
	Blocks int
	// Gaps are the losses that nobody has accepted yet.
	Gaps []Gap
	// Unread are the blocks that the disk could not read when it was last asked.
	Unread []Gap
}

// Status returns how the shard is now.
func (s *Shard) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{s.committed, s.trimmed, s.newest, s.index.len(), slices.Clone(s.gaps), s.unreadLocked()}
}

// unreadLocked returns what could not be read, in order.
func (s *Shard) unreadLocked() []Gap {
	return slices.SortedFunc(maps.Values(s.unread), func(a, b Gap) int { return cmp.Compare(a.First, b.First) })
}

// Counters returns the counter of the last record that readers see, and of the
// last one that retention has dropped; 0 for none.
func (s *Shard) Counters() (committed, trimmed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed, s.trimmed
}

// publish lets readers see a block.
func (l *Log) publish(b *block) {
	s, e := b.shard, b.entry
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed, s.newest = e.last(), e.newest()
	if s.gone {
		l.release(e.pos)
	} else {
		s.index.append(e)
	}
	s.wakeLocked()
}

func (s *Shard) wakeLocked() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

func (s *Shard) waiterLocked() <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

// End says that no record will follow the last one. The shard must be sealed
// for good, and what it has durable.
func (l *Log) End(s *Shard) {
	s.mu.Lock()
	s.ended = true
	s.wakeLocked()
	s.mu.Unlock()
	l.Resume(s, false)
}

// Expire drops the blocks all of whose records arrived before a time.
func (l *Log) Expire(s *Shard, cutoff int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.expireLocked(s, cutoff)
}

func (l *Log) expireLocked(s *Shard, cutoff int64) {
	for !s.index.empty() && s.index.oldest().newest() < cutoff {
		e := s.index.oldest()
		s.trimmed = e.last()
		l.release(e.pos)
		s.index.dropOldest()
	}
	for len(s.gaps) > 0 && s.gaps[0].before < cutoff {
		s.trimmed = max(s.trimmed, s.gaps[0].Last)
		s.gaps = s.gaps[1:]
	}
	maps.DeleteFunc(s.unread, func(_ entry, g Gap) bool { return g.before < cutoff })
}

// release says that one block is no longer wanted.
func (l *Log) release(p Pos) {
	if seg := l.segs.get(p.gen()); seg != nil {
		seg.live.Add(-1)
	}
}

// Drop forgets everything of a deleted shard, and lets its readers know.
func (l *Log) Drop(s *Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	s.index.each(func(e *entry) { l.release(e.pos) })
	s.index, s.gaps, s.unread = index{}, nil, nil
	s.wakeLocked()
}

// Accept gives up what is damaged, as [Log.LookAgain] told it: readers go on
// behind it. It is given up even if somebody could read it since: the next opening
// knows no more than that it was accepted. A rewriting that is under way may have
// read it, too, and comes to nothing. Nobody may change the log's files meanwhile.
func (l *Log) Accept(s *Shard, gaps []Gap) {
	var lost []Range
	for _, g := range gaps {
		lost = append(lost, g.Range)
	}
	lost = Merge(lost)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = slices.DeleteFunc(s.gaps, func(g Gap) bool { return touches(lost, g.Range) })
	s.index.cut(lost, func(e *entry) {
		delete(s.unread, *e)
		l.release(e.pos)
	})
	l.accepts.Add(1)
	s.wakeLocked()
	signal(l.filled) // the rewriter may go on
}

// Merge returns the same counters in as few runs as can be, in order. It uses the
// memory of what it is given.
func Merge(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	merged := all[:0]
	for _, r := range all {
		if n := len(merged); n > 0 && r.First <= merged[n-1].Last+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// touches reports whether a range has a counter of the others, which are in order.
func touches(others []Range, r Range) bool {
	i := sort.Search(len(others), func(i int) bool { return others[i].Last >= r.First })
	return i < len(others) && others[i].First <= r.Last
}

// addGapLocked keeps the gaps in order and apart from one another. A gap begins
// right behind what is known to be before it: counters are left out where the
// log was opened, and whoever misses its blocks later cannot tell those from lost
// ones.
func (s *Shard) addGapLocked(g Gap) {
	for _, old := range s.gaps {
		if g.First >= old.First && g.Last <= old.Last {
			return
		}
	}
	g.First = s.beginLocked(g.First)
	s.gaps = append(s.gaps, g)
	slices.SortFunc(s.gaps, func(a, b Gap) int { return cmp.Compare(a.First, b.First) })
}

// beginLocked returns where a gap begins in which that counter is lost.
func (s *Shard) beginLocked(counter uint64) uint64 {
	before := max(s.trimmed, s.index.lastBefore(counter))
	for _, old := range s.gaps {
		if old.Last < counter {
			before = max(before, old.Last)
		}
	}
	return min(counter, before+1)
}

// damagedFiles returns the generations of the files in which records are lost, or
// could not be read, that nobody has given up yet.
func (l *Log) damagedFiles() map[uint64]bool {
	files := map[uint64]bool{}
	for _, s := range l.allShards() {
		s.mu.Lock()
		for _, g := range s.gaps {
			for _, d := range g.damage {
				files[d.gen] = true
			}
		}
		for e := range s.unread {
			files[e.pos.gen()] = true
		}
		s.mu.Unlock()
	}
	return files
}

// damaged takes note that a block cannot be read, and returns what its readers
// get; nil when the block is not wanted any more.
func (l *Log) damaged(s *Shard, e entry, detail string) error {
	g := l.gapOf(e, detail)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.index.has(e) {
		return nil
	}
	delete(s.unread, e)
	s.addGapLocked(g)
	return &Lost{g}
}

// gapOf says that a block cannot be read.
func (l *Log) gapOf(e entry, detail string) Gap {
	return Gap{
		Range: Range{e.first, e.last()}, before: e.newest() + 1,
		File: l.opt.FS.Path(segmentName(e.pos.gen())), Offset: e.pos.off(), Detail: detail,
		damage: []Damage{{gen: e.pos.gen()}}, block: e,
	}
}

// Seal holds back appends to the shard from now on, until Resume.
func (l *Log) Seal(s *Shard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.sealed == nil {
		s.sealed = make(chan struct{})
	}
}

// Resume lets those who were held back try again: they find the shard open
// again, or its children in its place.
func (l *Log) Resume(s *Shard, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := s.sealed
	if open {
		s.sealed = nil
	} else {
		s.sealed = closedChan
	}
	if held != nil && held != closedChan {
		close(held)
	}
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
