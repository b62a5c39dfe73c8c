package lease

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// Synced is what has to change so that the rows of a stream agree with its
// shards.
type Synced struct {
	// Create are rows to create, one generation after the other, so that no
	// row is ever there before those of its parents: whoever sees a child may
	// take a missing parent for a retired one. Their Counter is zero; the caller
	// sets it to what is true now. Those at [stream.Latest] are to be pinned next.
	Create [][]Lease
	// Retire are rows that have done their duty: finished, with all children
	// begun; or of a former incarnation of the stream. And rows that should not
	// be there: never held, and where such a row begins, though all children have
	// begun, so that the shard was finished and retired before. A leader that was stopped for an hour between
	// looking and creating leaves such a row.
	Retire []Lease
	// Pin are rows that say [stream.Latest] and that nobody has held here: the first
	// contact has made them, another program, or a person. Where that is now is where
	// they begin, and has to be written before anybody is given them: whoever crashes
	// before a first checkpoint would leave a gap.
	Pin []Lease
	// Gone are unfinished rows whose shard has left the stream: retention was
	// faster than processing, or the listing is older than the row. Whoever has
	// one may still be busy with what was read.
	Gone []Lease
	// Holes are parts of the hash space for which there is no unfinished row.
	Holes []stream.HashRange
}

// Key returns the key of a shard's row. It names the incarnation of the
// stream, so that shards of several streams, and of a stream that was deleted
// and created again, never share a row.
func Key(streamID, shard string) string { return streamID + "/" + shard }

// Sync compares a stream's shards, completely listed, with its rows; rows of
// other streams are left alone. Shards of a part of the hash space that has no
// row yet begin at initial: that is all of it at the first contact, and the rest
// of it when the first contact broke off halfway. With [stream.Latest] these are
// the open ones only. Later shards begin at [stream.TrimHorizon]: nothing of them
// may be missed. A shard whose descendant has a row gets none: it was retired, or
// lies before the beginning.
func Sync(id stream.Identity, shards []stream.Shard, leases []Lease, initial stream.Position) Synced {
	s := syncer{id: id.ID(), shards: make(map[string]*stream.Shard, len(shards)), rows: map[string]*Lease{}}
	for i := range shards {
		s.shards[shards[i].ID] = &shards[i]
	}
	var done Synced
	if len(shards) == 0 {
		return done // no stream is without shards: this is no listing to act on
	}
	for i := range leases {
		l := &leases[i]
		switch {
		case l.StreamID == s.id:
			s.rows[l.Shard] = l
		case l.Stream == id.Name && createdBefore(l.StreamID, id):
			done.Retire = append(done.Retire, *l)
		}
	}
	done.Create = s.create(shards, initial)
	done.Retire = append(done.Retire, s.retire()...)
	done.Pin = s.pin(done.Retire)
	done.Gone = s.gone()
	done.Holes = s.holes(done.Create)
	byKey := func(a, b Lease) int { return cmp.Compare(a.Key, b.Key) }
	slices.SortFunc(done.Retire, byKey)
	slices.SortFunc(done.Pin, byKey)
	slices.SortFunc(done.Gone, byKey)
	return done
}

// createdBefore reports whether a row belongs to an incarnation that was
// created before the given one. Two leaders may have asked at different times
// which incarnation is the present one, and the one that is behind must not
// retire the rows of the other.
func createdBefore(streamID string, id stream.Identity) bool {
	stamp, isOurs := strings.CutPrefix(streamID, id.Name+":")
	if !isOurs {
		return false
	}
	ms, err := strconv.ParseInt(stamp, 10, 64)
	return err == nil && ms < id.Created.UnixMilli()
}

type syncer struct {
	id     string
	shards map[string]*stream.Shard
	rows   map[string]*Lease // of this incarnation, by shard
}

func (s *syncer) create(shards []stream.Shard, initial stream.Position) [][]Lease {
	behind := s.ancestors()
	missing := map[string]*stream.Shard{}
	start := map[string]stream.Position{}
	for i := range shards {
		sh := &shards[i]
		if s.rows[sh.ID] != nil || behind[sh.ID] {
			continue
		}
		start[sh.ID] = stream.TrimHorizon
		if s.firstContact(sh) {
			start[sh.ID] = initial
			if initial == stream.Latest && sh.Closed {
				continue
			}
		}
		missing[sh.ID] = sh
	}
	var generations [][]Lease
	for len(missing) > 0 {
		var generation []Lease
		for _, sh := range missing {
			if !slices.ContainsFunc(sh.Parents, func(p string) bool { return missing[p] != nil }) {
				generation = append(generation, s.row(sh, start[sh.ID]))
			}
		}
		if generation == nil {
			break // a circle among the parents, which no stream has
		}
		for _, l := range generation {
			delete(missing, l.Shard)
		}
		slices.SortFunc(generation, func(a, b Lease) int { return cmp.Compare(a.Key, b.Key) })
		generations = append(generations, generation)
	}
	return generations
}

