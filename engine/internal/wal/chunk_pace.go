package wal

import (
	"context"
	"time"
)

const (
	// paceFloor is how fast the rewriter may be at least, in bytes a second.
	paceFloor = 32 << 20
	// paceLead is how much faster than the log it is allowed to be.
	paceLead = 1.25
	// paceLag is how many runs it may be behind before it is not held back.
	paceLag = 4
	// paceLook is how long it waits at most before it looks again.
	paceLook = 100 * time.Millisecond
)

// pause is how long the rewriter waits, in the given time since it began: of
// what the log has grown by, it may have gone through the lead.
func pause(done, grown int64, since time.Duration) time.Duration {
	allowed := max(paceFloor*since.Seconds(), paceLead*float64(grown))
	if float64(done) <= allowed || since <= 0 {
		return 0
	}
	rate := allowed / since.Seconds()
	return min(paceLook, time.Duration(float64(done)/rate*float64(time.Second))-since)
}

// pacer spreads a run over the time that the log takes to grow by as much: it
// leaves the disk and the processors to those who wait for an answer.
type pacer struct {
	l     *Log
	begun time.Time
	from  int64 // size of the log when it began
	done  int64
	free  bool // it never waits
}

func (l *Log) newPacer(free bool) *pacer {
	return &pacer{l: l, begun: time.Now(), from: l.grown(), free: free}
}

// grown is how much was ever appended, to compare with an earlier value.
func (l *Log) grown() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.endLocked()
	return int64(end.gen())*l.opt.SegmentBytes + end.off()
}

// lagging reports whether too much of the log is not rewritten.
func (l *Log) lagging() bool {
	end := l.Durable().gen()
	return end > l.Files().First+uint64(paceLag*l.opt.runSegments())
}

// step takes note that so many bytes were read or written, and waits until it
// is time for the next.
func (p *pacer) step(ctx context.Context, n int) error {
	p.done += int64(n)
	for {
		var wait time.Duration
		if !p.free && !p.l.lagging() {
			// Every byte is read once and written once.
			wait = pause(p.done/2, p.l.grown()-p.from, time.Since(p.begun))
		}
		if wait <= 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}
