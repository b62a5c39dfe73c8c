package lease

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/stream"
)

// These tests are about rows that another program, or a person, has written: they
// have no terms, begin at LATEST, or can be read by nobody.

// inherited is a row that another program has written.
func inherited(id string, at stream.Position, parents ...string) Lease {
	l := rowOf(id, at, parents...)
	l.Term = 0
	return l
}

// The other program stopped in the middle of a shard whose child was begun: since
// the row of the parent had been deleted for a while, for example.
func TestARowOfAnotherProgramIsNoneThatCameTooLate(t *testing.T) {
	shards := []stream.Shard{shardOf("a", true), shardOf("b", false, "a")}
	for at, want := range map[stream.Position]string{after(2): "", stream.TrimHorizon: "a", stream.ShardEnd: "a"} {
		s := Sync(testStream, shards, []Lease{inherited("a", at), inherited("b", after(3), "a")}, stream.TrimHorizon)
		if got := shardsOf(s.Retire); got != want {
			t.Errorf("a parent at %v whose child has begun: retires %q, want %q", at, got, want)
		}
	}
}

func TestOnlyRowsAtLatestThatNobodyHoldsAreToBePinned(t *testing.T) {
	held := rowOf("b", stream.Latest)
	shards := []stream.Shard{shardOf("a", false), shardOf("b", false), shardOf("c", false)}
	s := Sync(testStream, shards, []Lease{inherited("a", stream.Latest), held, inherited("c", stream.TrimHorizon), inherited("gone", stream.Latest)}, stream.Latest)
	if got := shardsOf(s.Pin); got != "a" {
		t.Errorf("to be pinned are %q, want a", got)
	}
	shards = []stream.Shard{shardOf("a", true), shardOf("b", false, "a")}
	s = Sync(testStream, shards, []Lease{inherited("a", stream.Latest), rowOf("b", after(3), "a")}, stream.Latest)
	if shardsOf(s.Retire) != "a" || len(s.Pin) > 0 {
		t.Errorf("a row that came too late: retires %q and pins %q", shardsOf(s.Retire), shardsOf(s.Pin))
	}
}

func TestARowThatSaysLatestIsGivenToNobodyBeforeItIsPinned(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		for _, id := range []string{"a", "b"} {
			row := inherited(id, stream.Latest)
			row.Owner = "java" // which is no member of this fleet
			if err := store.Create(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex // guards answers
		answers := 0
		s := listed{name: "s",
			shards: func() ([]stream.Shard, error) { return []stream.Shard{shardOf("a", false), shardOf("b", false)}, nil },
			pin: func() (stream.Position, error) {
				mu.Lock()
				defer mu.Unlock()
				if answers++; answers == 1 {
					return stream.Position{}, errCut
				}
				return after(7), nil
			}}
		taken := map[string]bool{}
		var log bytes.Buffer
		p := &puppet{Store: store, afterSwap: func(l Lease) error {
			if l.Owner != "java" && l.Checkpoint.Position == stream.Latest {
				t.Errorf("%s was given to %q at LATEST", l.Key, l.Owner)
			}
			if l.Term != 0 {
				mu.Lock()
				taken[l.Key] = true
				mu.Unlock()
			}
			return nil
		}}
		runFor(t, time.Minute, Config{Worker: "w", Store: p, Streams: []stream.Stream{s}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for _, id := range []string{"a", "b"} {
			if l := row(t, store, Key(testStream.ID(), id)); l.Checkpoint.Position != after(7) || !taken[l.Key] {
				t.Errorf("%s is at %v, taken: %v", l.Key, l.Checkpoint.Position, taken[l.Key])
			}
		}
		if !strings.Contains(log.String(), "cannot pin the latest position") {
			t.Errorf("nobody was told of the place that could not be pinned:\n%s", &log)
		}
	})(t)
}

// The leader that began to look after the stream died before it could pin the row,
// and the next one does not reach the stream.
func TestARowThatSaysLatestIsGivenToNobodyWhileItsStreamHangs(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		given := inherited("b", stream.Latest)
		given.Owner = "java" // which is no member of this fleet
		if err := store.Create(t.Context(), inherited("a", stream.Latest), given); err != nil {
			t.Fatal(err)
		}
		runFor(t, 2*time.Minute, Config{Worker: "w", Store: store, Streams: []stream.Stream{listed{name: "s"}}})
		for _, id := range []string{"a", "b"} {
			if l := row(t, store, Key(testStream.ID(), id)); l.Counter != 0 {
				t.Errorf("the row is %+v", l)
			}
		}
	})(t)
}

// unreadable is a store in which the row of one key lies and cannot be read.
type unreadable struct {
	Store
	key string

	mu    sync.Mutex // guards scans
	scans int
}

func (s *unreadable) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	s.mu.Lock()
	s.scans++
	s.mu.Unlock()
	return func(yield func(Lease, error) bool) {
		for row, err := range s.Store.Leases(ctx) {
			if row.Key != s.key && !yield(row, err) {
				return
			}
		}
	}
}

