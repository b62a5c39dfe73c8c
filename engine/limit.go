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

	// A subscription is not limited in how often it may read.
	unlimitedReads = 1 << 40
)

// limiters returns what counts the traffic into and out of a shard.
func limiters(l Limits) (in, out *limiter) {
	if l != KinesisLimits {
		return nil, nil
	}
	return newLimiter(kinesisInBytes, kinesisInRecords), newLimiter(kinesisOutBytes, kinesisOutReads)
}

// subscriptionLimiter returns what counts the bytes of one subscription, which
// takes nothing from the shard's other readers.
func subscriptionLimiter(l Limits) *limiter {
	if l != KinesisLimits {
		return nil
	}
	return newLimiter(kinesisOutBytes, unlimitedReads)
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
	l.left.calls--
	l.left.bytes -= float64(bytes)
	return true
}

// admit uses one call, if there is room for it and for some bytes, which it is
// too early to count.
func (l *limiter) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refillLocked()
	if l.left.calls < 1 || l.left.bytes < 1 {
		return false
	}
	l.left.calls--
	return true
}

// spend uses calls and bytes, whether there is room or not. What is larger than
// a whole second's bytes has to be waited for as a whole, whatever was saved up:
// after 10 MiB nobody reads for 5 s.
func (l *limiter) spend(calls, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refillLocked()
	l.left.calls -= float64(calls)
	if n := float64(bytes); n > l.perSecond.bytes {
		l.left.bytes = min(0, l.left.bytes) - n
	} else {
		l.left.bytes -= n
	}
}

// await returns when there is room for another call, or one of the others says
// that it is not needed any more.
func (l *limiter) await(ctx context.Context, closed, done <-chan struct{}) {
	for {
		wait := l.wait()
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
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

// wait is how long there will be no room for another call; 0 when there is.
func (l *limiter) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refillLocked()
	seconds := max((1-l.left.calls)/l.perSecond.calls, (1-l.left.bytes)/l.perSecond.bytes)
	if seconds <= 0 {
		return 0
	}
	return time.Duration(seconds*float64(time.Second)) + time.Nanosecond
}
