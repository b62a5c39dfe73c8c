package fanout_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/fanout"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// everything is what the streams below can do.
var everything = streamtest.Features{Reshard: true, Subscribe: true, HashKeys: true, Retention: true, Recreate: true}

func memorySubject(t testing.TB, wrap func(*streamtest.Memory) stream.Stream, cfg fanout.Config) streamtest.Subject {
	m := streamtest.NewMemory("orders", streamtest.Shards)
	return streamtest.Subject{
		Stream:  use(t, wrap(m), cfg),
		Refused: []stream.Entry{{Data: []byte("without a key")}},
		Expire: func(t testing.TB) {
			if err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Recreate: func(testing.TB) stream.Stream { return use(t, wrap(m.Recreate(streamtest.Shards)), cfg) },
	}
}

// kinds are streams that push, and how they are read.
var kinds = map[string]func(t testing.TB) streamtest.Subject{
	"Subscriber": func(t testing.TB) streamtest.Subject {
		return memorySubject(t, func(m *streamtest.Memory) stream.Stream { return m }, fanout.Config{})
	},
	"Registrar": func(t testing.TB) streamtest.Subject {
		return memorySubject(t, func(m *streamtest.Memory) stream.Stream { return newRegistry(m, 1) }, fanout.Config{})
	},
	"SmallBuffer": func(t testing.TB) streamtest.Subject {
		return memorySubject(t, func(m *streamtest.Memory) stream.Stream { return m }, fanout.Config{BufferBytes: 1})
	},
	"Fallback": func(t testing.TB) streamtest.Subject {
		return memorySubject(t, func(m *streamtest.Memory) stream.Stream { return newRegistry(m, 0) }, fanout.Config{Fallback: true})
	},
}

func TestAStreamReadByPushKeepsTheContract(t *testing.T) {
	for name, subject := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			streamtest.Run(t, everything, subject)
		})
	}
}

func TestAStreamReadByPushKeepsTheContractInVirtualTime(t *testing.T) {
	for _, scenario := range streamtest.Scenarios(everything) {
		t.Run(scenario.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { scenario.Run(t, kinds["Registrar"](t)) })
		})
	}
}

func TestAnEngineReadByPushKeepsTheContract(t *testing.T) {
	cfg := engine.Config{SegmentBytes: 64 << 10, MinRetention: time.Millisecond, Logger: silent}
	streamtest.Run(t, everything, func(t testing.TB) streamtest.Subject {
		e, err := engine.OpenMemory(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		ensure := func() *engine.Stream {
			s, err := e.EnsureStream(t.Context(), "orders", engine.StreamConfig{Shards: streamtest.Shards})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := ensure()
		return streamtest.Subject{
			Stream:  use(t, s, fanout.Config{}),
			Refused: []stream.Entry{{Data: []byte("without a key")}},
			Expire: func(t testing.TB) {
				// The second change fixes what has left retention by then.
				for _, retention := range []time.Duration{time.Millisecond, 24 * time.Hour} {
					if err := s.SetRetention(t.Context(), retention); err != nil {
						t.Fatal(err)
					}
					<-time.After(3 * time.Millisecond)
				}
			},
			Recreate: func(t testing.TB) stream.Stream {
				if err := e.DeleteStream(t.Context(), "orders"); err != nil {
					t.Fatal(err)
				}
				return use(t, ensure(), fanout.Config{})
			},
		}
	})
}
