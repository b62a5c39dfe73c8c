package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/stream"
)

// reader is a subscription with the face of a [stream.Reader]. The pump, one
// goroutine, subscribes and offers one batch after the other; Next takes from
// the batch that is offered until it is used up. Only then does the pump return
// to the subscription, so that what nobody asks for stays with the stream.
type reader struct {
	p     *pushed
	shard string

	ctx     context.Context // of the pump; ends with Close
	cancel  context.CancelCauseFunc
	offers  chan *stream.Batch // from the pump
	used    chan struct{}      // to the pump: the batch is its own again
	stopped chan error         // from the pump: why the subscription ended

	mu      sync.Mutex // no pump starts beside Close; nothing waits under it
	pumping sync.WaitGroup

	// What follows belongs to Next.
	running bool            // a pump is under way
	offered stream.Rest     // what is left of the batch on offer
	at      stream.Position // where the next subscription begins
	final   error           // the shard's end, once it was seen
}

func newReader(ctx context.Context, p *pushed, shard string, from stream.Position) *reader {
	r := &reader{
		p: p, shard: shard, at: from,
		offers: make(chan *stream.Batch), used: make(chan struct{}), stopped: make(chan error),
	}
	// The reader outlives the call that opened it, and keeps what that carried.
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return r
}

// Next implements [stream.Reader].
func (r *reader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	for {
		if err := r.usable(ctx); err != nil {
			return err
		}
		if r.final != nil {
			return r.final
		}
		if !r.offered.Empty() {
			r.offered.Fill(b)
			r.at = stream.After(b.Records[len(b.Records)-1].Sequence)
			if r.offered.Empty() {
				r.release()
			}
			return nil
		}
		if !r.running && !r.start() {
			continue // closed meanwhile
		}
		select {
		case batch := <-r.offers:
			r.offered = stream.NewRest(batch)
		case err := <-r.stopped:
			r.running = false
			if err := r.explain(ctx, err); err != nil {
				return err
			}
		case <-ctx.Done():
		case <-r.ctx.Done():
		}
	}
}

// usable returns why reading is over.
func (r *reader) usable(ctx context.Context) error {
	if r.ctx.Err() != nil {
		return fmt.Errorf("read %s: %w", r.shard, context.Cause(r.ctx))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// explain notes what an ended subscription means for the next one, and returns
// what Next says of it.
func (r *reader) explain(ctx context.Context, err error) error {
	if over := r.usable(ctx); over != nil {
		return over
	}
	var end *stream.ShardEndError
	var trimmed *stream.TrimmedError
	switch {
	case errors.As(err, &end):
		r.final = err
	case errors.As(err, &trimmed):
		r.at = stream.At(trimmed.Horizon)
	case errors.Is(err, stream.ErrConsumerNotFound):
		r.p.cfg.Logger.WarnContext(ctx, "the consumer was deregistered: it is registered again", "consumer", r.p.consumer, "shard", r.shard)
	case err == nil:
		err = errNoReason
	}
	return err
}

var errNoReason = errors.New("the subscription ended, and the stream does not say why")

// release gives the batch back to the pump.
func (r *reader) release() {
	r.offered = stream.Rest{}
	select {
	case r.used <- struct{}{}:
	case <-r.ctx.Done():
	}
}

// start starts a pump, unless the reader is closed.
func (r *reader) start() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.running = true
	from := r.at
	r.pumping.Go(func() { r.pump(from) })
	return true
}

// pump subscribes once, and tells Next how that ended.
func (r *reader) pump(from stream.Position) {
	limits := stream.Batch{MaxRecords: pushRecords, MaxBytes: r.p.cfg.BufferBytes, MaxFootprint: r.p.cfg.BufferBytes}
	err := r.p.Subscribe(r.ctx, r.shard, from, limits, r.offer)
	select {
	case r.stopped <- err:
	case <-r.ctx.Done():
	}
}

// offer hands one batch to Next and waits until it is used up.
func (r *reader) offer(b *stream.Batch) error {
	if len(b.Records) == 0 {
		return nil
	}
	select {
	case r.offers <- b:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	select {
	case <-r.used:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// Close implements [stream.Reader]. It returns when the subscription has ended.
func (r *reader) Close() error {
	r.mu.Lock()
	r.cancel(stream.ErrClosed)
	r.mu.Unlock()
	r.pumping.Wait()
	return nil
}
