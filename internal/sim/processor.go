package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/processors"
)

// processor is a user's processor with moods: slow at times, failing at times,
// and now and then deaf to its context.
type processor struct {
	process *process
	shard   processors.Shard
	checks  *checks
	random  *rand.Rand
}

var errMood = errors.New("the processor is in a mood to fail")

func (p *processor) Initialize(ctx context.Context, start processors.Start) error {
	if p.process.dead.Load() {
		return errMood
	}
	p.checks.begun(p.process.name, p.shard, start)
	return nil
}

func (p *processor) ProcessRecords(ctx context.Context, b *processors.Batch) error {
	p.process.stand()
	if p.process.dead.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	late := context.Cause(ctx)
	p.checks.delivered(p.process.name, p.shard, b, late)
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
	p.process.stand()
	if p.process.dead.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	// The effect goes to a sink that fences by the term: it has the last word
	// on whether this worker still may.
	if !p.checks.effect(p.process.name, p.shard) {
		return errors.New("the sink refused a former term")
	}
	switch p.random.IntN(100) {
	case 0:
		return errMood
	case 1:
		panic(errMood)
	}
	p.checks.done(p.process.name, p.shard, b)
	return nil
}

func (p *processor) ShutdownRequested(ctx context.Context, _ checkpoint.Checkpointer) error {
	return nil
}

func (p *processor) ShardEnded(ctx context.Context, _ checkpoint.Checkpointer) error {
	if p.random.IntN(3) == 0 {
		return errMood
	}
	return nil
}

func (p *processor) LeaseLost(ctx context.Context, cause error) {
	p.checks.lost(p.process.name, p.shard, cause)
}
