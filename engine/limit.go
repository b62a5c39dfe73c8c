package engine

import (
	"context"
	"sync"
	"time"
)

// Kinesis' limits of one shard.
const (
	kinesisInBytes   = 1 << 20
	kinesisInRecords = 1000
	kinesisOutBytes  = 2 << 20
	kinesisOutReads  = 5
)

// limiters returns what counts the traffic into and out of a shard.
func limiters(l Limits) (in, out *limiter) {
	if l != KinesisLimits {
		return nil, nil
	}
	return newLimiter(kinesisInBytes, kinesisInRecords), newLimiter(kinesisOutBytes, kinesisOutReads)
}

// limiter lets so many calls and bytes through in a second, and lets what was
// not used in the last second be used at once.
type limiter struct {
	perSecond budget // and the most that is saved up

	mu   sync.Mutex
	left budget
	at   time.Time
}

type budget struct{ bytes, calls float64 }

func newLimiter(bytes, calls float64) *limiter {
	b := budget{bytes, calls}
	return &limiter{perSecond: b, left: b}
}

func (l *limiter) refillLocked() {
	now := time.Now()
	if !l.at.IsZero() {
		passed := now.Sub(l.at).Seconds()
		l.left.bytes = min(l.perSecond.bytes, l.left.bytes+passed*l.perSecond.bytes)
		l.left.calls = min(l.perSecond.calls, l.left.calls+passed*l.perSecond.calls)
	}
	l.at = now
}

// take uses one call with its bytes, if there is room for it. What is larger
// than a whole second's bytes needs all of them and leaves a debt.
func (l *limiter) take(bytes int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refillLocked()
	if l.left.calls < 1 || l.left.bytes < min(float64(bytes), l.perSecond.bytes) {
		return false
	}
	l.charge(bytes)
	return true
}

func (l *limiter) charge(bytes int) {
	l.left.calls--
	l.left.bytes -= float64(bytes)
}

// spend uses one call with its bytes, whether there is room or not.
func (l *limiter) spend(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refillLocked()
	l.charge(bytes)
}

// await returns when there is room for another call, or one of the others says
// that it is not needed any more.
func (l *limiter) await(ctx context.Context, closed, done <-chan struct{}) {
	for {
		l.mu.Lock()
		l.refillLocked()
		seconds := max((1-l.left.calls)/l.perSecond.calls, (1-l.left.bytes)/l.perSecond.bytes)
		l.mu.Unlock()
		if seconds <= 0 {
			return
		}
		timer := time.NewTimer(time.Duration(seconds*float64(time.Second)) + time.Nanosecond)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
		case <-closed:
		case <-done:
		}
		timer.Stop()
		return
	}
}
