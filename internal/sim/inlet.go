package sim

import (
	"context"
	"errors"
	"sync"

	"github.com/millrace/millrace/stream"
)

// inlet is the stream as one machine reaches it. While it hangs nothing is
// answered: what is asked then returns when its context is done and not
// before, and a reader that waits stands still until the stream flows again.
type inlet struct {
	fleet *fleet

	mu    sync.Mutex    // guards what follows
	hung  chan struct{} // closed when the stream flows again; nil while it does
	reads map[*tap]context.CancelCauseFunc
}

// hang stops the stream for this machine. It returns what lets it flow again.
func (i *inlet) hang() (flow func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	hung := make(chan struct{})
	i.hung = hung
	for _, stop := range i.reads {
		stop(errHung)
	}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.hung = nil
		close(hung)
	}
}

// ask returns once the stream can be asked, or with the cause of ctx.
func (i *inlet) ask(ctx context.Context) error {
	i.mu.Lock()
	hung := i.hung
	i.mu.Unlock()
	if hung == nil {
		return nil
	}
	<-ctx.Done() // what was asked is lost
	return context.Cause(ctx)
}

// Identity implements [stream.Stream].
func (i *inlet) Identity(ctx context.Context) (stream.Identity, error) {
	if err := i.ask(ctx); err != nil {
		return stream.Identity{}, err
	}
	s, _ := i.fleet.present()
	return s.Identity(ctx)
}

// Shards implements [stream.Stream].
func (i *inlet) Shards(ctx context.Context) ([]stream.Shard, error) {
	if err := i.ask(ctx); err != nil {
		return nil, err
	}
	s, _ := i.fleet.present()
	return s.Shards(ctx)
}

// Pin implements [stream.Stream].
func (i *inlet) Pin(ctx context.Context, shard string) (stream.Position, error) {
	if err := i.ask(ctx); err != nil {
		return stream.Position{}, err
	}
	s, _ := i.fleet.present()
	return s.Pin(ctx, shard)
}

// Open implements [stream.Stream].
func (i *inlet) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	if err := i.ask(ctx); err != nil {
		return nil, err
	}
	s, _ := i.fleet.present()
	r, err := s.Open(ctx, shard, from)
	if err != nil {
		return nil, err
	}
	return &tap{Reader: r, inlet: i}, nil
}

// tap is a reader at an inlet.
type tap struct {
	stream.Reader
	inlet *inlet
}

var errHung = errors.New("the stream hangs")

// Next implements [stream.Reader].
func (t *tap) Next(ctx context.Context, b *stream.Batch) error {
	for {
		reading, hung := t.inlet.read(ctx, t)
		if hung == nil {
			err := t.Reader.Next(reading, b)
			t.inlet.hasRead(t)
			if !errors.Is(err, errHung) {
				return err
			}
			continue
		}
		select {
		case <-hung:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read returns the context of a read, which ends when the stream hangs, or the
// channel to wait for when it hangs now.
func (i *inlet) read(ctx context.Context, t *tap) (reading context.Context, hung <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.hung != nil {
		return nil, i.hung
	}
	reading, i.reads[t] = context.WithCancelCause(ctx)
	return reading, nil
}

// hasRead ends the context of a read.
func (i *inlet) hasRead(t *tap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reads[t](nil)
	delete(i.reads, t)
}
