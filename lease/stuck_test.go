package lease

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// told is what a person is told.
type told struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// lines counts those that have all of these parts.
func (w *told) lines(parts ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
lines:
	for line := range strings.Lines(w.text.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		n++
	}
	return n
}

// stuckFleet is worker a, who has six shards and does not return from the callback
// of one, 3, though its context is cancelled, until let is closed.
type stuckFleet struct {
	store    Store
	cut      atomic.Bool // a cannot reach the store
	let      chan struct{}
	mu       sync.Mutex
	terms    map[string][]string // worker and shard: the terms' incarnations, in order
	running  map[string]int      // callbacks of worker and shard that run
	overlaps int                 // callbacks that began while another one of that worker and shard ran
	told     told
	workers  sync.WaitGroup
	ctx      context.Context
	stop     context.CancelFunc
}

func newStuckFleet(t *testing.T) *stuckFleet {
	f := &stuckFleet{store: NewMemory(), let: make(chan struct{}), terms: map[string][]string{}, running: map[string]int{}}
	f.ctx, f.stop = context.WithCancel(t.Context())
	return f
}

func (f *stuckFleet) start(t *testing.T, name string) *Coordinator {
	t.Helper()
	away := func() error {
		if name == "a" && f.cut.Load() {
			return errCut
		}
		return nil
	}
	c, err := NewCoordinator(Config{
		Worker: name, Streams: []stream.Stream{listed{name: "s", shards: sixShards}},
		Store: &puppet{
			Store: f.store, beforeList: away,
			beforeSwap:       func(Lease, Lease) error { return away() },
			beforeSwapMember: func(Member, Member) error { return away() },
		},
		FailoverTime: testF, HandoffTimeout: testH, Drain: testF, Seed: uint64(name[0]), Logger: slog.New(slog.NewTextHandler(&f.told, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.workers.Go(func() { _ = c.Run(f.ctx, func(ctx context.Context, h Hold) error { return f.hold(ctx, name, h) }) })
	return c
}

func (f *stuckFleet) hold(ctx context.Context, name string, h Hold) error {
	key := name + " " + h.Lease().Shard
	f.mu.Lock()
	f.terms[key] = append(f.terms[key], h.Lease().Owner)
	f.running[key]++
	if f.running[key] > 1 {
		f.overlaps++
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[key]--
		f.mu.Unlock()
	}()
	if key == "a 3" {
		<-f.let
	}
	return untilDrained(ctx, h)
}

// active returns how many callbacks of a worker run, and how many terms it has had
// on shard 3.
func (f *stuckFleet) active(name string) (running, onThree int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, n := range f.running {
		if strings.HasPrefix(key, name+" ") {
			running += n
		}
	}
	return running, len(f.terms[name+" 3"])
}

const stuckError = "a callback does not return though its context is cancelled"

func TestACallbackThatIgnoresItsContextHoldsUpItsOwnShardAlone(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, f *stuckFleet, a *Coordinator){
		"after an outage": func(_ *testing.T, f *stuckFleet, _ *Coordinator) {
			f.cut.Store(true)
			time.Sleep(2 * testF)
			f.cut.Store(false)
		},
		"in a long outage": func(_ *testing.T, f *stuckFleet, _ *Coordinator) {
			f.cut.Store(true)
			time.Sleep(10 * time.Minute)
			f.cut.Store(false)
		},
		"when it was fenced": func(t *testing.T, f *stuckFleet, a *Coordinator) {
			fence(t, f.store, a.Status().Incarnation)
		},
	} {
		t.Run(name, in(func(t *testing.T) {
			f := newStuckFleet(t)
			a := f.start(t, "a")
			time.Sleep(time.Minute)
			first := a.Status().Incarnation
			harm(t, f, a)
			time.Sleep(2 * time.Minute)
			if running, terms := f.active("a"); running != 6 || terms != 1 {
				t.Errorf("%d callbacks run, and shard 3 was begun %d times; want the five others, and the one that is stuck", running, terms)
			}
			if now := a.Status().Incarnation; now == first {
				t.Error("it has not come back as a new incarnation")
			}
			if n := f.told.lines("level=ERROR", stuckError, "shard=3", "callback=", "since="); n < 3 || n > 16 {
				t.Errorf("a person is told %d times what is stuck", n)
			}
			stuck := 0
			for _, l := range a.Status().Leases {
				if l.State == "stuck" && l.Lease.Shard == "3" && l.Blocked.Stuck {
					stuck++
				}
			}
			if stuck != 1 {
				t.Errorf("its status: %+v", a.Status().Leases)
			}
			time.Sleep(2 * time.Hour)
			if n := f.told.lines("level=ERROR", stuckError); n < 15 || n > 30 {
				t.Errorf("in two hours a person is told %d times what is stuck", n)
			}

			close(f.let)
			time.Sleep(time.Minute)
			if running, terms := f.active("a"); running != 6 || terms != 2 || f.overlaps > 0 {
				t.Errorf("when it has returned %d callbacks run, shard 3 was begun %d times, %d overlapped", running, terms, f.overlaps)
			}
			f.stop()
			f.workers.Wait()
		}))
	}
}

func TestTheShardOfACallbackThatIsStuckGoesToAnotherWorker(t *testing.T) {
	in(func(t *testing.T) {
		f := newStuckFleet(t)
		f.start(t, "a")
		time.Sleep(time.Minute)
		f.cut.Store(true)
		time.Sleep(2 * testF)
		f.cut.Store(false)
		time.Sleep(5 * time.Minute) // a has it again, and cannot take it
		f.start(t, "b")
		time.Sleep(5 * time.Minute)
		if running, terms := f.active("b"); running != 3 || terms != 1 {
			t.Errorf("b has %d shards, and has begun shard 3 %d times", running, terms)
		}
		if running, terms := f.active("a"); running != 1+3 || terms != 1 {
			t.Errorf("a has %d shards besides the one that is stuck, which it has begun %d times", running-1, terms)
		}
		close(f.let)
		time.Sleep(time.Minute)
		f.stop()
		f.workers.Wait()
		if f.overlaps > 0 {
			t.Errorf("%d callbacks of one worker overlapped", f.overlaps)
		}
	})(t)
}

func TestAWorkerThatStopsWaitsForWhatIsStuck(t *testing.T) {
	in(func(t *testing.T) {
		f := newStuckFleet(t)
		a := f.start(t, "a")
		time.Sleep(time.Minute)
		fence(t, f.store, a.Status().Incarnation)
		time.Sleep(5 * time.Minute)
		f.stop()
		time.Sleep(5 * time.Minute)
		if running, _ := f.active("a"); running != 1 {
			t.Errorf("%d callbacks run when it has stopped but for the one that is stuck", running)
		}
		ended := make(chan struct{})
		go func() {
			f.workers.Wait()
			close(ended)
		}()
		select {
		case <-ended:
			t.Error("Run has returned before a callback that it began")
		case <-time.After(time.Minute):
		}
		close(f.let)
		<-ended
	})(t)
}

func TestWhatAWorkerCannotTakeIsGivenToNobodyThere(t *testing.T) {
	members := []Member{
		{Incarnation: "a#2", Blocked: NewBlockedSet(Blocked{Key: "k", What: "process records", Since: time.UnixMilli(5), Stuck: true})},
		{Incarnation: "b#1", Blocked: NewBlockedSet(Blocked{Key: "k", What: "process records", Since: time.UnixMilli(5)}), MaxLeases: 1},
	}
	free, had := Lease{Key: "k"}, Lease{Key: "k", Owner: "a#2"}
	for name, test := range map[string]struct {
		leases  []Lease
		members []Member
		want    string
	}{
		"nobody has it":            {[]Lease{free}, members, "b#1"},
		"it has it":                {[]Lease{had}, members, "b#1"},
		"who has it is blocked":    {[]Lease{{Key: "k", Owner: "b#1"}}, members, ""},
		"nobody else lives":        {[]Lease{had}, members[:1], ""},
		"everybody else is full":   {[]Lease{had, {Key: "l", Owner: "b#1"}}, members, ""},
		"another one is its equal": {[]Lease{{Key: "j", Owner: "a#2"}}, members, ""},
	} {
		to := ""
		for _, m := range Plan(View{Leases: test.leases, Members: test.members}) {
			to += m.To
		}
		if to != test.want {
			t.Errorf("%s: it goes to %q, want %q", name, to, test.want)
		}
	}
}

func TestABlockedSetNamesManyThatAreStuck(t *testing.T) {
	var all []Blocked
	for i := range 100 {
		all = append(all, Blocked{Key: strings.Repeat("k", i), Since: time.Unix(int64(i), 0), Stuck: i%2 == 0})
	}
	set := NewBlockedSet(all...)
	if n := len(set.Stuck()); n != 32 {
		t.Errorf("it names %d", n)
	}
	if longest, more := set.Longest(); len(longest) != 3 || more != 97 || !longest[0].Stuck || longest[1].Stuck {
		t.Errorf("%v and %d", longest, more)
	}
	if BlockedSet("{").Stuck() != nil {
		t.Error("what it cannot understand names some")
	}
}
