package lease

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestALeaseThatWasTakenAndGivenBackWithoutACheckpointIsToldOf(t *testing.T) {
	in(func(t *testing.T) {
		logs := &journal{}
		c, err := NewCoordinator(Config{
			Worker: "a", Store: NewMemory(), Streams: []stream.Stream{listed{name: "s", shards: oneShard}},
			FailoverTime: testF, HandoffTimeout: testH, Seed: 1, Logger: slog.New(logs),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		held, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.Run(ctx, func(_ context.Context, h Hold) error {
				close(held)
				<-h.Draining()
				time.Sleep(time.Second) // the end of a batch
				return nil
			})
		}()
		<-held
		stop()
		<-ended
		want := []string{"lease taken", "stopping, handing over", "lease released", "left the fleet"}
		if told := logs.order(want...); !slices.Equal(told, want) {
			t.Errorf("told: %q", told)
		}
	})(t)
}
