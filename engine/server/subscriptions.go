package server

import (
	"context"
	"errors"
	"sync"
	"time"
)

// subscriptions are the calls of SubscribeToShard that are under way: one of a
// consumer and a shard. Who calls again takes over, but not at once. The zero
// value works.
type subscriptions struct {
	mu     sync.Mutex
	latest map[target]*subscription
	prune  int // look for those that are over when there are more
	closed bool
}

// target is what may have one subscription.
type target struct {
	consumer string // its ARN
	shard    string
}

// subscription is one call.
type subscription struct {
	began time.Time
	ended bool
	end   context.CancelCauseFunc
}

const (
	// subscriptionLife is how long a subscription lasts.
	subscriptionLife = 5 * time.Minute
	// subscriptionRest is how long after a call no other one takes over.
	subscriptionRest = 5 * time.Second
)

var (
	errTakenOver = errors.New("another call has taken the subscription over")
	errDrained   = errors.New("the server ends its subscriptions")
)

// begin registers a call, and returns its context: it ends when another call
// takes over, or the server drains. A call that comes too soon after another one
// is refused: after one that is still there, or, if strict, after any, as in
// Kinesis.
func (all *subscriptions) begin(ctx context.Context, t target, strict bool) (context.Context, *subscription, error) {
	ctx, end := context.WithCancelCause(ctx)
	now := time.Now()
	sub := &subscription{began: now, end: end}
	all.mu.Lock()
	old := all.latest[t]
	switch {
	case all.closed:
		all.mu.Unlock()
		end(nil)
		return nil, nil, internalFailure("the server is being stopped")
	case old != nil && now.Sub(old.began) < subscriptionRest && (strict || !old.ended):
		all.mu.Unlock()
		end(nil)
		return nil, nil, subscribed(t.consumer)
	}
	if all.latest == nil {
		all.latest = map[target]*subscription{}
	}
	all.latest[t] = sub
	all.pruneLocked(now)
	all.mu.Unlock()
	if old != nil {
		old.end(errTakenOver)
	}
	return ctx, sub, nil
}

// subscribed says that somebody else has the subscription.
func subscribed(consumer string) error {
	return inUse("Another active subscription exists for this consumer: %s", consumer)
}

// finish notes that a call is over.
func (all *subscriptions) finish(sub *subscription) {
	sub.end(nil)
	all.mu.Lock()
	defer all.mu.Unlock()
	sub.ended = true
}

// pruneLocked forgets, now and then, the calls that hinder nobody any more.
func (all *subscriptions) pruneLocked(now time.Time) {
	if len(all.latest) <= all.prune {
		return
	}
	for t, sub := range all.latest {
		if sub.ended && now.Sub(sub.began) >= subscriptionRest {
			delete(all.latest, t)
		}
	}
	all.prune = 2*len(all.latest) + 64
}

// close ends all subscriptions, and refuses new ones.
func (all *subscriptions) close() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.closed = true
	for _, sub := range all.latest {
		sub.end(errDrained)
	}
}
