package checkpoint

import (
	"context"
	"errors"
	"reflect"
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
			prefix := true
			for i := range done {
				if !done[i] {
					prefix = false
				} else if prefix {
					want = stream.After(lasts[i])
				}
			}
			if got := tr.Position(); got != want {
				t.Fatalf("position %v, want %v (done: %v)", got, want, done)
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
	if err := k.Save(t.Context()); err != nil || len(s.states) != 0 {
		t.Fatalf("err %v, stored %v although the first span is open", err, s.states)
	}
	tr.Done(0)
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

// A note that the store has no room for would keep every later checkpoint out, too.
func TestANoteThatHasNoRoomIsGivenUp(t *testing.T) {
	s := &savings{err: ErrTooLarge}
	k, tr := keeper(s, 3)
	if _, err := k.Prepare(t.Context(), seq(3), []byte("long")); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("prepare: %v", err)
	}
	s.err = nil
	tr.Done(0)
	if err := k.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.states[len(s.states)-1]; !got.Pending.Position.IsZero() || got.Pending.Data != nil {
		t.Errorf("stored %+v", got)
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

func TestTheEndOfATermStoresWhatIsDoneAndWhatWasAsked(t *testing.T) {
	for done, want := range map[bool]stream.Position{
		false: stream.After(seq(1)), // manual: only what was asked for
		true:  stream.After(seq(2)),
	} {
		s := &savings{}
		k, tr := keeper(s, 3)
		if err := k.CheckpointAt(t.Context(), seq(1)); err != nil {
			t.Fatal(err)
		}
		tr.Done(0)
		tr.Done(1)
		s.err = errors.New("store away")
		if err := k.Finish(t.Context(), done, s.Save); !errors.Is(err, s.err) {
			t.Fatal(err)
		}
		s.err = nil
		if err := k.Finish(t.Context(), done, s.Save); err != nil {
			t.Fatal(err)
		}
		if got := s.states[len(s.states)-1].Position; got != want {
			t.Errorf("done %v: the term ended at %v, want %v", done, got, want)
		}
	}
}

func TestAPrepareBesideTheEndOfTheTermIsNotOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &savings{took: time.Second}
		k, _ := keeper(s, 3)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := k.Prepare(t.Context(), seq(3), []byte("note")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // the write of the prepared checkpoint is under way
		if err := k.Finish(t.Context(), true, s.Save); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if last := s.states[len(s.states)-1]; len(s.states) != 2 || string(last.Pending.Data) != "note" {
			t.Errorf("stored %+v", s.states)
		}
	})
}

func TestCheckpointLeavesOutABatchThatFailed(t *testing.T) {
	s := &savings{}
	k, tr := keeper(s, 1)
	tr.Done(0)
	n := tr.Deliver(seq(5))
	check := func(want stream.Position) {
		t.Helper()
		if err := k.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.states[len(s.states)-1].Position; got != want {
			t.Fatalf("stored %v, want %v", got, want)
		}
	}
	tr.Failed(n, true)
	check(stream.After(seq(1)))
	// The processor may know how far it got all the same.
	if err := k.CheckpointAt(t.Context(), seq(3)); err != nil {
		t.Fatal(err)
	}
	tr.Failed(n, false) // the next attempt, in which the processor may call it done
	check(stream.After(seq(5)))
	tr.Failed(n+7, true) // an unknown span changes nothing
	check(stream.After(seq(5)))
}

func TestCommitHasNothingToDoWhenTheCheckpointIsBeyond(t *testing.T) {
	s := &savings{}
	k, tr := keeper(s, 5)
	p, err := k.Prepare(t.Context(), seq(3), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(5) {
		tr.Done(n)
	}
	if err := errors.Join(k.Save(t.Context()), p.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(s.states) != 2 || s.states[1].Position != stream.After(seq(5)) || !s.states[1].Pending.Position.IsZero() {
		t.Errorf("stored %+v", s.states)
	}
}

func TestWhatIsPreparedAtTheCheckpointItselfIsCommittedToo(t *testing.T) {
	s := &savings{}
	k, _ := keeper(s, 5)
	if err := k.CheckpointAt(t.Context(), seq(5)); err != nil {
		t.Fatal(err)
	}
	p, err := k.Prepare(t.Context(), seq(5), []byte("the last report"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []State{
		{Position: stream.After(seq(5))},
		{Position: stream.After(seq(5)), Pending: Pending{stream.After(seq(5)), []byte("the last report")}},
		{Position: stream.After(seq(5))},
	}
	if !reflect.DeepEqual(s.states, want) {
		t.Errorf("stored %+v, want %+v", s.states, want)
	}
}

// However checkpoints are asked for, alone and in two phases, what is stored
// never goes back, never passes what was delivered, and holds a pending
// checkpoint only beyond itself or at its own place.
func TestWhatIsStoredNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &savings{}
		tr := NewTracker(stream.TrimHorizon)
		k := NewKeeper(s, tr, State{Position: stream.TrimHorizon})
		var delivered uint64
		var spans []uint64
		var open []Prepared
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			at := seq(uint64(rapid.IntRange(0, int(delivered)+2).Draw(t, "at")))
			s.err = nil
			if rapid.IntRange(0, 4).Draw(t, "store") == 0 {
				s.err = errors.New("store away")
			}
			var err error
			switch ctx := context.Background(); rapid.SampledFrom([]string{"deliver", "done", "failed", "save", "checkpoint", "at", "prepare", "commit"}).Draw(t, "step") {
			case "deliver":
				delivered += uint64(rapid.IntRange(1, 5).Draw(t, "records"))
				spans = append(spans, tr.Deliver(seq(delivered)))
			case "done":
				if len(spans) > 0 {
					tr.Done(rapid.SampledFrom(spans).Draw(t, "span"))
				}
			case "failed":
				if len(spans) > 0 {
					tr.Failed(rapid.SampledFrom(spans).Draw(t, "span"), rapid.Bool().Draw(t, "failed"))
				}
			case "save":
				err = k.Save(ctx)
			case "checkpoint":
				err = k.Checkpoint(ctx)
			case "at":
				err = k.CheckpointAt(ctx, at)
			case "prepare":
				var p Prepared
				if p, err = k.Prepare(ctx, at, nil); err == nil {
					open = append(open, p)
				}
			case "commit":
				if len(open) > 0 {
					err = rapid.SampledFrom(open).Draw(t, "prepared").Commit(ctx)
				}
			}
			if err != nil && !errors.Is(err, s.err) && !errors.Is(err, ErrOutOfRange) {
				t.Fatal(err)
			}
		}
		last := State{Position: stream.TrimHorizon}
		for _, st := range s.states {
			if st.Position.Compare(last.Position) < 0 {
				t.Fatalf("stored %v after %v", st.Position, last.Position)
			}
			if st.Position.Compare(stream.After(seq(delivered))) > 0 {
				t.Fatalf("stored %v, delivered up to %d", st.Position, delivered)
			}
			if p := st.Pending.Position; !p.IsZero() && p.Compare(st.Position) < 0 {
				t.Fatalf("pending %v, before the checkpoint %v", p, st.Position)
			}
			last = st
		}
	})
}
