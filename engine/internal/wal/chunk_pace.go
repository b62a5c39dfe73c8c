package wal

import (
	"context"
	"math"
	"time"
)

const (
	// paceFloor is how fast the rewriter may be at least, in bytes a second.
	paceFloor = 32 << 20
	// paceLead is how much faster than the log it is allowed to be.
	paceLead = 1.25
	// paceLag is how many runs it may be behind before it is not held back.
	paceLag = 4
	// paceLimit is how many runs it may be behind before appends are held to
	// its own speed: it gets as far behind again as it may be unhindered, so that
	// a burst of seconds is not noticed, and the index of what waits stays small.
	paceLimit = 8
	// paceWait is how long appends wait for a step of the rewriter at most: a
	// disk that fails may take minutes to.
	paceWait = time.Second
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

// headroom is by how much the log may have grown since the rewriter began with
// a run, ahead of which it was by so much, and of which it has come through a
// part. Appends are never held back by more than half of what it gets done: they
// go on, and it catches up.
func headroom(limit, ahead, through int64) int64 {
	return max(through/2, limit-ahead+through)
}

// pacer keeps the rewriter and the log in step while a run is read and written.
// It spreads the run over the time that the log takes to grow by as much: that
// leaves the disk and the processors to those who wait for an answer. And when
// too much waits to be rewritten, appends wait for the rewriter; not while it
// does nothing, for whatever reason ([Log.growFreely]), and not when it does not
// get on.
type pacer struct {
	l     *Log
	begun time.Time
	from  int64 // size of the log when it began
	ahead int64 // how much of that was not rewritten
	done  int64 // bytes read and written
	free  bool  // it never waits
}

// newPacer begins a run.
func (l *Log) newPacer(free bool) *pacer {
	first := int64(l.Files().First) * l.opt.SegmentBytes
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.grownLocked()
	p := &pacer{l: l, begun: time.Now(), from: from, ahead: from - first, free: free}
	p.openLocked()
	return p
}

// end leaves appends some room for the time until the next run gets on: less
// than the run has made.
func (p *pacer) end() {
	p.l.mu.Lock()
	p.l.growTo = max(p.l.growTo, p.l.grownLocked()+p.l.runBytes()/4)
	waiting := p.l.takeWaitingLocked()
	p.l.mu.Unlock()
	wake(waiting)
}

// growFreely lets appends go on without the rewriter.
func (l *Log) growFreely() {
	l.mu.Lock()
	l.growTo = math.MaxInt64
	waiting := l.takeWaitingLocked()
	l.mu.Unlock()
	wake(waiting)
}

func (l *Log) runBytes() int64 { return int64(l.opt.runSegments()) * l.opt.SegmentBytes }

// through is how much of the log is behind the rewriter: every byte is read once
// and written once.
func (p *pacer) through() int64 { return p.done / 2 }

func (p *pacer) openLocked() {
	p.l.growTo = p.from + headroom(paceLimit*p.l.runBytes(), p.ahead, p.through())
}

// grownLocked is how much was ever appended, to compare with an earlier value.
func (l *Log) grownLocked() int64 {
	end := l.endLocked()
	return int64(end.gen())*l.opt.SegmentBytes + end.off()
}

// advance takes note of bytes read or written, and returns how much the log has
// grown since the run began.
func (p *pacer) advance(n int) (grown int64) {
	p.l.mu.Lock()
	p.done += int64(n)
	p.openLocked()
	grown = p.l.grownLocked() - p.from
	waiting := p.l.takeWaitingLocked()
	p.l.mu.Unlock()
	wake(waiting)
	return grown
}

// lagging reports whether too much of the log is not rewritten.
func (l *Log) lagging() bool {
	end := l.Durable().gen()
	return end > l.Files().First+uint64(paceLag*l.opt.runSegments())
}

// step takes note that so many bytes were read or written, and waits until it
// is time for the next.
func (p *pacer) step(ctx context.Context, n int) error {
	grown := p.advance(n)
	for {
		var wait time.Duration
		if !p.free && !p.l.lagging() {
			wait = pause(p.through(), grown, time.Since(p.begun))
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
		grown = p.advance(0)
	}
}
