package kinesis

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/backoff"
)

// What Kinesis lets all readers of a shard have together.
const (
	readEvery      = 200 * time.Millisecond // 5 reads
	bytesPerSecond = 2 << 20
)

// limits is what the readers of a stream have learned together: whether there
// are any limits. An engine on the same machine may have none, and is then read
// as fast as it answers.
type limits struct{ known atomic.Bool }

// pace says when a shard is read next. A reader that has far to go reads on at
// once, until it was refused; from then on it keeps to its share of what Kinesis
// allows. One that has caught up asks the more rarely the longer nothing came.
type pace struct {
	min, max time.Duration
	limits   *limits

	next  time.Time     // not before
	heard time.Time     // when the shard last had a record, or was opened
	wait  time.Duration // after the last refusal; 0 after an answer
	// share is how many readers seem to share the shard. It grows when this one
	// is refused although it keeps to the limits, and shrinks slowly.
	share float64
}

const (
	quietFraction = 8
	mostShare     = 16
	throttledMin  = readEvery
	throttledMax  = 5 * time.Second // how long 10 MiB at once block a shard
)

func newPace(cfg *Config, l *limits, now time.Time) pace {
	return pace{min: cfg.MinPoll, max: cfg.MaxPoll, limits: l, next: now, heard: now, share: 1}
}

// got notes an answer to what was asked at that time.
func (p *pace) got(asked time.Time, records, bytes int, behind time.Duration) {
	p.wait = 0
	p.share = max(1, p.share-0.1)
	if records > 0 {
		p.heard = asked
	}
	var gap time.Duration
	if p.limits.known.Load() {
		gap = max(readEvery, time.Duration(float64(bytes)/bytesPerSecond*float64(time.Second)))
		gap = time.Duration(float64(gap) * p.share)
	}
	quiet := asked.Sub(p.heard) / quietFraction
	switch {
	case behind > 0 && records > 0: // there is more
	case behind > 0: // so they say; a stretch of the shard without records is soon passed
		gap = max(gap, min(quiet, p.min))
	case records > 0:
		gap = max(gap, p.min)
	default:
		gap = max(gap, jitter(min(max(quiet, p.min), p.max)))
	}
	p.next = together(asked, gap)
}

// moment is how far apart shards at rest are asked: those that are due in one
// are asked together. Ten polls that come one by one cost more than twice as
// much CPU as ten at once, which find everything awake.
const moment = 100 * time.Millisecond

// together returns when a gap is over, a little early if it is long.
func together(asked time.Time, gap time.Duration) time.Time {
	next := asked.Add(gap)
	if gap < 10*moment {
		return next
	}
	return next.Add(-time.Duration(next.UnixNano() % int64(moment)))
}

// refused notes that too much was asked.
func (p *pace) refused(now time.Time) {
	if p.limits.known.Swap(true) && p.wait == 0 {
		p.share = min(mostShare, p.share*1.5)
	}
	p.wait = backoff.Next(nil, p.wait, throttledMin, throttledMax)
	p.next = now.Add(p.wait)
}

// jitter takes up to a tenth away, so that shards that fell quiet together are
// not asked together for ever.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }
