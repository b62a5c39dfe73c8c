package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/stream"
)

// judge holds what an engine has against what is known of a life.
type judge struct {
	l     *life
	turns int
	seen  []int // by record: the turn in which it was read
}

// moment is the one after which the disk was cut.
type moment struct {
	cut  int
	when time.Time
	// everything says that nothing but the process died.
	everything bool
}

func newJudge(l *life) *judge { return &judge{l: l, seen: make([]int, len(l.records))} }

// verify reads everything.
func (j *judge) verify(e *Engine, at moment) error {
	l := j.l
	if d := e.Damage(); len(d) > 0 && !l.way.damages && !l.way.lies {
		return fmt.Errorf("an unfinished write was taken for damage: %v", d)
	}
	if err := j.verifyState(e, at); err != nil {
		return err
	}
	j.turns++
	v := verdict{judge: j, at: at}
	for _, s := range e.snapshot() {
		set := s.settings.Load()
		// What had left retention by then is gone, whatever the clock says now.
		now := max(time.Now().UnixMilli(), at.when.UnixMilli())
		v.cutoff = max(set.floor, now-set.retention.Milliseconds())
		if set.floor > 0 {
			// What left retention while that was being lengthened is gone, too.
			v.cutoff = max(v.cutoff, set.floor+longestControl.Milliseconds())
		}
		v.losses = s.Losses()
		for _, m := range s.topology.Load().all {
			if err := v.shard(s, m); err != nil {
				return fmt.Errorf("stream %s, %s: %w", s.name, m.id, err)
			}
		}
	}
	for _, id := range v.untold {
		if rec := &l.records[id]; rec.acked < v.lastBegun {
			return fmt.Errorf("record %d at %v was acknowledged, later ones are there, it is lost, and nobody is told", id, rec.seq)
		}
	}
	return nil
}

// longestControl is how long a call of the control plane takes on a [pacedDisk].
const longestControl = 60 * time.Millisecond

// verdict is one verification under way.
type verdict struct {
	*judge
	at        moment
	cutoff    int64 // records that arrived then or later are wanted
	losses    []Loss
	lastBegun int
	untold    []int32 // lost to a disk that lied, and not reported
}

