package leasetest

import (
	"context"

	"github.com/millrace/millrace/lease"
)

// brokenCalls do not listen, or do not wake.
var brokenCalls = []sabotage{
	{"writes go on after their context", "NothingIsDoneForAContextThatIsOver", func(b *broken) {
		b.swap = func(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
			row, _ := b.Memory.Swap(context.WithoutCancel(ctx), old, next)
			return row, context.Cause(ctx)
		}
	}},
	{"reads do not look at their context", "NothingIsDoneForAContextThatIsOver", func(b *broken) {
		b.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
			return b.Memory.Read(context.WithoutCancel(ctx), keys...)
		}
	}},
	{"nobody is woken", "ChangesWakesAfterEveryKindOfWrite", func(b *broken) {
		b.changes = func(ctx context.Context, wake func()) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}},
	{"changes ends without an error", "ChangesWakesAfterEveryKindOfWrite", func(b *broken) {
		b.changes = func(ctx context.Context, wake func()) error {
			b.Memory.Changes(ctx, wake)
			return nil
		}
	}},
}
