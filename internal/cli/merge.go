package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/kpl"
)

// merger shows the records of several shards as one sequence:
//
//	shard 0  ──► tap ──► ■ ■ ■ ┐
//	shard 1  ──► tap ──► ■     ├─► the oldest first, when no shard that is not
//	shard 2  ──► tap ──►       ┘   known to be quiet may still have an older one
//
// A shard that has caught up is quiet, so that what comes is shown at once. One
// that is slow to answer is waited for: for as long as it takes, or for patience
// where the stream is followed. Children begin when their parents have ended, and
// all records of those were shown.
type merger struct {
	stream  stream.Stream
	ended   func(ctx context.Context, shardID string, from stream.Position) bool // see fullStream
	from    stream.Position
	follow  bool
	most    int    // 0: no bound
	key     string // only records of this partition key; "": of all
	options kpl.Options
	show    *renderer
	warn    *slog.Logger

	taps   map[string]*tap
	chosen map[string]bool // shards that are read or wait for their parents
	events chan tapped
	shown  int
	wg     sync.WaitGroup
}

// tap is one shard that is read. It reads when it is told to, one batch at a time.
type tap struct {
	shard   stream.Shard
	more    chan struct{}
	asked   time.Time // when it was last told to
	pending []stream.Record
	behind  time.Duration // of the last of pending
	caught  bool          // it has caught up
	quiet   bool          // and so it has, or it does not answer
}

// tapped is what a tap has read.
type tapped struct {
	tap     *tap
	records []stream.Record
	behind  time.Duration
	caught  bool // there is nothing
	err     error
}

const (
	// patience is for how long a shard that does not answer holds up the others of
	// a stream that is followed.
	patience = 5 * time.Second
	// probeAfter is when a shard that has not answered is asked whether that is
	// because there is nothing: a read that waits does not say.
	probeAfter = 300 * time.Millisecond
)

func (m *merger) run(ctx context.Context, only []string) (err error) {
	shards, err := m.stream.Shards(ctx)
	if err != nil {
		return err
	}
	first, err := begin(shards, only, m.from)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	m.taps, m.chosen = map[string]*tap{}, map[string]bool{}
	m.events = make(chan tapped)
	defer m.wg.Wait()
	defer stop()
	for _, s := range first {
		m.start(reading, s, m.from)
	}
	for len(m.taps) > 0 {
		full, err := m.drain()
		if err == nil {
			err = m.show.flush()
		}
		if full || err != nil {
			return err
		}
		if !m.follow && m.caught() {
			return nil
		}
		select {
		case e := <-m.events:
			if err := m.take(reading, e); err != nil {
				return err
			}
		case <-m.late():
			for _, t := range m.taps {
				t.quiet = t.quiet || time.Since(t.asked) >= patience
			}
		case <-ctx.Done():
			if m.follow {
				return nil
			}
			return errInterrupted
		}
	}
	return nil
}

// late fires when patience with a shard is over, where the stream is followed.
func (m *merger) late() <-chan time.Time {
	if !m.follow {
		return nil
	}
	var first time.Time
	for _, t := range m.taps {
		if !t.quiet && len(t.pending) == 0 && (first.IsZero() || t.asked.Before(first)) {
			first = t.asked
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first.Add(patience)))
}

// begin chooses the shards to begin with. From the end these are the open ones,
// else those whose parents are not there; the others are found at their ends.
func begin(shards []stream.Shard, only []string, from stream.Position) (first []stream.Shard, err error) {
	known := map[string]bool{}
	for _, s := range shards {
		known[s.ID] = true
	}
	for _, id := range only {
		if !known[id] {
			return nil, fmt.Errorf("shard %s: %w", id, stream.ErrShardNotFound)
		}
	}
	for _, s := range shards {
		child := slices.ContainsFunc(s.Parents, func(p string) bool { return known[p] })
		switch {
		case len(only) > 0 && slices.Contains(only, s.ID),
			len(only) == 0 && from == stream.Latest && !s.Closed,
			len(only) == 0 && from != stream.Latest && !child:
			first = append(first, s)
		}
	}
	return first, nil
}

// tapBytes is how much of a shard is held at a time. It is small, since the shards
// of a stream are read together, however many there are; a larger record comes
// alone.
const tapBytes = 64 << 10

// start begins to read a shard.
func (m *merger) start(ctx context.Context, s stream.Shard, from stream.Position) {
	t := &tap{shard: s, more: make(chan struct{}, 1), asked: time.Now()}
	t.more <- struct{}{}
	m.taps[s.ID], m.chosen[s.ID] = t, true
	m.wg.Go(func() { m.read(ctx, t, from) })
}

// read reads a shard, a batch each time that it is told to, until it ends or
// ctx is done. What can be tried again, it tries again.
func (m *merger) read(ctx context.Context, t *tap, from stream.Position) {
	send := func(e tapped) { m.send(ctx, t, e) }
	r, err := kpl.Open(ctx, m.stream, t.shard, from, m.options)
	if err != nil {
		send(tapped{err: err})
		return
	}
	defer r.Close()
	if !m.follow && !t.shard.Closed && m.ended(ctx, t.shard.ID, from) {
		send(tapped{caught: true})
		return
	}
	b := stream.Batch{MaxBytes: tapBytes}
	for {
		select {
		case <-t.more:
		case <-ctx.Done():
			return
		}
		answered := m.probe(ctx, t, from)
		err := m.next(ctx, t, r, &b)
		answered()
		if err != nil {
			send(tapped{err: err})
			return
		}
		from = stream.After(b.Records[len(b.Records)-1].Sequence)
		send(tapped{records: slices.Clone(b.Records), behind: b.Behind})
	}
}

