package fleet

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/processors"
)

// processor tells the journal what it is given. It does not do it well: it is
// slow, fails, and goes on though its context is cancelled, since a fleet whose
// callbacks are all fast and kind is hardly ever caught inside one.
type processor struct {
	order   *order
	shard   processors.Shard
	journal *journal
	book    book
	over    func() bool // stops listening for the end of the term's context
}

// Booked reports whether the records of a shard are booked by those who book.
func Booked(shard string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, shard) // a hash never fails
	return h.Sum32()%2 == 0
}

func (p *processor) tell(e Event) {
	e.Shard, e.Term = p.shard.ID, p.shard.Term
	p.journal.tell(e)
}

func (p *processor) Initialize(ctx context.Context, start processors.Start) error {
	p.tell(Event{Kind: Began, From: start.Checkpoint.Position})
	p.over = context.AfterFunc(ctx, func() {
		why := ""
		if errors.Is(context.Cause(ctx), checkpoint.ErrLeaseLost) {
			why = context.Cause(ctx).Error()
		}
		p.tell(Event{Kind: Cancelled, Why: why})
	})
	return nil
}

var errClumsy = errors.New("dropped something")

func (p *processor) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	ctx, cancel, err := p.linger(ctx)
	defer cancel()
	if err != nil {
		return err
	}
	done := Event{Kind: Done, Records: make([]string, len(b.Records)), Booked: p.order.Book && Booked(p.shard.ID)}
	for i := range b.Records {
		done.Records[i] = string(bytes.TrimRight(b.Records[i].Data, " "))
	}
	if done.Booked {
		err := p.book.enter(ctx, b, done.Records)
		if err != nil && !errors.Is(err, checkpoint.ErrStored) {
			return err
		}
	}
	done.Failed = p.order.Slow > 0 && rand.IntN(100) == 0
	p.tell(done)
	if done.Failed {
		return errClumsy
	}
	return nil
}

// linger takes some time over a batch now and then, and returns the context to go
// on with: some callbacks do not listen to the one that they were given, for a while.
func (p *processor) linger(ctx context.Context) (context.Context, context.CancelFunc, error) {
	cancel := func() {}
	if p.order.Slow == 0 || rand.IntN(4) > 0 {
		return ctx, cancel, ctx.Err()
	}
	if rand.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*p.order.FailoverTime)
	}
	select {
	case <-time.After(rand.N(p.order.Slow)):
		return ctx, cancel, ctx.Err()
	case <-ctx.Done():
		return ctx, cancel, context.Cause(ctx)
	}
}

func (p *processor) ShutdownRequested(context.Context, checkpoint.Checkpointer) error {
	p.tell(Event{Kind: HandedOver})
	return nil
}

func (p *processor) ShardEnded(context.Context, checkpoint.Checkpointer) error {
	p.tell(Event{Kind: Ended})
	return nil
}

func (p *processor) LeaseLost(_ context.Context, cause error) {
	p.tell(Event{Kind: Lost, Why: cause.Error()})
}
