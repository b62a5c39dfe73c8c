package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
)

// processor is a user's processor with moods: slow at times, failing at times,
// and now and then deaf to its context. It tells the checker what it sees.
type processor struct {
	processors.Base
	process *process
	shard   processors.Shard
	key     string // of the lease, the shard's name for the checker
	random  *rand.Rand
	failed  bool // the last batch was not done
}

func newProcessor(p *process, s processors.Shard) *processor {
	return &processor{
		process: p, shard: s,
		key:    lease.Key(s.Stream.ID(), s.ID),
		random: p.fleet.source(p.name+s.ID, int(s.Term)),
	}
}

var errMood = errors.New("the processor is in a mood to fail")

// Initialize begins to watch the term: its context is that of the hold.
func (p *processor) Initialize(ctx context.Context, _ processors.Start) error {
	if p.random.IntN(50) == 0 {
		return errMood
	}
	if !p.process.began(ctx, p) {
		return context.Cause(ctx)
	}
	return nil
}

func (p *processor) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	p.failed = true
	delivered := p.process.event(ctx, func() {
		for i := range b.Records {
			p.process.fleet.check.Delivered(p.key, p.shard.Term, b.Records[i].Sequence)
		}
	})
	if !delivered {
		return context.Cause(ctx)
	}
	took := between(p.random, 0, 200*time.Millisecond)
	deaf := false
	if p.random.IntN(200) == 0 {
		took = between(p.random, time.Second, 2*failover)
		deaf = p.random.IntN(2) == 0
	}
	if deaf {
		sleep(context.WithoutCancel(ctx), took)
	} else if !sleep(ctx, took) {
		return context.Cause(ctx)
	}
	// The effect goes to a sink that fences by the term: it has the last word
	// on whether this worker still may.
	if !p.process.effect(p.key, p.shard.Term) {
		return errors.New("the sink refused a former term")
	}
	switch p.random.IntN(100) {
	case 0:
		return errMood
	case 1:
		panic(errMood)
	}
	done := p.process.event(ctx, func() {
		for i := range b.Records {
			p.process.fleet.check.Done(p.key, p.shard.Term, b.Records[i].Sequence)
		}
	})
	if !done {
		return context.Cause(ctx)
	}
	p.failed = false
	return nil
}

func (p *processor) ShardEnded(context.Context, checkpoint.Checkpointer) error {
	if p.random.IntN(3) == 0 {
		return errMood
	}
	return nil
}
