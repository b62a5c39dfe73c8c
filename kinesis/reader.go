package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/stream"
)

// Open starts reading a shard at a position: see [stream.Stream]. Latest is
// pinned, so that the reader begins there however late it is first used. What
// left retention before it was read cannot be known: the API does not tell, and
// reading begins with the oldest record that is left.
//
// A reader keeps the page that is being given, and reads the next one when no
// more than Config.PageBytes of it are left, if there is a next one: 2·PageBytes
// as long as records are about as large as those before; 10 MiB for each of the
// two pages at worst. At the end of its shard it keeps nothing.
func (s *Stream) Open(ctx context.Context, shardID string, from stream.Position) (stream.Reader, error) {
	r, err := s.open(ctx, shardID, from)
	if err != nil {
		return nil, fmt.Errorf("open a reader: %w", err)
	}
	return r, nil
}

func (s *Stream) open(ctx context.Context, shardID string, from stream.Position) (_ *reader, err error) {
	if from == stream.Latest {
		if from, err = s.pin(ctx, shardID); err != nil {
			return nil, err
		}
	}
	r := s.newReader(shardID, from)
	switch {
	case from.IsZero():
		return nil, fmt.Errorf("kinesis: position of %s is empty: use TRIM_HORIZON, LATEST, a time, a sequence number or SHARD_END", shardID)
	case from == stream.ShardEnd:
		if _, _, err := s.sequences(ctx, shardID); err != nil {
			return nil, err
		}
		r.page = newPage()
	default:
		if err := r.feed.renew(ctx); errors.Is(err, errAtEnd) {
			r.page = newPage()
		} else if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// reader reads one shard: see [stream.Reader].
//
//	Next ◄── page ◄─┬── feed, by Next itself, where it has to wait
//	                └── ahead ◄── feed, in a goroutine, while there is more
type reader struct {
	s     *Stream
	feed  feed         // ahead's, while that is not nil
	page  *page        // what is being given; nil before the first one
	ahead chan fetched // gets the page behind it; nil while none is read ahead
	end   *stream.ShardEndError

	life  context.Context // ends with Close, and is the cause
	close context.CancelCauseFunc
	mu    sync.Mutex // guards that nothing is begun after Close
	wg    sync.WaitGroup
}

// fetched is the outcome of reading ahead.
type fetched struct {
	page *page
	err  error
}

func (s *Stream) newReader(shardID string, from stream.Position) *reader {
	r := &reader{s: s, feed: s.newFeed(shardID, from)}
	r.life, r.close = context.WithCancelCause(context.Background())
	r.feed.beside = r.beside
	return r
}

// Next gives what was read, and reads on: see [stream.Reader].
func (r *reader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	for {
		if err := r.usable(ctx); err != nil {
			return err
		}
		switch p := r.page; {
		case p != nil && p.left() > 0:
			r.readAhead(b)
			p.fill(b)
			if p.left() == 0 {
				p.release()
			}
			return nil
		case p != nil && p.next == "":
			return r.ended(ctx)
		}
		p, err := r.turn(ctx, b)
		if err != nil {
			return err
		}
		if p.left() == 0 {
			p.release()
		}
		r.page = p
	}
}

// usable returns why reading is over.
func (r *reader) usable(ctx context.Context) error {
	if r.life.Err() == nil && ctx.Err() == nil {
		return nil
	}
	why := context.Cause(r.life)
	if why == nil {
		why = context.Cause(ctx)
	}
	return fmt.Errorf("kinesis: read %s of %s: %w", r.feed.shard, r.s.target.text, why)
}

// turn returns the next page.
func (r *reader) turn(ctx context.Context, b *stream.Batch) (*page, error) {
	if r.ahead != nil {
		select {
		case f := <-r.ahead:
			r.ahead = nil
			return f.page, f.err
		case <-ctx.Done():
		case <-r.life.Done():
		}
		return nil, r.usable(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.life, func() { cancel(context.Cause(r.life)) })()
	return r.feed.next(ctx, r.want(b))
}

// readAhead begins to read the next page, when there is more to read and the
// current one is nearly used up.
func (r *reader) readAhead(b *stream.Batch) {
	p, want := r.page, r.want(b)
	if r.ahead != nil || p.next == "" || p.behind == 0 || p.bytes > r.s.cfg.PageBytes {
		return
	}
	ahead := make(chan fetched, 1)
	begun := r.beside(func(ctx context.Context) {
		p, err := r.feed.next(ctx, want)
		ahead <- fetched{p, err}
	})
	if begun {
		r.ahead = ahead
	}
}

// beside runs f until the reader is closed, which waits for it. It reports
// whether it does so.
func (r *reader) beside(f func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return false
	}
	r.wg.Go(func() { f(r.life) })
	return true
}

// leastPage is what it makes no sense to ask less than.
const leastPage = 64 << 10

// want is how many bytes the next page should have: some batches.
func (r *reader) want(b *stream.Batch) int {
	if b.MaxBytes <= 0 {
		return r.s.cfg.PageBytes
	}
	return min(r.s.cfg.PageBytes, max(leastPage, 4*b.MaxBytes))
}

// ended returns the end of the shard. An end without children is none: a shard
// is closed by a split or a merge, and what else ends an iterator is trouble, so
// that the next call asks again behind the last record.
func (r *reader) ended(ctx context.Context) error {
	if r.end == nil {
		children := slices.DeleteFunc(r.page.children, func(c stream.Shard) bool { return !slices.Contains(c.Parents, r.feed.shard) })
		if len(children) == 0 {
			var err error
			if children, err = r.s.children(ctx, r.feed.shard); err != nil {
				r.page = nil
				return err
			}
		}
		if len(children) == 0 && r.feed.at != stream.ShardEnd {
			r.page = nil
			return fmt.Errorf("kinesis: read %s of %s: %w: the shard has ended and has no children", r.feed.shard, r.s.target.text, errAnswer)
		}
		r.end = &stream.ShardEndError{Shard: r.feed.shard, Children: children}
	}
	return &stream.ShardEndError{Shard: r.end.Shard, Children: slices.Clone(r.end.Children)}
}

// Close ends a Next that waits, and what is read ahead.
func (r *reader) Close() error {
	r.mu.Lock()
	r.close(stream.ErrClosed)
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}
