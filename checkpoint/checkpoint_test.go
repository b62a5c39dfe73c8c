package checkpoint

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seq(n uint64) stream.Sequence { return stream.MakeSequence(0, 0, n) }

func TestThePositionIsTheLastWithEverythingBeforeItDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := NewTracker(stream.TrimHorizon)
		var lasts []stream.Sequence
		var done []bool
		var at uint64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(done) == 0 || rapid.Bool().Draw(t, "deliver") {
				at += uint64(rapid.IntRange(1, 5).Draw(t, "records"))
				if n := tr.Deliver(seq(at)); n != uint64(len(done)) {
					t.Fatalf("span number %d, want %d", n, len(done))
				}
				lasts, done = append(lasts, seq(at)), append(done, false)
			} else {
				i := rapid.IntRange(0, len(done)-1).Draw(t, "done")
				done[i] = true
				tr.Done(uint64(i))
			}
			want := stream.TrimHorizon
			open := 0
			prefix := true
			for i := range done {
				if !done[i] {
					prefix = false
					open++
				} else if prefix {
					want = stream.After(lasts[i])
				}
			}
			if got := tr.Position(); got != want {
				t.Fatalf("position %v, want %v (done: %v)", got, want, done)
			}
			if tr.InFlight() != open {
				t.Fatalf("%d in flight, want %d", tr.InFlight(), open)
			}
		}
	})
}

func TestAnUnknownSpanChangesNothing(t *testing.T) {
	tr := NewTracker(stream.TrimHorizon)
	tr.Done(7)
	if tr.Position() != stream.TrimHorizon {
		t.Fatalf("position %v", tr.Position())
	}
}

// savings is a saver that records what it was asked to store.
type savings struct {
	mu     sync.Mutex
	took   time.Duration
	err    error
	states []State
}

func (s *savings) Save(ctx context.Context, st State) error {
	s.mu.Lock()
	took, err := s.took, s.err
	s.mu.Unlock()
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = append(s.states, st)
	return nil
}

func (s *savings) positions() (p []stream.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.states {
		p = append(p, st.Position)
	}
	return p
}

func keeper(s Saver, delivered uint64) (*Keeper, *Tracker) {
	tr := NewTracker(stream.TrimHorizon)
	for n := uint64(1); n <= delivered; n++ {
		tr.Deliver(seq(n))
	}
	return NewKeeper(s, tr, State{Position: stream.TrimHorizon}), tr
}

func TestCheckpointStoresEverythingDelivered(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 3)
	if err := k.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.positions(); !slices.Equal(got, []stream.Position{stream.After(seq(3))}) {
		t.Fatalf("stored %v", got)
	}
}

func TestACheckpointBeforeAnyDeliveryStoresNothing(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 0)
	if err := errors.Join(k.Checkpoint(t.Context()), k.Save(t.Context())); err != nil || len(s.states) != 0 {
		t.Fatalf("err %v, stored %v", err, s.states)
	}
}

func TestACheckpointOutOfRangeIsRefused(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 5)
	if err := k.CheckpointAt(t.Context(), seq(6)); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("beyond the last delivered: %v", err)
	}
	if err := k.CheckpointAt(t.Context(), seq(4)); err != nil {
		t.Fatal(err)
	}
	if err := k.CheckpointAt(t.Context(), seq(3)); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("before the stored one: %v", err)
	}
	if err := k.CheckpointAt(t.Context(), seq(4)); err != nil {
		t.Errorf("the stored one again: %v", err)
	}
	if _, err := k.Prepare(t.Context(), seq(9), nil); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("prepare beyond the last delivered: %v", err)
	}
	if len(s.states) != 1 {
		t.Errorf("%d writes, want 1", len(s.states))
	}
}

func TestSaveStoresOnlyWhatIsDone(t *testing.T) {
	s := &savings{}
	k, tr := keeper(s, 3)
	tr.Done(1)
	if k.Dirty() {
		t.Error("dirty although the first span is open")
	}
	tr.Done(0)
	if !k.Dirty() {
		t.Error("not dirty although two spans are done")
	}
	if err := errors.Join(k.Save(t.Context()), k.Save(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := s.positions(); !slices.Equal(got, []stream.Position{stream.After(seq(2))}) {
		t.Fatalf("stored %v", got)
	}
}

func TestManyCallersCostOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &savings{took: time.Second}
		k, _ := keeper(s, 100)
		var wg sync.WaitGroup
		for n := uint64(1); n <= 100; n++ {
			wg.Go(func() {
				// All ask while the first write is under way.
				time.Sleep(time.Duration(n) * time.Millisecond)
				if err := k.CheckpointAt(t.Context(), seq(n)); err != nil && !errors.Is(err, ErrOutOfRange) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want := []stream.Position{stream.After(seq(1)), stream.After(seq(100))}
		if got := s.positions(); !slices.Equal(got, want) {
			t.Fatalf("stored %v, want %v", got, want)
		}
	})
}

func TestWaitingForAWriteEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &savings{took: time.Hour}
		k, _ := keeper(s, 2)
		slow, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = k.CheckpointAt(slow, seq(1)) })
		synctest.Wait()
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if err := k.Checkpoint(ctx); !errors.Is(err, cause) {
			t.Errorf("err %v, want the context's cause", err)
		}
		stop()
		wg.Wait()
	})
}

func TestTwoPhases(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 5)
	p, err := k.Prepare(t.Context(), seq(4), []byte("about to send"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.states[0]; got.Position != stream.TrimHorizon || got.Pending.Position != stream.After(seq(4)) || string(got.Pending.Data) != "about to send" {
		t.Fatalf("first phase stored %+v", got)
	}
	if err := k.CheckpointAt(t.Context(), seq(2)); err != nil {
		t.Fatal(err)
	}
	if got := s.states[1]; got.Pending.Position.IsZero() {
		t.Fatal("a checkpoint before the prepared one dropped it")
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.states[2]; got.Position != stream.After(seq(4)) || !got.Pending.Position.IsZero() || got.Pending.Data != nil {
		t.Fatalf("second phase stored %+v", got)
	}
}

func TestAFailedWriteIsWrittenAgain(t *testing.T) {
	s := &savings{err: errors.New("store away")}
	k, tr := keeper(s, 1)
	tr.Done(0)
	if err := k.Save(t.Context()); err == nil {
		t.Fatal("no error")
	}
	s.err = nil
	if err := k.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.states) != 1 {
		t.Fatalf("%d states stored", len(s.states))
	}
}

func TestTheFinalStateOfManualCheckpointsHoldsOnlyWhatWasAsked(t *testing.T) {
	s := &savings{}
	k, tr := keeper(s, 3)
	tr.Done(0)
	tr.Done(1)
	if got := k.Final(false).Position; got != stream.TrimHorizon {
		t.Errorf("manual: %v", got)
	}
	if got := k.Final(true).Position; got != stream.After(seq(2)) {
		t.Errorf("automatic: %v", got)
	}
}