func (s *unreadable) Create(ctx context.Context, rows ...Lease) error {
	return s.Store.Create(ctx, slices.DeleteFunc(slices.Clone(rows), func(l Lease) bool { return l.Key == s.key })...)
}

func TestARowThatCannotBeReadCostsOneMoreLookAndIsToldOf(t *testing.T) {
	in(func(t *testing.T) {
		halves := stream.SplitHashSpace(2)
		shards := []stream.Shard{{ID: "a", Hash: halves[0]}, {ID: "b", Hash: halves[1]}}
		store := &unreadable{Store: NewMemory(), key: Key(testStream.ID(), "b")}
		l, log := leading(t, store, func() ([]stream.Shard, error) { return shards, nil })
		defer l.calls.Wait()
		const passes = 20
		for range passes {
			if err := l.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(l.cfg.PlanInterval)
		}
		if store.scans != passes+1 {
			t.Errorf("%d passes took %d scans, want one more", passes, store.scans)
		}
		if l := row(t, store, Key(testStream.ID(), "a")); l.Owner == "" {
			t.Error("the other shard was given to nobody")
		}
		if n := strings.Count(log.String(), "lease="+store.key); n != 1 {
			t.Errorf("a person is told of the row %d times, want once:\n%s", n, log)
		}
		if n := strings.Count(log.String(), "leases created"); n != 1 {
			t.Errorf("the log tells %d times of leases that were created, want once", n)
		}
	})(t)
}

// heir is a store that is told of present incarnations.
type heir struct {
	Store
	told []stream.Identity
}

func (h *heir) Inherit(id stream.Identity) { h.told = append(h.told, id) }

func (h *heir) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	if len(h.told) == 0 {
		return func(yield func(Lease, error) bool) {
			yield(Lease{}, errors.New("the leases are listed before the store is told of the stream"))
		}
	}
	return h.Store.Leases(ctx)
}

func TestAStoreThatInheritsIsToldOfTheStreamBeforeItListsLeases(t *testing.T) {
	in(func(t *testing.T) {
		store := &heir{Store: NewMemory()}
		l, _ := leading(t, store, oneShard)
		defer l.calls.Wait()
		if err := l.pass(t.Context()); err != nil || store.told[0] != testStream {
			t.Errorf("told of %v, error %v", store.told, err)
		}
	})(t)
}

// trickling is a store that yields one row in a while, as a table does that is
// short of capacity.
type trickling struct {
	Store
	every time.Duration // a hundred rows
}

func (s trickling) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		n := 0
		for row, err := range s.Store.Leases(ctx) {
			if n++; n%100 == 0 && !wait(ctx, s.every, nil) {
				yield(Lease{}, context.Cause(ctx))
				return
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func TestALongListOfLeasesIsReadForAsLongAsItGoesOn(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		for i := range 2000 {
			if err := store.Create(t.Context(), rowOf(string(rune('a'+i)), stream.TrimHorizon)); err != nil {
				t.Fatal(err)
			}
		}
		for every, want := range map[time.Duration]error{testF: nil, 4 * testF: errSlow} {
			c, err := NewCoordinator(Config{Worker: "w", Store: trickling{store, every}, Streams: []stream.Stream{noStream{}}, FailoverTime: testF, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			rows, err := newSession(c, nil).newLeader(nil).leases(t.Context())
			if !errors.Is(err, want) || want == nil && len(rows) != 2000 {
				t.Errorf("a hundred rows in %v: %d rows, error %v, want %v", every, len(rows), err, want)
			}
		}
	})(t)
}

// A leader that cannot write must not keep the office, or nobody hears of it.
func TestAPassInWhichNothingCouldBeWrittenFails(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		p := &puppet{Store: store, beforeSwap: func(Lease, Lease) error { return errCut }}
		l, _ := leading(t, p, oneShard)
		defer l.calls.Wait()
		if err := l.pass(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("got error %v, want %v", err, errCut)
		}
	})(t)
}

// A note that has no room is refused once, and checkpoints without it go on.
func TestACheckpointThatHasNoRoomIsNotTriedAgain(t *testing.T) {
	in(func(t *testing.T) {
		tries := 0
		p := &puppet{Store: NewMemory(), beforeSwap: func(_, next Lease) error {
			if len(next.Checkpoint.Pending.Data) > 0 {
				tries++
				return checkpoint.ErrTooLarge
			}
			return nil
		}}
		_, _, h := holdOne(t, p)
		state := checkpoint.State{Position: after(1), Pending: checkpoint.Pending{Position: after(2), Data: []byte("long")}}
		if err := h.Save(t.Context(), state); !errors.Is(err, checkpoint.ErrTooLarge) || tries != 1 {
			t.Errorf("error %v after %d tries, want %v after one", err, tries, checkpoint.ErrTooLarge)
		}
		if err := h.Save(t.Context(), checkpoint.State{Position: after(1)}); err != nil {
			t.Error(err)
		}
	})(t)
}
