package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/millrace/millrace/engine/internal/wal"
	"github.com/millrace/millrace/stream"
)

// put is the working memory of one call of Put.
type put struct {
	todo []int32  // entries still to be stored
	keys []uint64 // place of the shard in the topology << 32 | entry
	list []int32  // entries by shard
	runs []wal.Run
	held []int32 // entries whose shard is being resharded
}

var puts = sync.Pool{New: func() any { return new(put) }}

// Put stores the entries, as durably as [Config.Durability] says, and returns
// one result for each. A bad entry ([*InvalidError]) or one beyond the limits
// of its shard ([stream.ErrThrottled]) has the error in its result and hinders
// no other. The call as a whole fails when the engine is read-only
// ([stream.ErrReadOnly]) or closed, the stream is deleted, or ctx is done; it is
// open then which of the entries are stored.
func (s *Stream) Put(ctx context.Context, entries ...stream.Entry) ([]stream.PutResult, error) {
	p := puts.Get().(*put)
	defer func() {
		clear(p.runs[:cap(p.runs)])
		puts.Put(p)
	}()
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("put: %w", err)
	}
	results := make([]stream.PutResult, len(entries))
	most := s.MaxRecordBytes()
	p.todo = p.todo[:0]
	for i := range entries {
		if err := checkEntry(&entries[i], most); err != nil {
			results[i].Err = err
		} else {
			p.todo = append(p.todo, int32(i))
		}
	}
	var last wal.Commit
	stored := false
	for first := true; len(p.todo) > 0; first = false {
		if err := s.usable(ctx); err != nil {
			return nil, fmt.Errorf("put: %w", err)
		}
		t := s.topology.Load()
		p.route(t, entries)
		if first {
			p.throttle(t, entries, results)
		}
		var wait <-chan struct{}
		p.held = p.held[:0]
		for next := 0; next < len(p.keys); {
			next = p.piece(t, entries, next, s.e.log.MaxAppend())
			c, err := s.e.log.Append(ctx, entries, p.runs)
			if err != nil {
				return nil, fmt.Errorf("put into stream %s: %w", s.name, err)
			}
			if held := p.settle(t, results); held != nil {
				wait = held
			}
			last, stored = c, true
		}
		if wait != nil {
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, fmt.Errorf("put into stream %s: %w", s.name, context.Cause(ctx))
			}
		}
		slices.Sort(p.held)
		p.todo, p.held = p.held, p.todo
	}
	if stored {
		if err := s.e.log.Wait(ctx, last); err != nil {
			return nil, fmt.Errorf("put into stream %s: %w", s.name, err)
		}
	}
	return results, nil
}

// checkEntry refuses what no stream takes.
func checkEntry(e *stream.Entry, most int) error {
	if n := len(e.PartitionKey); n == 0 && !e.HasHashKey {
		return invalid("PartitionKey", "", "use 1 to 256 characters")
	} else if n > 256 && utf8.RuneCountInString(e.PartitionKey) > 256 {
		return invalid("PartitionKey", clip(e.PartitionKey), fmt.Sprintf("it has %d characters, use 1 to 256", utf8.RuneCountInString(e.PartitionKey)))
	}
	if e.Size() > most {
		return invalid("record size", fmt.Sprintf("%d bytes (data %d, partition key %d)", e.Size(), len(e.Data), len(e.PartitionKey)),
			fmt.Sprintf("use at most %d, or raise the stream's MaxRecordBytes", most))
	}
	return nil
}

// route finds the shard of every entry and brings them into the order of the
// shards, each one's entries in their own order.
func (p *put) route(t *topology, entries []stream.Entry) {
	p.keys = p.keys[:0]
	for _, i := range p.todo {
		shard := 0
		if len(t.open) > 1 {
			shard = t.at(entries[i].Hash())
		}
		p.keys = append(p.keys, uint64(shard)<<32|uint64(i))
	}
	if len(t.open) > 1 && len(p.keys) > 1 {
		slices.Sort(p.keys)
	}
}

// throttle takes away the entries that are beyond their shard's limits.
func (p *put) throttle(t *topology, entries []stream.Entry, results []stream.PutResult) {
	keep := p.keys[:0]
	for _, key := range p.keys {
		sh, i := t.open[key>>32], uint32(key)
		if sh.in != nil && !sh.in.take(entries[i].Size()) {
			results[i] = stream.PutResult{Shard: sh.id, Err: fmt.Errorf("put into %s: %w", sh.id, stream.ErrThrottled)}
			continue
		}
		keep = append(keep, key)
	}
	p.keys = keep
}

// piece makes the runs of one append, from the entries at next on, and returns
// where the following one begins.
func (p *put) piece(t *topology, entries []stream.Entry, next, most int) int {
	p.runs, p.list = p.runs[:0], p.list[:0]
	p.list = slices.Grow(p.list, len(p.keys)-next) // the runs point into it
	shard := uint64(1 << 32)
	for size := 0; next < len(p.keys); next++ {
		key := p.keys[next]
		size += wal.Footprint(&entries[uint32(key)])
		if key>>32 != shard {
			size += wal.RunFootprint
		}
		if size > most && len(p.list) > 0 {
			break
		}
		if key>>32 != shard {
			shard = key >> 32
			p.runs = append(p.runs, wal.Run{Shard: t.open[shard].log})
		}
		p.list = append(p.list, int32(key))
		run := &p.runs[len(p.runs)-1]
		run.Entries = p.list[len(p.list)-len(run.Entries)-1:]
		run.At = int(shard)
	}
	return next
}

// settle takes over what became of the runs. It returns a channel to wait for
// when some of them were held.
func (p *put) settle(t *topology, results []stream.PutResult) (wait <-chan struct{}) {
	for i := range p.runs {
		r := &p.runs[i]
		if r.Held != nil {
			p.held = append(p.held, r.Entries...)
			wait = r.Held
			continue
		}
		sh := t.open[r.At]
		for k, entry := range r.Entries {
			results[entry] = stream.PutResult{Shard: sh.id, Sequence: sh.log.Base().Add(r.First + uint64(k))}
		}
	}
	return wait
}