// firstContact reports whether nobody has had anything of the shard's part of
// the hash space: since the first contact there has been a row for every part of
// it, since rows go only when those of their children are there.
func (s *syncer) firstContact(sh *stream.Shard) bool {
	for _, l := range s.rows {
		if l.Hash.Contains(sh.Hash.Start) || sh.Hash.Contains(l.Hash.Start) {
			return false
		}
	}
	return true
}

func (s *syncer) row(sh *stream.Shard, start stream.Position) Lease {
	name := s.id[:strings.LastIndexByte(s.id, ':')]
	return NewLease(name, s.id, *sh, start)
}

// NewLease returns the row of a shard that nobody has had yet.
func NewLease(name, streamID string, sh stream.Shard, start stream.Position) Lease {
	return Lease{
		Key: Key(streamID, sh.ID), Stream: name, StreamID: streamID, Shard: sh.ID,
		Checkpoint: checkpoint.State{Position: start},
		Parents:    slices.Clone(sh.Parents),
		Hash:       sh.Hash,
	}
}

// ancestors returns the shards that lie before one that has a row.
func (s *syncer) ancestors() map[string]bool {
	found := map[string]bool{}
	var climb func(parents []string)
	climb = func(parents []string) {
		for _, id := range parents {
			if found[id] {
				continue
			}
			found[id] = true
			if sh := s.shards[id]; sh != nil {
				climb(sh.Parents)
			}
			if l := s.rows[id]; l != nil {
				climb(l.Parents)
			}
		}
	}
	for _, l := range s.rows {
		climb(l.Parents)
	}
	return found
}

// children returns the known children of a row: those that it names, those
// that the stream lists, and those with a row.
func (s *syncer) children() map[string][]string {
	of := map[string][]string{}
	add := func(parent, child string) {
		if !slices.Contains(of[parent], child) {
			of[parent] = append(of[parent], child)
		}
	}
	for _, l := range s.rows {
		for _, c := range l.Children {
			add(l.Shard, c)
		}
		for _, p := range l.Parents {
			add(p, l.Shard)
		}
	}
	for _, sh := range s.shards {
		for _, p := range sh.Parents {
			add(p, sh.ID)
		}
	}
	return of
}

// retire returns the finished rows whose children have all begun. Until then a
// row is needed: it says to its children that they may begin. Parents go before
// their children: who finds the finished row of a parent knows that those of its
// children were never retired. Rows that came too late go at once, all of them:
// without the row of its parent one would look as if it might begin.
func (s *syncer) retire() []Lease {
	past := passing{syncer: s, children: s.children(), known: map[string]bool{}}
	var done []Lease
	for _, l := range s.rows {
		passed := past.over(l.Shard)
		if l.Finished() {
			_, listed := s.shards[l.Shard]
			passed = (passed || len(past.children[l.Shard]) == 0 && !listed) &&
				!slices.ContainsFunc(l.Parents, func(p string) bool { return s.rows[p] != nil })
		}
		// A row of another program, too, has no term: what shows that somebody has
		// worked on it is its checkpoint.
		if passed && (l.Finished() || l.Term == 0 && !l.Begun()) {
			done = append(done, *l)
		}
	}
	return done
}

// passing finds the shards that are over for good, since those after them have
// begun.
type passing struct {
	*syncer
	children map[string][]string
	known    map[string]bool
}

// over reports whether all children of a shard have begun, or are over
// themselves: they were retired, and their rows are gone, or were never held and
// came too late.
func (p *passing) over(shard string) bool {
	over, known := p.known[shard]
	if known {
		return over
	}
	p.known[shard] = false // for a circle, which no stream has
	over = len(p.children[shard]) > 0
	for _, c := range p.children[shard] {
		row := p.rows[c]
		over = over && (row != nil && row.Begun() || (row == nil || row.Term == 0) && p.over(c))
	}
	p.known[shard] = over
	return over
}

// pin returns the rows that have yet to be told where the latest record is, but for
// those that are retired.
func (s *syncer) pin(retired []Lease) []Lease {
	var moving []Lease
	for _, l := range s.rows {
		if unpinned(*l) && s.shards[l.Shard] != nil &&
			!slices.ContainsFunc(retired, func(r Lease) bool { return r.Key == l.Key }) {
			moving = append(moving, *l)
		}
	}
	return moving
}

// gone returns the unfinished rows whose shard is no longer listed.
func (s *syncer) gone() []Lease {
	var gone []Lease
	for _, l := range s.rows {
		if !l.Finished() && s.shards[l.Shard] == nil {
			gone = append(gone, *l)
		}
	}
	return gone
}

// holes returns which parts of the hash space nobody will process, when the
// given rows are created.
func (s *syncer) holes(created [][]Lease) []stream.HashRange {
	var covered []stream.HashRange
	for _, l := range s.rows {
		if !l.Finished() {
			covered = append(covered, l.Hash)
		}
	}
	for _, generation := range created {
		for _, l := range generation {
			covered = append(covered, l.Hash)
		}
	}
	return stream.Holes(covered)
}
