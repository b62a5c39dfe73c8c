package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

// life is one run of an engine on a disk that records every change, and what
// its users know of it for certain, each fact with the number of changes that
// the disk had seen by then.
//
//	writers ─┐                              ┌─► records: begun, acknowledged
//	reader  ─┼─► Engine ─► pacedDisk ─► Crash ─► changes
//	control ─┘                              └─► states: asked for, answered
//
// It lives in a bubble, and is nearly the same for the same seed: see
// [TestASeedGivesTheSameLifeAgain].
type life struct {
	way  *way
	cfg  Config
	seed uint64
	disk *vfs.Crash
	// from is the number of changes before this life, when it goes on with the
	// disk of another; killed, that it did not end by itself.
	from   int
	killed atomic.Bool

	mu      sync.Mutex
	records []record
	states  []state
	// unsure are changes, each with the one that ends it, between which it is
	// unknown what the manifest says: somebody was told so.
	unsure [][2]int
	order  map[shardKey][]int32 // records of a shard by sequence number, where it is known
}

// record is one that was handed to Put. The index in life.records is in its data.
type record struct {
	key   shardKey // the shard is known when seq is
	seq   stream.Sequence
	size  int   // of the data
	since int64 // it arrived then or later, Unix ms
	begun int   // the number of changes when it was handed over
	acked int   // when somebody knew that it is stored; never
	due   int   // when it had to be on the disk, whatever the mode; never
	gone  int   // when an opened engine did not have it: it must not come back; never
	lost  bool  // to damage: must be told of, or accepted
	place int32 // in order; -1
}

const never = math.MaxInt

type shardKey struct {
	created int64 // of the stream
	index   uint64
}

// state is what the control plane was asked for: begun before change number
// begun, answered before change number done.
type state struct {
	begun, done int
	streams     []streamState
}

// streamState is what the manifest keeps of a stream.
type streamState struct {
	name     string
	created  int64
	settings settings
	members  []member
}

func stateOf(e *Engine) []streamState {
	var all []streamState
	for _, s := range e.snapshot() {
		all = append(all, streamState{s.name, s.created, *s.settings.Load(), s.topology.Load().all})
	}
	slices.SortFunc(all, func(a, b streamState) int { return cmp.Compare(a.created, b.created) })
	return all
}

// filler is what records are made of, behind their number.
var filler = func() []byte {
	b := make([]byte, 96<<10)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

func dataOf(id, size int) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(id)), filler[id%4096:][:size-8]...)
}

// identify returns the index of a record, from its data.
func (l *life) identify(data []byte) (int, error) {
	if len(data) < 8 {
		return 0, fmt.Errorf("a record of %d bytes was never put", len(data))
	}
	id := binary.LittleEndian.Uint64(data)
	if id >= uint64(len(l.records)) || l.records[id].size != len(data) || !bytes.Equal(data[8:], filler[id%4096:][:len(data)-8]) {
		return 0, fmt.Errorf("a record of %d bytes that begins with %x was never put", len(data), data[:8])
	}
	return int(id), nil
}

// someSize is small, and now and then large.
func someSize(rng *rand.Rand) int {
	switch rng.IntN(40) {
	case 0:
		return 20_000
	case 1, 2:
		return 3000
	}
	return 8 + rng.IntN(60)
}

