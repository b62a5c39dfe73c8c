package fanout_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestWhatCannotBeReadByPushIsRefused(t *testing.T) {
	m := streamtest.NewMemory("orders", 1)
	for _, c := range []struct {
		name     string
		s        stream.Stream
		consumer string
		cfg      fanout.Config
		want     []string
	}{
		{"nil", nil, "c", fanout.Config{}, []string{"stream is nil"}},
		{"no push", struct{ stream.Stream }{m}, "c", fanout.Config{}, []string{"does not push"}},
		{"no name", m, "", fanout.Config{}, []string{`consumer ""`, "name of the application"}},
		{"a long name", m, strings.Repeat("n", 129), fanout.Config{}, []string{"128"}},
		{"a name with a slash", m, "a/b", fanout.Config{}, []string{`"a/b"`}},
		{"less than nothing", m, "c", fanout.Config{BufferBytes: -1}, []string{"Config.BufferBytes is -1"}},
		{"all at once", m, " ", fanout.Config{BufferBytes: -1}, []string{`consumer " "`, "Config.BufferBytes"}},
	} {
		_, err := fanout.Use(c.s, c.consumer, c.cfg)
		if err == nil {
			t.Errorf("%s is taken", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
	if _, err := fanout.Use(m, "A-name_1.2", fanout.Config{}); err != nil {
		t.Error(err)
	}
}

func TestTheSeamsOfTheStreamBelowStayReachable(t *testing.T) {
	m := streamtest.NewMemory("orders", 1)
	type pushes struct {
		stream.Stream
		stream.Subscriber
	}
	for _, c := range []struct {
		below          stream.Stream
		puts, reshards bool
	}{
		{m, true, true},
		{pushes{m, m}, false, false},
		{struct {
			pushes
			stream.Putter
		}{pushes{m, m}, m}, true, false},
		{struct {
			pushes
			stream.Resharder
		}{pushes{m, m}, m}, false, true},
	} {
		s := stream.Stream(use(t, c.below, fanout.Config{}))
		if _, puts := s.(stream.Putter); puts != c.puts {
			t.Errorf("over %T it is a Putter: %v", c.below, puts)
		}
		if _, reshards := s.(stream.Resharder); reshards != c.reshards {
			t.Errorf("over %T it is a Resharder: %v", c.below, reshards)
		}
	}
}

func TestAllShardsShareOneRegistration(t *testing.T) {
	below := newRegistry(streamtest.NewMemory("orders", 1), 1)
	s := use(t, below, fanout.Config{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r, err := s.Open(t.Context(), shard0, stream.TrimHorizon)
			if err != nil {
				t.Error(err)
				return
			}
			r.Close()
		})
	}
	wg.Wait()
	if n := below.timesAsked(); n != 1 {
		t.Errorf("the stream was asked %d times to register, want once", n)
	}
}

func TestARegistrationThatFailedIsTriedByTheNext(t *testing.T) {
	below := newRegistry(streamtest.NewMemory("orders", 1), 1)
	why := errors.New("the network is down")
	below.failing = []error{why}
	s := use(t, below, fanout.Config{})
	if err := s.Register(t.Context()); !errors.Is(err, why) {
		t.Errorf("the first registration: %v", err)
	}
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := s.Register(cancelled); !errors.Is(err, why) {
		t.Errorf("with a context that is done: %v", err)
	}
	if err := s.Register(t.Context()); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestAStreamWithoutRoomForAConsumerIsAnErrorWithAName(t *testing.T) {
	s := use(t, newRegistry(streamtest.NewMemory("orders", 1), 0), fanout.Config{})
	if _, err := s.Open(t.Context(), shard0, stream.TrimHorizon); !errors.Is(err, stream.ErrTooManyConsumers) || !strings.Contains(err.Error(), "tester") {
		t.Errorf("open: %v", err)
	}
}

func TestFallbackPollsUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := streamtest.NewMemory("orders", 1)
		below := newRegistry(m, 1)
		if _, err := below.Register(t.Context(), "another"); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := use(t, below, fanout.Config{Fallback: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		asked := below.timesAsked()
		for range 3 {
			r := open(t, s, stream.TrimHorizon)
			put(t, m, "a record")
			if err := r.Next(t.Context(), &stream.Batch{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := below.timesAsked() - asked; n != 1 {
			t.Errorf("three shards asked %d times for room, want once", n)
		}
		if n := strings.Count(log.String(), "polled instead"); n != 1 {
			t.Errorf("the log tells %d times that shards are polled, want once: %s", n, &log)
		}
		if err := below.Deregister(t.Context(), "another"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		open(t, s, stream.TrimHorizon)
		if n := below.timesAsked() - asked; n != 2 {
			t.Errorf("after eleven minutes it was asked %d times for room, want twice", n)
		}
		if _, known := below.consumers["tester"]; !known {
			t.Error("there is room, and the consumer is not registered")
		}
	})
}

func TestAConsumerThatWasDeregisteredIsRegisteredAgain(t *testing.T) {
	m := streamtest.NewMemory("orders", 1)
	below := newRegistry(m, 1)
	s := use(t, below, fanout.Config{})
	r := open(t, s, stream.TrimHorizon)
	put(t, m, "one")
	var b stream.Batch
	if err := r.Next(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := below.Deregister(t.Context(), "tester"); err != nil { // by somebody else
		t.Fatal(err)
	}
	if err := r.Next(t.Context(), &b); !errors.Is(err, stream.ErrConsumerNotFound) {
		t.Fatalf("the subscription of a consumer that is gone: %v", err)
	}
	put(t, m, "two")
	if err := r.Next(t.Context(), &b); err != nil || string(b.Records[0].Data) != "two" {
		t.Fatalf("after that: %v, %v", b.Records, err)
	}
	if n := below.timesAsked(); n != 2 {
		t.Errorf("it was registered %d times, want twice", n)
	}
}

func TestDeregisterGivesThePlaceBack(t *testing.T) {
	below := newRegistry(streamtest.NewMemory("orders", 1), 1)
	s := use(t, below, fanout.Config{})
	if err := s.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := below.Register(t.Context(), "another"); err != nil {
		t.Errorf("the place is not free: %v", err)
	}
	if err := s.Register(t.Context()); !errors.Is(err, stream.ErrTooManyConsumers) {
		t.Errorf("what was deregistered is still taken for registered: %v", err)
	}
	// Who pushes to anybody has nothing to forget.
	if err := use(t, streamtest.NewMemory("orders", 1), fanout.Config{}).Deregister(t.Context()); err != nil {
		t.Error(err)
	}
}

// pinned counts what a stream is asked for, to open a shard.
type pinned struct {
	*streamtest.Memory
	pins   int
	opened []stream.Position
}

func (p *pinned) Pin(ctx context.Context, shard string) (stream.Position, error) {
	p.pins++
	return p.Memory.Pin(ctx, shard)
}

func (p *pinned) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	p.opened = append(p.opened, from)
	return p.Memory.Open(ctx, shard, from)
}

// In Kinesis a pin takes three requests or more.
func TestAShardThatIsOpenedAtItsEndIsPinnedOnce(t *testing.T) {
	p := &pinned{Memory: streamtest.NewMemory("orders", 1)}
	s, err := fanout.Use(p, "tester", fanout.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "shardId-000000000000", stream.Latest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if p.pins != 1 || len(p.opened) != 1 || p.opened[0] == stream.Latest {
		t.Errorf("%d pins, opened at %v", p.pins, p.opened)
	}
	if _, err := s.Open(t.Context(), "no shard", stream.Latest); !errors.Is(err, stream.ErrShardNotFound) {
		t.Error(err)
	}
}
