package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
	"github.com/millrace/millrace/stream"
)

// reaper takes away the streams that are DELETING, when their time is over:
// also those that an earlier process has left so.
type reaper struct {
	kicked chan struct{} // a stream is DELETING
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// retryReap is how long the reaper waits with what the engine refused.
const retryReap = 5 * time.Second

func startReaper(s *Server) *reaper {
	ctx, stop := context.WithCancel(context.Background())
	r := &reaper{kicked: make(chan struct{}, 1), stop: stop}
	r.wg.Go(func() { r.run(ctx, s) })
	return r
}

func (r *reaper) close() {
	r.stop()
	r.wg.Wait()
}

// kick makes the reaper look again.
func (r *reaper) kick() {
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

func (r *reaper) run(ctx context.Context, s *Server) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.kicked:
		case <-ctx.Done():
			return
		}
		next, err := s.reap(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, stream.ErrClosed) {
			s.tell("cannot delete a stream; trying again", err)
		}
		timer.Reset(next)
	}
}

// reap deletes the streams whose time is over, and returns when to look again.
func (s *Server) reap(ctx context.Context) (next time.Duration, err error) {
	// Nobody kicks in vain: without a stream that is DELETING there is nothing to wait for.
	next = 24 * time.Hour
	err = s.change(ctx, func(ctx context.Context, c *change) error {
		var failed error
		for name, known := range c.Streams {
			if known.Status(c.now) != state.Deleting {
				continue
			}
			if left := known.Phase.Due(c.now); left > 0 {
				next = min(next, left)
				continue
			}
			v, err := s.find(name)
			if err != nil || v.created.UnixMilli() != known.Created {
				continue // it went by itself; the next change forgets it
			}
			if err := c.delete(ctx, v); err != nil && !errors.Is(err, stream.ErrStreamNotFound) {
				failed = err
				next = min(next, retryReap)
			}
		}
		return failed
	})
	if err != nil {
		next = min(next, retryReap)
	}
	return next, err
}

// shorten lets no phase that an earlier process began last for longer than it
// would in this one.
func (s *Server) shorten(ctx context.Context) error {
	return s.change(ctx, func(_ context.Context, c *change) error {
		short := func(p *state.Phase) {
			if p.Due(c.now) > s.config.StateDelay {
				p.Enter(p.Status, c.now, s.config.StateDelay)
			}
		}
		for name, known := range c.Streams {
			known = c.Stream(name, known.Created)
			short(&known.Phase)
			for _, one := range known.Consumers {
				short(&one.Phase)
			}
		}
		return c.Save(c.now)
	})
}

// delete takes a stream out of the engine, and forgets what is known of it.
func (c *change) delete(ctx context.Context, v view) error {
	if err := v.Delete(ctx); err != nil {
		return err
	}
	c.Forget(v.name)
	return c.Save(c.now)
}