// put stores n records and notes what is known of them.
func (l *life) put(ctx context.Context, rng *rand.Rand, s *Stream, n int) error {
	entries := make([]stream.Entry, n)
	l.mu.Lock()
	first := len(l.records)
	begun := l.disk.Ops()
	for i := range entries {
		size := someSize(rng)
		l.records = append(l.records, record{
			key: shardKey{created: s.created}, size: size, since: time.Now().UnixMilli(),
			begun: begun, acked: never, due: never, gone: never, place: -1,
		})
		entries[i] = stream.Entry{PartitionKey: fmt.Sprint(rng.IntN(50)), Data: dataOf(first+i, size)}
		if rng.IntN(8) == 0 {
			entries[i].HasHashKey, entries[i].HashKey = true, stream.Hash{Hi: rng.Uint64(), Lo: rng.Uint64()}
		}
	}
	l.mu.Unlock()
	results, err := s.Put(ctx, entries...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.disk.Ops()
	for i, r := range results {
		if r.Err != nil {
			return r.Err
		}
		index, _ := parseShardID(r.Shard)
		l.know(first+i, shardKey{s.created, index}, r.Sequence, at)
	}
	return nil
}

// know notes that somebody knows of a record. The caller has the lock.
func (l *life) know(id int, key shardKey, seq stream.Sequence, at int) {
	rec := &l.records[id]
	rec.key, rec.seq, rec.acked = key, seq, min(rec.acked, at)
	if l.cfg.Durability == Durable {
		rec.due = min(rec.due, at)
	}
}

// look reads what came since it looked last, and notes it.
func (l *life) look(s *Stream, from map[shardKey]stream.Position) error {
	for _, m := range s.topology.Load().all {
		key := shardKey{s.created, m.index}
		if _, ok := from[key]; !ok {
			from[key] = stream.TrimHorizon
		}
		records, err := readNow(s, m.id, from[key])
		var end *stream.ShardEndError
		var trimmed *stream.TrimmedError
		var corrupt *stream.CorruptError
		switch {
		case err == nil, errors.As(err, &end), errors.Is(err, stream.ErrStreamNotFound), errors.Is(err, stream.ErrShardNotFound):
		case errors.As(err, &trimmed):
			from[key] = stream.TrimHorizon
		case errors.As(err, &corrupt) && l.way.damages:
		default:
			return fmt.Errorf("read %s: %w", m.id, err)
		}
		l.mu.Lock()
		at := l.disk.Ops()
		for _, r := range records {
			id, err := l.identify(r.Data)
			if err != nil {
				l.mu.Unlock()
				return err
			}
			l.know(id, key, r.Sequence, at)
			from[key] = stream.After(r.Sequence)
		}
		l.mu.Unlock()
	}
	return nil
}

// control does one call of the control plane and notes what came of it.
func (l *life) control(e *Engine, f func() error) error {
	begun := l.disk.Ops()
	err := f()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && e.Err() != nil {
		l.unsure = append(l.unsure, [2]int{begun, never})
	}
	l.states = append(l.states, state{begun, l.disk.Ops(), stateOf(e)})
	return err
}

// live runs the life to its end.
func (l *life) live(t *testing.T) {
	rng := rand.New(rand.NewPCG(l.seed, 1))
	if l.way.fault != nil {
		l.disk.Fail(l.way.fault(rand.New(rand.NewPCG(l.seed, 400))))
	}
	cfg := l.cfg
	cfg.fs = pacedDisk{l.disk, l.seed}
	e, err := Open("", cfg)
	if err != nil {
		l.tolerate(t, fmt.Errorf("open: %w", err))
		return
	}
	l.adopt(t, e)
	var all sync.WaitGroup
	for _, name := range []string{"main", "brief"} {
		l.tolerate(t, l.control(e, func() error {
			cfg := StreamConfig{Shards: 2, Retention: l.way.retention}
			if name == "brief" {
				cfg.Retention = briefRetention
			}
			_, err := e.EnsureStream(t.Context(), name, cfg)
			return err
		}))
	}
	// Damage of what nothing proves to have been durable is a torn end.
	killed := !l.way.damages && rng.IntN(2) == 0
	for w := range 4 {
		rng := rand.New(rand.NewPCG(l.seed, uint64(100+w)))
		all.Go(func() { l.write(t, rng, e) })
	}
	all.Go(func() { l.read(t, rand.New(rand.NewPCG(l.seed, 200)), e) })
	all.Go(func() {
		for range l.way.controls {
			nap(rng, 30*time.Millisecond)
			l.tolerate(t, l.control(e, func() error { return l.randomControl(t.Context(), rng, e) }))
		}
	})
	if killed {
		rng := rand.New(rand.NewPCG(l.seed, 300))
		all.Go(func() {
			nap(rng, 200*time.Millisecond)
			l.killed.Store(true)
			l.disk.Fail(func(vfs.Op) error { return vfs.ErrKilled })
		})
	}
	all.Wait()
	if l.killed.Load() {
		kill(e, l.disk)
		return
	}
	err = e.Close()
	l.tolerate(t, err)
	if err == nil {
		for i := range l.records {
			if rec := &l.records[i]; rec.acked < never {
				rec.due = min(rec.due, l.disk.Ops())
			}
		}
	}
}

const briefRetention = 200 * time.Millisecond

// nap sleeps, in virtual time, for a time that nobody else chooses.
func nap(rng *rand.Rand, about time.Duration) {
	time.Sleep(1 + time.Duration(rng.Int64N(int64(2*about))))
}

// tolerate complains about an error that the disk does not explain.
func (l *life) tolerate(t *testing.T, err error) {
	t.Helper()
	if err != nil && l.way.fault == nil && !l.killed.Load() {
		t.Errorf("life %d: %v", l.seed, err)
	}
}

func (l *life) write(t *testing.T, rng *rand.Rand, e *Engine) {
	for i := range l.way.puts {
		if i == l.way.puts/2 && l.seed%3 == 0 {
			time.Sleep(1200 * time.Millisecond) // long enough for the log to come to rest
		}
		nap(rng, 5*time.Millisecond)
		s, err := e.Stream([]string{"main", "main", "main", "brief", "other"}[rng.IntN(5)])
		if err != nil {
			continue
		}
		err = l.put(t.Context(), rng, s, 1+rng.IntN(4)*rng.IntN(4))
		if !errors.Is(err, stream.ErrStreamNotFound) {
			l.tolerate(t, err)
		}
	}
}

func (l *life) read(t *testing.T, rng *rand.Rand, e *Engine) {
	from := map[shardKey]stream.Position{}
	for range l.way.puts {
		nap(rng, 6*time.Millisecond)
		for _, name := range e.Streams() {
			if s, err := e.Stream(name); err == nil {
				l.tolerate(t, l.look(s, from))
			}
		}
	}
}

func (l *life) randomControl(ctx context.Context, rng *rand.Rand, e *Engine) error {
	s, err := e.Stream("main")
	if err != nil {
		return err
	}
	open := s.topology.Load().open
	switch rng.IntN(7) {
	case 0:
		sh := open[rng.IntN(len(open))]
		return s.Split(ctx, sh.id, sh.hash.Middle())
	case 1:
		if len(open) > 1 {
			k := rng.IntN(len(open) - 1)
			return s.Merge(ctx, open[k].id, open[k+1].id)
		}
		return s.UpdateShardCount(ctx, 3)
	case 2:
		return s.UpdateShardCount(ctx, 1+rng.IntN(4))
	case 3:
		return s.Tag(ctx, map[string]string{"turn": fmt.Sprint(rng.IntN(100))})
	case 4, 5:
		if _, err := e.Stream("other"); err == nil {
			return e.DeleteStream(ctx, "other")
		}
		_, err := e.CreateStream(ctx, "other", StreamConfig{Retention: l.way.retention})
		return err
	default:
		if l.way.damages {
			return l.acceptSomething(ctx, e)
		}
		longer := time.Duration(rng.Int64N(int64(l.way.retention))).Truncate(time.Millisecond)
		return s.SetRetention(ctx, l.way.retention+longer)
	}
}

// acceptSomething accepts the first loss there is.
func (l *life) acceptSomething(ctx context.Context, e *Engine) error {
	for _, name := range e.Streams() {
		s, err := e.Stream(name)
		if err != nil {
			continue
		}
		for _, loss := range s.Losses() {
			_, err := s.AcceptLoss(ctx, loss.Shard)
			return err
		}
	}
	return nil
}

// adopt takes note of what an engine has when it is opened: from now on
// everybody may have seen it, and what it has not must not come back.
func (l *life) adopt(t testing.TB, e *Engine) {
	at := l.disk.Ops()
	there := make([]bool, len(l.records))
	cutoffs := map[int64]int64{}
	for _, s := range e.snapshot() {
		cutoffs[s.created] = s.cutoff()
		for _, m := range s.topology.Load().all {
			_, err := readAll(s, m, func(r *stream.Record) error {
				id, err := l.identify(r.Data)
				if err != nil {
					return err
				}
				there[id] = true
				l.know(id, shardKey{s.created, m.index}, r.Sequence, at)
				l.records[id].due = min(l.records[id].due, at)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	for id := range l.records {
		rec := &l.records[id]
		cutoff, exists := cutoffs[rec.key.created]
		if there[id] {
			continue
		}
		// Or expired by now: then it may still be wanted at an earlier moment.
		rec.lost = l.way.damages && exists && rec.due < at
		if exists && rec.since < cutoff {
			continue
		}
		rec.gone, rec.acked, rec.due = min(rec.gone, at), never, never
	}
	for i := range l.states {
		l.states[i].done = min(l.states[i].done, at) // or it never will be
	}
	for i := range l.unsure {
		l.unsure[i][1] = min(l.unsure[i][1], at)
	}
	l.killed.Store(false)
	l.states = append(l.states, state{at, at, stateOf(e)})
}

// readAll gives all records of a shard to f, goes on behind what is damaged, and
// reports how often it had to.
func readAll(s *Stream, m member, f func(*stream.Record) error) (damages int, err error) {
	if m.closed != 0 && m.closed < s.cutoff() {
		return 0, nil // over
	}
	for from := stream.TrimHorizon; ; damages++ {
		records, err := readNow(s, m.id, from)
		for i := range records {
			if err := f(&records[i]); err != nil {
				return damages, err
			}
			from = stream.After(records[i].Sequence)
		}
		var end *stream.ShardEndError
		var corrupt *stream.CorruptError
		switch {
		case errors.As(err, &corrupt):
			i := slices.IndexFunc(s.Losses(), func(l Loss) bool {
				seq, _, _ := from.Sequence()
				return l.Shard == m.id && (from == stream.TrimHorizon || seq.Less(l.Last))
			})
			if i < 0 {
				return damages, fmt.Errorf("%v, and no loss is listed", corrupt)
			}
			from = stream.After(s.Losses()[i].Last)
		case err == nil, errors.As(err, &end):
			return damages, nil
		default:
			return damages, fmt.Errorf("read %s: %w", m.id, err)
		}
	}
}

// sortRecords finds the order of what is known.
func (l *life) sortRecords() {
	l.order = map[shardKey][]int32{}
	for id := range l.records {
		if rec := &l.records[id]; !rec.seq.IsZero() {
			l.order[rec.key] = append(l.order[rec.key], int32(id))
		}
	}
	for _, ids := range l.order {
		slices.SortFunc(ids, func(a, b int32) int { return l.records[a].seq.Compare(l.records[b].seq) })
		for place, id := range ids {
			l.records[id].place = int32(place)
		}
	}
}

// after returns the beginning of another life on what a cut has left of this
// one: with what was known by then.
func (l *life) after(disk *vfs.Crash, cut int, everything bool) *life {
	next := &life{way: l.way, cfg: l.cfg, seed: l.seed, disk: disk, records: slices.Clone(l.records)}
	rebase := func(at *int) {
		if *at <= cut {
			*at = 0
		} else {
			*at = never
		}
	}
	for i := range next.records {
		rec := &next.records[i]
		if everything {
			rec.due = min(rec.due, rec.acked)
		}
		rebase(&rec.begun)
		rebase(&rec.acked)
		rebase(&rec.due)
		rebase(&rec.gone)
		if rec.begun == never {
			rec.seq = stream.Sequence{} // nobody has handed it over
		}
	}
	for _, s := range l.allowed(cut) {
		rebase(&s.begun)
		rebase(&s.done)
		next.states = append(next.states, s)
	}
	if l.unsureAt(cut) {
		next.unsure = [][2]int{{0, never}}
	}
	next.sortRecords()
	return next
}

func (l *life) unsureAt(cut int) bool {
	return slices.ContainsFunc(l.unsure, func(u [2]int) bool { return u[0] <= cut && cut < u[1] })
}

// allowed returns the state that was answered last, and the one that was asked
// for since, if there is one.
func (l *life) allowed(cut int) []state {
	var all []state
	for _, s := range l.states {
		switch {
		case s.done <= cut:
			all = append(all[:0], s)
		case s.begun <= cut:
			return append(all, s)
		}
	}
	return all
}

func sameSettings(a, b settings) bool {
	return a.retention == b.retention && a.maxRecord == b.maxRecord && a.limits == b.limits && maps.Equal(a.tags, b.tags)
}
