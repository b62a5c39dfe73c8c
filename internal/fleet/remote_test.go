package fleet

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestMain(m *testing.M) {
	Main()
	goleak.VerifyTestMain(m)
}

// writable is a remote stream with the engine's own ways to change it.
type writable struct {
	*remote
	stream.Putter
	stream.Resharder
}

func TestTheRemoteStreamKeepsTheContract(t *testing.T) {
	streamtest.Run(t, streamtest.Features{Reshard: true, HashKeys: true}, func(t testing.TB) streamtest.Subject {
		e, err := engine.OpenMemory(engine.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.EnsureStream(t.Context(), "conformance", engine.StreamConfig{Shards: streamtest.Shards})
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewHost(t.TempDir(), s)
		if err != nil {
			t.Fatal(err)
		}
		r, err := dial(h.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for _, end := range []func() error{r.close, h.Close, e.Close} {
				if err := end(); err != nil {
					t.Error(err)
				}
			}
		})
		return streamtest.Subject{Stream: writable{r, s, s}}
	})
}

func TestWhoNamesNoStoreIsToldSo(t *testing.T) {
	_, _, err := order{}.open(t.Context())
	if err == nil {
		t.Error("a worker without a store is taken")
	}
}

func TestAProgramThatIsNoWorkerGoesOn(t *testing.T) {
	if os.Getenv(envOrder) != "" {
		t.Fatal("this is a worker")
	}
	Main()
}
