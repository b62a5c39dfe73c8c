package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

// These tests are about what happens when nobody looks: streams that hang,
// stores that are away for an hour and come back, requests that come late.

// listed is a stream whose answers a test writes; those that are nil hang
// until the caller gives up.
type listed struct {
	noStream
	name   string
	shards func() ([]stream.Shard, error)
	pin    func() (stream.Position, error)
}

func (l listed) Identity(context.Context) (stream.Identity, error) {
	return stream.Identity{Name: l.name, Created: time.UnixMilli(5)}, nil
}

func (l listed) Shards(ctx context.Context) ([]stream.Shard, error) {
	if l.shards == nil {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return l.shards()
}

func (l listed) Pin(ctx context.Context, _ string) (stream.Position, error) {
	if l.pin == nil {
		<-ctx.Done()
		return stream.Position{}, context.Cause(ctx)
	}
	return l.pin()
}

var quiet = slog.New(slog.DiscardHandler)

func oneShard() ([]stream.Shard, error) {
	return []stream.Shard{{ID: "0", Hash: stream.FullRange}}, nil
}

// run runs a worker for a while, that holds whatever it is given.
func runFor(t *testing.T, d time.Duration, cfg Config) {
	t.Helper()
	cfg.FailoverTime, cfg.HandoffTimeout, cfg.Seed = testF, testH, 1
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := NewCoordinator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if err := c.Run(ctx, untilDrained); err != nil {
		t.Error(err)
	}
}

func untilDrained(ctx context.Context, h Hold) error {
	select {
	case <-ctx.Done():
	case <-h.Draining():
	}
	return nil
}

func TestAStreamThatHangsDoesNotKeepTheDeadInOffice(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		dead := newActor(t, "dead", store) // never beats again
		key := owned(t, store, dead.me, "1")[0]
		var took atomic.Bool
		p := &puppet{Store: store, afterSwap: func(l Lease) error {
			if l.Key == key && strings.HasPrefix(l.Owner, "b#") && l.Term != 0 {
				took.Store(true)
			}
			return nil
		}}
		runFor(t, time.Minute, Config{Worker: "b", Store: p, Streams: []stream.Stream{listed{name: "hangs"}}})
		if !took.Load() {
			t.Error("the lease of the dead worker was not taken over in a minute")
		}
	})(t)
}

func TestAPlaceThatCannotBePinnedHoldsUpNobodyElse(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		streams := []stream.Stream{
			listed{name: "a", shards: oneShard},
			listed{name: "b", shards: oneShard, pin: func() (stream.Position, error) { return after(7), nil }},
		}
		var took atomic.Bool
		p := &puppet{Store: store, afterSwap: func(l Lease) error {
			if l.Stream == "b" && l.Term != 0 {
				took.Store(true)
			}
			return nil
		}}
		runFor(t, 3*time.Minute, Config{Worker: "w", Store: p, Streams: streams, Initial: stream.Latest})
		if !took.Load() {
			t.Error("a stream that answers is not processed, because another one hangs")
		}
	})(t)
}

