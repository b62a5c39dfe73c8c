package engine

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"strconv"

	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// shard is what does not change in the life of a shard.
type shard struct {
	index   uint64 // in its stream, never used again
	id      string
	handle  uint64   // in the log, never used again
	parents []uint64 // indexes
	hash    stream.HashRange
	opened  int64 // Unix ms
	log     *wal.Shard
	in, out *limiter // nil without limits
}

// member is a shard as one topology sees it.
type member struct {
	*shard
	closed   int64 // Unix ms; 0 while open
	accepted [][2]uint64
}

// topology is the shards of a stream at some moment. It is never changed:
// who reshards puts a new one in its place.
type topology struct {
	next uint64   // index of the next shard
	all  []member // by index
	open []*shard // by hash range, which cover the hash space
	// starts are the beginnings of the open shards' ranges, side by side for the
	// processor's caches.
	starts []stream.Hash
}

func newTopology(next uint64, all []member) *topology {
	t := &topology{next: next, all: all}
	for _, m := range all {
		if m.closed == 0 {
			t.open = append(t.open, m.shard)
		}
	}
	slices.SortFunc(t.open, func(a, b *shard) int { return a.hash.Start.Compare(b.hash.Start) })
	for _, sh := range t.open {
		t.starts = append(t.starts, sh.hash.Start)
	}
	return t
}

// at returns the open shard for a hash. It looks first where the hash would fall
// if all ranges were equal, as most often they are.
func (t *topology) at(h stream.Hash) int {
	n := len(t.starts)
	guess, _ := bits.Mul64(h.Hi, uint64(n))
	i := int(guess)
	if t.starts[i].Compare(h) <= 0 && (i+1 == n || t.starts[i+1].Compare(h) > 0) {
		return i
	}
	return sort.Search(n, func(i int) bool { return t.starts[i].Compare(h) > 0 }) - 1
}

func (t *topology) find(index uint64) (member, bool) {
	i, ok := slices.BinarySearchFunc(t.all, index, func(m member, index uint64) int { return cmp.Compare(m.index, index) })
	if !ok {
		return member{}, false
	}
	return t.all[i], true
}

// byID finds a shard by its full ID.
func (t *topology) byID(id string) (member, bool) {
	index, ok := parseShardID(id)
	if !ok {
		return member{}, false
	}
	return t.find(index)
}

// children returns the shards that name one as their parent.
func (t *topology) children(of uint64) []stream.Shard {
	var children []stream.Shard
	for _, m := range t.all {
		if slices.Contains(m.parents, of) {
			children = append(children, m.model())
		}
	}
	return children
}

func (m member) model() stream.Shard {
	s := stream.Shard{ID: m.id, Hash: m.hash, Closed: m.closed != 0}
	for _, p := range m.parents {
		s.Parents = append(s.Parents, shardID(p))
	}
	return s
}

const shardPrefix = "shardId-"

func shardID(index uint64) string { return fmt.Sprintf("%s%012d", shardPrefix, index) }

func parseShardID(id string) (index uint64, ok bool) {
	if len(id) != len(shardPrefix)+12 || id[:len(shardPrefix)] != shardPrefix {
		return 0, false
	}
	index, err := strconv.ParseUint(id[len(shardPrefix):], 10, 64)
	return index, err == nil
}

// Sequence numbers have the 56 decimal digits of Kinesis', and 49 before all:
//
//	49 ccccccccccccc iiiiiiiiiiii 0000000000 nnnnnnnnnnnnnnnnnnn
//	   stream made,  shard index             counter in the shard
//	   Unix ms
//
// so that they grow inside a shard, from parents to children, and from one
// incarnation of a stream to the next.
const (
	digitsCreated = 13
	digitsIndex   = 12
	digitsAll     = 56
	counters      = 10_000_000_000_000_000_000 // 10¹⁹
)

// sequenceBase returns the sequence number of counter 0.
func sequenceBase(created int64, index uint64) stream.Sequence {
	s, err := stream.ParseSequence(fmt.Sprintf("49%013d%012d%010d%019d", created, index, 0, 0))
	if err != nil {
		panic(err) // digits only, and few enough
	}
	return s
}

// counterOf returns a sequence number's counter in this shard.
func (sh *shard) counterOf(s stream.Sequence) (uint64, bool) {
	n, ok := s.Since(sh.log.Base())
	return n, ok && n < counters
}

// ours reports whether a sequence number has the form of this engine's.
func ours(s stream.Sequence) bool {
	var buf [64]byte
	d := s.AppendDecimal(buf[:0])
	return len(d) == digitsAll && string(d[:2]) == "49"
}

// before reports whether a sequence number is no shard's and smaller than all
// of one: such a position, 0 perhaps, is the shard's beginning.
func before(s, base stream.Sequence) bool { return !ours(s) && s.Less(base) }

// describeOwner tells which shard of which incarnation gave a sequence number.
func describeOwner(s stream.Sequence) string {
	if !ours(s) {
		return "it has not the form of this engine's sequence numbers"
	}
	d := s.AppendDecimal(nil)
	created, _ := strconv.ParseInt(string(d[2:2+digitsCreated]), 10, 64)
	index, _ := strconv.ParseUint(string(d[2+digitsCreated:2+digitsCreated+digitsIndex]), 10, 64)
	return fmt.Sprintf("it is of %s of the stream that was created at Unix ms %d", shardID(index), created)
}
