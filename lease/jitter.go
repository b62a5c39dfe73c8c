package lease

import (
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// dice are the random numbers of one actor.
type dice struct {
	mu  sync.Mutex // guards rng; stores may wake from any goroutine
	rng *rand.Rand
}

func newDice(seed uint64, actor string) *dice {
	h := fnv.New64a()
	_, _ = io.WriteString(h, actor) // a hash never fails
	return &dice{rng: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// about returns a duration between nine and eleven tenths of d: no two workers
// that started together stay in step.
func (r *dice) about(d time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration((0.9 + 0.2*r.rng.Float64()) * float64(d))
}

// upTo returns a duration between nothing and d.
func (r *dice) upTo(d time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.rng.Float64() * float64(d))
}

// nonce returns what tells one start of a worker from all others.
func (r *dice) nonce() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strconv.FormatUint(r.rng.Uint64(), 36)
}

// backoff is a row of growing delays with full jitter, from least to most.
type backoff struct {
	dice        *dice
	least, most time.Duration
	next        time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// delay returns how long to wait before the next attempt.
func (b *backoff) delay() time.Duration {
	b.next = min(max(2*b.next, b.least), b.most)
	return b.next/4 + b.dice.upTo(3*b.next/4)
}

// wait returns after d, or earlier when ctx is done (false) or something kicks.
// Whoever waited looks at everything now, so a kick of this moment is answered,
// even if the time is over, too.
func wait(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		select {
		case <-kick:
		default:
		}
	case <-kick:
	}
	return ctx.Err() == nil
}

// gather waits as [wait] does, and then up to a moment more for everything that
// kicks at the same time: where a hundred shards are lost at once one look
// serves for all, when what they do about it by themselves is done.
func (r *dice) gather(ctx context.Context, d, moment time.Duration, kick <-chan struct{}) bool {
	if !wait(ctx, d, kick) || !wait(ctx, r.upTo(moment), nil) {
		return false
	}
	select {
	case <-kick:
	default:
	}
	return true
}

// kick wakes who waits on a channel with room for one, now or at its next wait.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