func (v *verdict) shard(s *Stream, m member) error {
	l, key := v.l, shardKey{s.created, m.index}
	order := l.order[key]
	var last stream.Sequence
	place := int32(-1)
	_, err := readAll(s, m, func(r *stream.Record) error {
		id, err := l.identify(r.Data)
		if err != nil {
			return err
		}
		rec := &l.records[id]
		switch {
		case rec.begun > v.at.cut:
			return fmt.Errorf("record %d was put later", id)
		case rec.gone <= v.at.cut:
			return fmt.Errorf("record %d came back", id)
		case v.seen[id] == v.turns:
			return fmt.Errorf("record %d is there twice", id)
		case !last.Less(r.Sequence):
			return fmt.Errorf("%v comes after %v", r.Sequence, last)
		case rec.key.created != key.created, !rec.seq.IsZero() && (rec.seq != r.Sequence || rec.key != key):
			return fmt.Errorf("record %d was put at %v, and is at %v", id, rec.seq, r.Sequence)
		}
		v.seen[id], last = v.turns, r.Sequence
		v.lastBegun = max(v.lastBegun, rec.begun)
		if rec.place < 0 {
			return nil
		}
		if place >= 0 {
			for _, between := range order[place+1 : rec.place] {
				if b := &l.records[between]; b.gone > v.at.cut && b.since >= v.cutoff && !v.told(m, b) {
					return fmt.Errorf("record %d at %v is missing before record %d at %v", between, b.seq, id, rec.seq)
				}
			}
		}
		place = rec.place
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range order {
		rec := &l.records[id]
		if v.seen[id] == v.turns || rec.since < v.cutoff {
			continue
		}
		wanted := rec.due <= v.at.cut || v.at.everything && rec.acked <= v.at.cut
		switch {
		case rec.lost && !v.told(m, rec):
			return fmt.Errorf("record %d at %v was lost to damage, and nobody is told", id, rec.seq)
		case !wanted || rec.lost || l.way.lies && v.told(m, rec):
		case l.way.lies:
			v.untold = append(v.untold, id)
		default:
			return fmt.Errorf("record %d at %v was acknowledged, and is lost", id, rec.seq)
		}
	}
	return nil
}

// told reports whether a person was told of the loss of a record, now or earlier.
func (v *verdict) told(m member, rec *record) bool {
	for _, l := range v.losses {
		if l.Shard == m.id && !rec.seq.Less(l.First) && !l.Last.Less(rec.seq) {
			return true
		}
	}
	counter, _ := m.counterOf(rec.seq)
	return slices.ContainsFunc(m.accepted, func(a [2]uint64) bool { return a[0] <= counter && counter <= a[1] })
}

// verifyState holds streams and shards against what the control plane was told.
func (j *judge) verifyState(e *Engine, at moment) error {
	if j.l.unsureAt(at.cut) {
		return nil
	}
	now := max(time.Now().UnixMilli(), at.when.UnixMilli())
	have, allowed := stateOf(e), j.l.allowed(at.cut)
	for _, s := range allowed {
		if sameState(s.streams, have, now) {
			return nil
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "streams and shards are\n%s", describe(have))
	for _, s := range allowed {
		fmt.Fprintf(&b, "and were to be\n%s", describe(s.streams))
	}
	return fmt.Errorf("%s", &b)
}

// sameState compares all but what time alone has changed: closed shards leave.
func sameState(want, have []streamState, now int64) bool {
	return slices.EqualFunc(want, have, func(a, b streamState) bool {
		if a.name != b.name || a.created != b.created || !sameSettings(a.settings, b.settings) {
			return false
		}
		cutoff := max(a.settings.floor, now-a.settings.retention.Milliseconds())
		rest := b.members
		for _, m := range a.members {
			if len(rest) > 0 && sameMember(m, rest[0]) {
				rest = rest[1:]
			} else if m.closed == 0 || m.closed >= cutoff {
				return false
			}
		}
		return len(rest) == 0
	})
}

func sameMember(a, b member) bool {
	// Of what retention has dropped, nobody keeps that it was lost.
	_, trimmed := b.log.Counters()
	wanted := func(all [][2]uint64) [][2]uint64 {
		return slices.DeleteFunc(slices.Clone(all), func(r [2]uint64) bool { return r[1] <= trimmed })
	}
	return a.index == b.index && a.handle == b.handle && a.closed == b.closed && a.hash == b.hash &&
		slices.Equal(a.parents, b.parents) && slices.Equal(wanted(a.accepted), wanted(b.accepted))
}

func describe(streams []streamState) string {
	var b strings.Builder
	for _, s := range streams {
		fmt.Fprintf(&b, "%s %d %v floor %d %v\n", s.name, s.created, s.settings.retention, s.settings.floor, s.settings.tags)
		for _, m := range s.members {
			fmt.Fprintf(&b, "  %s handle %d of %v %v closed %d accepted %v\n", m.id, m.handle, m.parents, m.hash, m.closed, m.accepted)
		}
	}
	return b.String()
}

// goOn puts a few records more, whose numbers must be new.
func (j *judge) goOn(ctx context.Context, rng *rand.Rand, e *Engine, at moment) error {
	for _, s := range e.snapshot() {
		if s.name == "other" {
			continue
		}
		first := len(j.l.records)
		if err := j.l.put(ctx, rng, s, 3); err != nil {
			return fmt.Errorf("put after recovery: %w", err)
		}
		for id := first; id < len(j.l.records); id++ {
			rec := &j.l.records[id]
			order := j.l.order[rec.key]
			for i := len(order) - 1; i >= 0; i-- {
				if old := &j.l.records[order[i]]; old.begun <= at.cut {
					if !old.seq.Less(rec.seq) {
						return fmt.Errorf("%v was given to record %d, and %v to record %d before it", rec.seq, id, old.seq, order[i])
					}
					break
				}
			}
		}
	}
	return nil
}
