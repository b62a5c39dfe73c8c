package kinesis

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestAFleetRegistersOneConsumerAndWaitsUntilItIsActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		var wg sync.WaitGroup
		begin := time.Now()
		for range 20 {
			wg.Go(func() {
				s, err := New(served(t, f), "orders", Config{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Register(t.Context(), "tester"); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took < 8*time.Second || took > 15*time.Second {
					t.Errorf("it took %v; the consumer is ACTIVE after 8 s", took)
				}
			})
		}
		wg.Wait()
		if f.registers != 1 || len(f.consumers) != 1 {
			t.Errorf("%d consumers were made, want one", f.registers)
		}
	})
}

func TestAStreamFullOfConsumersSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		for _, name := range strings.Split("abcdefghijklmnopqrst", "") {
			f.consumers[name] = &fakeConsumer{}
		}
		s, err := New(served(t, f), "orders", Config{})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := s.Register(t.Context(), "tester"); !errors.Is(err, stream.ErrTooManyConsumers) || !strings.Contains(err.Error(), "20 consumers") {
			t.Errorf("register: %v", err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		// Who asked too often, and is told so in the same way, tries again.
		f.consumers, f.places = map[string]*fakeConsumer{}, 0
		time.AfterFunc(20*time.Second, func() { f.change(func() { f.places = 20 }) })
		if _, err := s.Register(t.Context(), "tester"); err != nil {
			t.Errorf("register, throttled: %v", err)
		}
	})
}

func TestAConsumerThatIsDeregisteredIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		s, _ := subscribed(t, f, Config{})
		begin := time.Now()
		if err := s.Deregister(t.Context(), "tester"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("it took %v; the consumer is gone after 3 s", took)
		}
		if err := s.Deregister(t.Context(), "tester"); err != nil {
			t.Errorf("one that is not there: %v", err)
		}
		// Who comes while it goes waits for that, and registers it anew.
		if _, err := s.Register(t.Context(), "tester"); err != nil {
			t.Fatal(err)
		}
		f.change(func() { f.consumers["tester"].gone = time.Now().Add(5 * time.Second) })
		if _, err := s.Register(t.Context(), "tester"); err != nil || f.registers != 3 {
			t.Errorf("register while it goes: %v, %d were made", err, f.registers)
		}
	})
}

func TestAConsumerThatDoesNotBecomeActiveIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPushService()
		f.consumers["tester"] = &fakeConsumer{ready: time.Now().Add(time.Hour)}
		s, err := New(served(t, f), "orders", Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Register(t.Context(), "tester"); err == nil || !strings.Contains(err.Error(), "not ready after 2m0s") {
			t.Errorf("register: %v", err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errEnough)
		defer cancel()
		if _, err := s.Register(ctx, "tester"); !errors.Is(err, errEnough) {
			t.Errorf("register for a second: %v", err)
		}
	})
}

func TestAClientWithoutConsumersIsRefused(t *testing.T) {
	s, err := New(struct{ Client }{pushClient("http://127.0.0.1:1", http.DefaultClient)}, "orders", Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(t.Context(), "tester"); err == nil || !strings.Contains(err.Error(), "no operations for consumers") {
		t.Errorf("register: %v", err)
	}
}