func TestAStoreThatTookNoWritesForAWhileCostsNobodyHisPlace(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		var full atomic.Bool // reads go on, as on a full disk
		var fenced atomic.Int32
		p := &puppet{Store: store,
			beforeSwap: func(Lease, Lease) error {
				if full.Load() {
					return errCut
				}
				return nil
			},
			beforeSwapMember: func(Member, Member) error {
				if full.Load() {
					return errCut
				}
				return nil
			},
			afterSwapMember: func(m Member) error {
				if m.Fenced {
					fenced.Add(1)
				}
				return nil
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for i := range 20 {
			c, err := NewCoordinator(Config{
				Worker: "w" + string(rune('a'+i)), Store: p, Streams: []stream.Stream{noStream{}},
				FailoverTime: testF, HandoffTimeout: testH, Seed: uint64(i + 1), Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			workers.Go(func() {
				if err := c.Run(ctx, untilDrained); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		outages := []time.Duration{10, 11, 12, 13, 15, 20, 60, 3600}
		if testing.Short() {
			outages = outages[:7]
		}
		for _, outage := range outages {
			full.Store(true)
			time.Sleep(outage * time.Second)
			full.Store(false)
			time.Sleep(time.Minute)
		}
		if n := fenced.Load(); n != 0 {
			t.Errorf("%d of 20 workers were fenced, who could do nothing about it", n)
		}
		stop()
		workers.Wait()
	})(t)
}

func TestAnHourWithoutAStoreTakesFewLinesOfLog(t *testing.T) {
	in(func(t *testing.T) {
		var away atomic.Bool
		cut := func() error {
			if away.Load() {
				return errCut
			}
			return nil
		}
		p := &puppet{Store: NewMemory(),
			beforeSwap:       func(Lease, Lease) error { return cut() },
			beforeSwapMember: func(Member, Member) error { return cut() },
			beforeList:       cut,
		}
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		time.AfterFunc(time.Minute, func() { away.Store(true) })
		time.AfterFunc(61*time.Minute, func() { away.Store(false) })
		runFor(t, 65*time.Minute, Config{Worker: "w", Store: p, Streams: []stream.Stream{listed{name: "s", shards: oneShard}}, Logger: log})
		if n := strings.Count(said.String(), "\n"); n > 60 {
			t.Errorf("%d lines; they begin with\n%.2000s", n, said.String())
		}
		t.Log(said.String())
		if !strings.Contains(said.String(), "again") {
			t.Error("nobody says that the store is back")
		}
	})(t)
}

func TestAnEmptyListingRetiresNothing(t *testing.T) {
	rows := []Lease{rowOf("a", stream.ShardEnd), rowOf("b", after(3))}
	if s := Sync(testStream, nil, rows, stream.TrimHorizon); len(s.Retire)+len(s.Gone)+len(s.Create) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAWorkerThatWasFencedBeforeItKnewThatItHadJoinedIsOut(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		var first string
		p := &puppet{Store: store}
		p.afterSwapMember = func(m Member) error {
			if m.Worker != "w" || first != "" {
				return nil
			}
			first = m.Incarnation
			fenced := m
			fenced.Fenced = true
			if _, err := store.SwapMember(t.Context(), m, fenced); err != nil {
				t.Error(err)
			}
			return errCut // the answer to the join is lost, and the fleet waited long enough
		}
		p.beforeSwapMember = func(old, next Member) error {
			if old.Incarnation == first && first != "" && old.Fenced && next.Beats > old.Beats {
				t.Errorf("a beat over a fenced row: %+v", next)
			}
			return nil
		}
		runFor(t, time.Minute, Config{Worker: "w", Store: p, Streams: []stream.Stream{noStream{}}})
	})(t)
}

func TestATermIsNeverBegunTwice(t *testing.T) {
	in(func(t *testing.T) {
		store := NewMemory()
		p := &puppet{Store: store}
		a, key, h := holdOne(t, p)
		term := h.Term()
		lagging := row(t, store, key)
		lagging.Counter, lagging.Term = lagging.Counter-1, 0 // as it was before the take
		time.Sleep(testF)                                    // nobody beats
		synctest.Wait()
		if a.holding(key) || !errors.Is(a.cause(key), ErrExpired) {
			t.Fatal("the hold goes on")
		}
		if err := a.beatOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.owned = []Lease{lagging} // an index that lags
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.holding(key) && a.begun[key].Term() == term {
			t.Errorf("term %d was begun a second time", term)
		}
		p.owned = nil
		if err := a.pollOnce(a.life); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.holding(key) || a.begun[key].Term() <= term {
			t.Error("the lease was not taken anew")
		}
	})(t)
}

func TestAForcedHandoffEndsTheTermThoughACheckpointCameBetween(t *testing.T) {
	in(func(t *testing.T) {
		s := setStage(t)
		s.take(t)
		l := row(t, s.store, s.keys[0])
		old, err := s.store.Swap(t.Context(), l, HandedOff(l, s.b.me))
		if err != nil {
			t.Fatal(err)
		}
		next := old
		next.Checkpoint = saved(3)
		if _, err := s.store.Swap(t.Context(), old, next); err != nil {
			t.Fatal(err)
		}
		forced, err := s.leader.write(t.Context(), old, Forced(old))
		if err != nil || forced.Term != 0 || forced.CheckpointOwner != "" || forced.Checkpoint.Position != after(3) {
			t.Errorf("%v, %+v", err, forced)
		}
	})(t)
}

func TestARowThatALateLeaderCreatedAfterItsShardWasRetiredIsRetiredAgain(t *testing.T) {
	late := rowOf("a", stream.TrimHorizon)
	late.Term = 0 // nobody ever had it
	shards := []stream.Shard{shardOf("a", true), shardOf("b", false, "a")}
	for child, want := range map[stream.Position]string{after(3): "a", stream.TrimHorizon: ""} {
		s := Sync(testStream, shards, []Lease{late, rowOf("b", child, "a")}, stream.TrimHorizon)
		if got := shardsOf(s.Retire); got != want {
			t.Errorf("with a child at %v: retires %q, want %q", child, got, want)
		}
	}
}

// A worker that was slow created the rows of a shard and of its children, one
// after the other, when others had finished all of them.
func TestRowsThatCameTooLateAreRetiredTogether(t *testing.T) {
	late := []Lease{rowOf("a", stream.TrimHorizon), rowOf("b", stream.TrimHorizon, "a"), rowOf("c", stream.TrimHorizon, "a")}
	for i := range late {
		late[i].Term = 0 // nobody ever had it
	}
	shards := []stream.Shard{shardOf("a", true), shardOf("b", true, "a"), shardOf("c", true, "a"), shardOf("d", false, "b", "c")}
	for heir, want := range map[stream.Position]string{after(3): "abc", stream.TrimHorizon: ""} {
		s := Sync(testStream, shards, append(slices.Clone(late), rowOf("d", heir, "b", "c")), stream.TrimHorizon)
		if got := strings.ReplaceAll(shardsOf(s.Retire), " ", ""); got != want {
			t.Errorf("with their heir at %v: retires %q, want %q", heir, got, want)
		}
	}
}