// send tells what a tap has read, unless ctx is done.
func (m *merger) send(ctx context.Context, t *tap, e tapped) {
	e.tap = t
	select {
	case m.events <- e:
	case <-ctx.Done():
	}
}

// probe asks the stream, while a read of an open shard takes its time, whether
// there is nothing from a position on, and says so, until answered is called.
func (m *merger) probe(ctx context.Context, t *tap, from stream.Position) (answered func()) {
	if t.shard.Closed {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var probing sync.WaitGroup
	probing.Go(func() {
		for wait := probeAfter; pause(ctx, wait) == nil; wait = min(2*wait, patience) {
			if m.ended(ctx, t.shard.ID, from) {
				m.send(ctx, t, tapped{caught: true})
				return
			}
		}
	})
	return func() {
		cancel()
		probing.Wait()
	}
}

// A read that failed is tried again so often, or without end where the stream is
// followed, with pauses between these.
const (
	tailRetries  = 5
	tailRetryMin = 250 * time.Millisecond
	tailRetryMax = 5 * time.Second
)

func (m *merger) next(ctx context.Context, t *tap, r stream.Reader, b *stream.Batch) error {
	wait := tailRetryMin
	for failed := 0; ; failed++ {
		err := r.Next(ctx, b)
		var gap *stream.TrimmedError
		var end *stream.ShardEndError
		var damage *stream.CorruptError
		switch {
		case err == nil, errors.As(err, &end), errors.As(err, &damage), ctx.Err() != nil, failed == tailRetries && !m.follow,
			errors.Is(err, stream.ErrStreamNotFound), errors.Is(err, stream.ErrShardNotFound), errors.Is(err, stream.ErrClosed):
			return err
		case errors.As(err, &gap):
			m.warn.Warn("records have left retention", "shard", t.shard.ID, "from", gap.From, "horizon", gap.Horizon)
			continue
		}
		m.warn.Warn("reading failed, trying again", "shard", t.shard.ID, "wait", wait, "err", err)
		if pause(ctx, wait) != nil {
			return err
		}
		wait = min(2*wait, tailRetryMax)
	}
}

// take takes in what a tap has read.
func (m *merger) take(ctx context.Context, e tapped) error {
	var end *stream.ShardEndError
	switch {
	case errors.As(e.err, &end):
		delete(m.taps, e.tap.shard.ID)
		for _, child := range end.Children {
			m.startChild(ctx, child)
		}
	case e.err != nil && ctx.Err() == nil:
		return e.err
	case e.caught:
		e.tap.caught, e.tap.quiet = true, true
	case e.err == nil:
		e.tap.pending, e.tap.behind, e.tap.caught, e.tap.quiet = e.records, e.behind, false, false
	}
	return nil
}

// startChild begins with a child when all of its parents that are shown have
// ended. Those from whose end on is shown were closed before.
func (m *merger) startChild(ctx context.Context, child stream.Shard) {
	if m.chosen[child.ID] || slices.ContainsFunc(child.Parents, func(p string) bool { return m.taps[p] != nil }) {
		return
	}
	from := stream.TrimHorizon
	if _, ok := m.from.Time(); ok {
		from = m.from
	}
	m.start(ctx, child, from)
}

// drain shows what can be shown, the oldest first. full says that it is enough.
func (m *merger) drain() (full bool, err error) {
	for {
		var oldest *tap
		for _, t := range m.taps {
			switch {
			case len(t.pending) == 0 && !t.quiet:
				return false, nil // it may have an older one
			case len(t.pending) > 0 && (oldest == nil || before(t, oldest)):
				oldest = t
			}
		}
		if oldest == nil {
			return false, nil
		}
		if r := &oldest.pending[0]; m.key == "" || r.PartitionKey == m.key {
			if err := m.show.show(oldest.shard.ID, r); err != nil {
				return false, err
			}
			if m.shown++; m.shown == m.most {
				return true, m.show.flush()
			}
		}
		if oldest.pending = oldest.pending[1:]; len(oldest.pending) == 0 {
			m.emptied(oldest)
		}
	}
}

func before(a, b *tap) bool {
	if c := a.pending[0].Arrival.Compare(b.pending[0].Arrival); c != 0 {
		return c < 0
	}
	return a.pending[0].Sequence.Less(b.pending[0].Sequence)
}

// emptied lets a tap read on.
func (m *merger) emptied(t *tap) {
	t.caught = t.behind == 0 && !t.shard.Closed // a closed one is followed by its end, and its children
	t.quiet = t.caught
	t.asked = time.Now()
	t.more <- struct{}{}
}

// caught reports whether everything was shown.
func (m *merger) caught() bool {
	for _, t := range m.taps {
		if len(t.pending) > 0 || !t.caught {
			return false
		}
	}
	return true
}
