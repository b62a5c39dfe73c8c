package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
)

// processor is a user's processor with moods: slow at times, failing at times,
// and now and then deaf to its context. It tells the checker what it sees.
type processor struct {
	processors.Base
	machine *machine
	shard   processors.Shard
	key     string // of the lease, the shard's name for the checker
	random  *rand.Rand
	failed  bool // the last batch was not done
}

func newProcessor(m *machine, s processors.Shard) *processor {
	return &processor{
		machine: m, shard: s,
		key:    lease.Key(s.Stream.ID(), s.ID),
		random: m.fleet.source(m.name+s.ID, int(s.Term)),
	}
}

// mood reports, one time in n, that something strange is about to be done.
// While there are no faults nothing is.
func (p *processor) mood(n int) bool {
	return p.random.IntN(n) == 0 && p.machine.fleet.moody()
}

var errMood = errors.New("the processor is in a mood to fail")

// Initialize begins to watch the term: its context is that of the hold.
func (p *processor) Initialize(ctx context.Context, _ processors.Start) error {
	if p.mood(50) {
		return errMood
	}
	if !p.machine.began(ctx, p) {
		return context.Cause(ctx)
	}
	return nil
}

func (p *processor) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	p.failed = true
	f := p.machine.fleet
	delivered := p.machine.event(ctx, func() {
		for i := range b.Records {
			f.check.Delivered(p.key, p.shard.Term, b.Records[i].Sequence)
		}
	})
	if !delivered {
		return context.Cause(ctx)
	}
	took := actor.Between(p.random, 0, 200*time.Millisecond)
	deaf := false
	if p.mood(200) {
		took = actor.Between(p.random, time.Second, 2*f.Failover)
		deaf = p.random.IntN(2) == 0
	}
	if deaf {
		actor.Sleep(context.WithoutCancel(ctx), took)
	} else if !actor.Sleep(ctx, took) {
		return context.Cause(ctx)
	}
	if processing := p.machine.processing; processing != nil {
		if err := processing(ctx, p.shard.ID); err != nil {
			return err
		}
	}
	// The effect goes to a sink that fences by the term: it has the last word
	// on whether this worker still may.
	if !p.machine.effect(p.key, p.shard.Term) {
		return errors.New("the sink refused a former term")
	}
	switch {
	case p.mood(100):
		return errMood
	case p.mood(100):
		panic(errMood)
	}
	done := p.machine.event(ctx, func() {
		for i := range b.Records {
			f.check.Done(p.key, p.shard.Term, b.Records[i].Sequence)
			f.done(p.key, b.Records[i].Sequence)
		}
	})
	if !done {
		return context.Cause(ctx)
	}
	p.failed = false
	return nil
}

func (p *processor) ShardEnded(ctx context.Context, _ checkpoint.Checkpointer) error {
	if p.mood(3) {
		return errMood
	}
	if ended := p.machine.shardEnded; ended != nil {
		return ended(ctx, p.shard.ID)
	}
	return nil
}
