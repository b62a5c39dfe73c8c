package engine

import (
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestAStreamKeepsTheContract(t *testing.T) {
	kinds := map[string]func(t testing.TB) *Engine{
		"Directory": func(t testing.TB) *Engine { return openDir(t, t.TempDir(), small()) },
		"Memory":    func(t testing.TB) *Engine { return openMemory(t, small()) },
		// Every block is read back from its file.
		"NoCache": func(t testing.TB) *Engine {
			cfg := small()
			cfg.CacheBytes = 1
			return openMemory(t, cfg)
		},
		// Every log file is rewritten as soon as it is full.
		"Rewritten": func(t testing.TB) *Engine {
			cfg := small()
			cfg.CacheBytes, cfg.ChunkBytes = 1, 1
			return openDir(t, t.TempDir(), cfg)
		},
		"Relaxed": func(t testing.TB) *Engine {
			cfg := small()
			cfg.Durability = LoseOnPowerFailure
			return openDir(t, t.TempDir(), cfg)
		},
	}
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			features := streamtest.Features{Reshard: true, Subscribe: true, HashKeys: true, Retention: true, Recreate: true}
			streamtest.Run(t, features, func(t testing.TB) streamtest.Subject {
				e := open(t)
				s := ensure(t, e, "conformance", StreamConfig{Shards: streamtest.Shards})
				return streamtest.Subject{
					Stream:  s,
					Refused: []stream.Entry{{Data: []byte("without a key")}},
					Expire:  func(t testing.TB) { expireAll(t, s) },
					Recreate: func(t testing.TB) stream.Stream {
						if err := e.DeleteStream(t.Context(), "conformance"); err != nil {
							t.Fatal(err)
						}
						return ensure(t, e, "conformance", StreamConfig{Shards: streamtest.Shards})
					},
				}
			})
		})
	}
}

// expireAll makes everything that was put leave retention.
func expireAll(t testing.TB, s *Stream) {
	t.Helper()
	ctx := t.Context()
	if err := s.SetRetention(ctx, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	// The second change fixes what has left by then.
	time.Sleep(3 * time.Millisecond)
	if err := s.SetRetention(ctx, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
}
