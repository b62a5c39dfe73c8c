package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
	"github.com/millrace/millrace/stream"
)

func TestAWorkerThatLosesItsPresenceStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall()
		link := leasetest.NewFaulty(lease.NewMemory(), leasetest.Faults{})
		c, err := lease.NewCoordinator(lease.Config{
			Worker: "w", Store: &attendant{link, h}, Streams: []stream.Stream{newScript("s", 1)},
			Logger: slog.New(slog.DiscardHandler), Seed: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		holds := make(chan context.Context, 2)
		go func() {
			defer close(ended)
			defer link.Wait()
			_ = c.Run(ctx, func(ctx context.Context, l lease.Hold) error {
				holds <- ctx
				select {
				case <-ctx.Done():
				case <-l.Draining():
				}
				return context.Cause(ctx)
			})
		}()
		first := <-holds
		before := c.Status().Incarnation
		h.close("w")
		synctest.Wait()
		if cause := context.Cause(first); !errors.Is(cause, lease.ErrAbsent) || !errors.Is(cause, checkpoint.ErrLeaseLost) {
			t.Errorf("the hold ended with %v, want %v", cause, lease.ErrAbsent)
		}
		began := time.Now()
		select {
		case <-holds: // of the next incarnation
		case <-time.After(time.Minute):
		}
		if took := time.Since(began); took > time.Minute/2 || c.Status().Incarnation == before {
			t.Errorf("%s is back as %s after %v", before, c.Status().Incarnation, took)
		}
		stop()
		<-ended
	})
}
