package postgres

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

var fast = Config{Application: "app", FastFailover: true}

// attend makes an incarnation present and joins it.
func attend(t *testing.T, s *Store, incarnation string) (leave func(), lost <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	there, ended := make(chan struct{}), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { ended <- s.Attend(ctx, incarnation, steady, func() { close(there) }) })
	leave = func() { cancel(); wg.Wait() }
	t.Cleanup(leave)
	select {
	case <-there:
	case err := <-ended:
		t.Fatal(err)
	}
	join(t, s, incarnation)
	return leave, ended
}

func join(t *testing.T, s *Store, incarnation string) {
	t.Helper()
	if _, err := s.SwapMember(t.Context(), lease.Member{}, lease.Member{Incarnation: incarnation}); err != nil {
		t.Fatal(err)
	}
}

func endedFor(t *testing.T, s *Store, observer string, incarnations ...string) string {
	t.Helper()
	ended, err := s.Ended(t.Context(), observer, incarnations...)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ended)
	return strings.Join(ended, " ")
}

func TestOnlyWhoWasPresentAndIsSoNoMoreHasEnded(t *testing.T) {
	server := testpg.Shared(t)
	s := open(t, server, fast)
	other := beside(t, server, Config{Application: "app", Schema: s.schema, FastFailover: true}, in(modes["Simple"]))
	attend(t, s, "observer")
	leaveA, _ := attend(t, s, "a")
	leaveB, _ := attend(t, other, "b")
	join(t, s, "never") // one without FastFailover, as in the middle of a rollout
	all := []string{"a", "b", "never", "observer"}
	if got := endedFor(t, s, "observer", all...); got != "" {
		t.Fatalf("ended: %q, want none", got)
	}
	leaveA()
	until(t, "a has ended", func() bool { return endedFor(t, s, "observer", all...) == "a" })
	if got := endedFor(t, s, "observer", "b", "never", "gone"); got != "gone" {
		t.Errorf("ended: %q, want who has no row, and none but who was asked for", got)
	}
	leaveB()
	until(t, "b has ended", func() bool { return endedFor(t, other, "observer", all...) == "a b" })

	if got := endedFor(t, s, "never", all...); got != "" {
		t.Errorf("who is not present itself is told that %q have ended", got)
	}
	theirs := beside(t, server, Config{Application: "other", Schema: s.schema, FastFailover: true})
	attend(t, theirs, "observer")
	attend(t, theirs, "a")
	if got := endedFor(t, theirs, "observer", "a", "observer"); got != "" {
		t.Errorf("another application is told that %q have ended", got)
	}
	never := lease.Member{Incarnation: "never", Version: 1}
	fenced := never
	fenced.Fenced = true
	if _, err := s.SwapMember(t.Context(), never, fenced); err != nil {
		t.Fatal(err)
	}
	if got := endedFor(t, s, "observer", "never", "observer"); got != "never" {
		t.Errorf("ended: %q, want who is fenced", got)
	}
}

// When a server loses its power, its clients may believe for a while that they are
// present still.
func TestAServerThatCameBackDoesNotKnowWhoHasEnded(t *testing.T) {
	server := testpg.Start(t)
	s := open(t, server, fast)
	attend(t, s, "a")
	server.Kill(t)
	server.Resume(t)
	s = beside(t, server, Config{Application: "app", Schema: s.schema, FastFailover: true})
	attend(t, s, "observer")
	if got := endedFor(t, s, "observer", "a", "observer"); got != "" {
		t.Errorf("ended: %q, want none: a beats, perhaps", got)
	}
}

func TestWhoAsksForNoFastFailoverIsNotPresent(t *testing.T) {
	server := testpg.Shared(t)
	s := beside(t, server, Config{Application: "app"})
	if err := s.Attend(t.Context(), "a", steady, func() { t.Error("it is present") }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got error %v, want %v", err, errors.ErrUnsupported)
	}
	_, err := New(s.pool, Config{Application: "app", FastFailover: true, PollOnly: true})
	if err == nil || !strings.Contains(err.Error(), "Config.FastFailover") {
		t.Errorf("with connections that are not direct: %v", err)
	}
}

// still is a stream of some shards in which nothing happens.
type still struct{ shards int }

func (still) Identity(context.Context) (stream.Identity, error) {
	return stream.Identity{Name: "still", Created: time.UnixMilli(5)}, nil
}

func (s still) Shards(context.Context) (shards []stream.Shard, err error) {
	for i, r := range stream.SplitHashSpace(s.shards) {
		shards = append(shards, stream.Shard{ID: string(rune('a' + i)), Hash: r})
	}
	return shards, nil
}

func (still) Pin(context.Context, string) (stream.Position, error) { return stream.TrimHorizon, nil }

func (still) Open(context.Context, string, stream.Position) (stream.Reader, error) {
	return nil, errors.ErrUnsupported
}

// holders are workers of this process who hold what they are given.
type holders struct {
	mu     sync.Mutex
	held   map[string]string // the worker by shard
	causes []error           // of holds that ended unasked
}

func (h *holders) run(t *testing.T, name string, s *Store, failover time.Duration) *lease.Coordinator {
	t.Helper()
	c, err := lease.NewCoordinator(lease.Config{
		Worker: name, Store: s, Streams: []stream.Stream{still{6}}, FailoverTime: failover, PlanInterval: time.Second,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx, h.hold(name)) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

func (h *holders) hold(name string) lease.HoldFunc {
	return func(ctx context.Context, l lease.Hold) error {
		shard := l.Lease().Shard
		h.mu.Lock()
		h.held[shard] = name
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.held[shard] == name {
				delete(h.held, shard)
			}
		}()
		select {
		case <-ctx.Done():
			h.mu.Lock()
			h.causes = append(h.causes, context.Cause(ctx))
			h.mu.Unlock()
			return context.Cause(ctx)
		case <-l.Draining():
			return l.Release(ctx, l.Lease().Checkpoint)
		}
	}
}

// by returns how many shards each worker holds.
func (h *holders) by() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	by := map[string]int{}
	for _, name := range h.held {
		by[name]++
	}
	return by
}

func sharedOut(h *holders) func() bool {
	return func() bool { by := h.by(); return by["w0"] == 3 && by["w1"] == 3 }
}

// steady is a FailoverTime that a busy machine keeps, and in which a fleet is soon
// shared out: a handoff takes about a beat of those who have it.
const steady = 20 * time.Second

// frozen is a connection to a server that stands still while its gate is shut: what
// it is asked it answers when it goes on.
func frozen(server net.Conn, gate *atomic.Pointer[chan struct{}]) net.Conn {
	here, there := net.Pipe()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, there)
	}()
	go func() {
		defer there.Close()
		for answer := make([]byte, 4096); ; {
			n, err := server.Read(answer)
			if shut := gate.Load(); shut != nil {
				<-*shut
			}
			if _, failed := there.Write(answer[:n]); failed != nil || err != nil {
				return
			}
		}
	}()
	return here
}

func TestAServerThatStandsStillEndsNoPresenceBeforeItsTime(t *testing.T) {
	t.Parallel()
	for patience, want := range map[time.Duration]asking{
		9 * time.Second:         {9 * time.Second, 9 * time.Second},
		54 * time.Second:        {askEvery, 54 * time.Second},
		1800 * time.Millisecond: {1800 * time.Millisecond, answerWithin},
	} {
		if got := asksFor(patience); got != want {
			t.Errorf("for %v: %v, want %v", patience, got, want)
		}
	}
	server := testpg.Shared(t)
	var gate atomic.Pointer[chan struct{}]
	s := open(t, server, fast, func(c *pgxpool.Config) {
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return frozen(conn, &gate), nil
		}
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	there, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.attend(ctx, "w/1", asking{every: 20 * time.Millisecond, within: time.Minute}, func() { close(there) })
	}()
	<-there
	for range 3 {
		shut := make(chan struct{})
		gate.Store(&shut)
		select {
		case err := <-ended:
			t.Errorf("its presence has ended: %v", err)
			ended <- errStopped
		case <-time.After(300 * time.Millisecond):
		}
		gate.Store(nil)
		close(shut)
	}
	cancel(errStopped)
	if err := <-ended; !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAWorkerThatLosesItsPresenceStopsAtOnceAndComesBack(t *testing.T) {
	t.Parallel()
	server := testpg.Shared(t)
	s := open(t, server, fast)
	h := &holders{held: map[string]string{}}
	workers := []*lease.Coordinator{
		h.run(t, "w0", s, steady),
		h.run(t, "w1", beside(t, server, Config{Application: "app", Schema: s.schema, FastFailover: true}), steady),
	}
	until(t, "all is shared out", sharedOut(h))
	for _, w := range workers { // one of them leads
		before := w.Status().Incarnation
		if _, err := s.pool.Exec(t.Context(), qualified(`SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
			JOIN millrace_member AS m ON m.presence = classid::bigint << 32 | objid::bigint
			WHERE locktype = 'advisory' AND m.incarnation = $1`, s.schema), before); err != nil {
			t.Fatal(err)
		}
		until(t, "it is back, and all is shared out again", func() bool {
			return w.Status().Incarnation != before && sharedOut(h)()
		})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.causes) != 6 {
		t.Errorf("%d holds were cancelled, want those of who lost its presence, 3 and 3", len(h.causes))
	}
	for _, cause := range h.causes {
		if !errors.Is(cause, lease.ErrAbsent) || !errors.Is(cause, checkpoint.ErrLeaseLost) {
			t.Errorf("a hold ended with %v", cause)
		}
	}
}

func TestARestartOfTheServerEndsEveryPresenceAndLosesNothing(t *testing.T) {
	t.Parallel()
	server := testpg.Start(t)
	s := open(t, server, fast)
	h := &holders{held: map[string]string{}}
	workers := []*lease.Coordinator{
		h.run(t, "w0", s, steady),
		h.run(t, "w1", beside(t, server, Config{Application: "app", Schema: s.schema, FastFailover: true}), steady),
	}
	until(t, "all is shared out", sharedOut(h))
	before := []string{workers[0].Status().Incarnation, workers[1].Status().Incarnation}
	server.Kill(t)
	until(t, "everybody has stopped", func() bool { return len(h.by()) == 0 })
	server.Resume(t)
	until(t, "all is shared out again", sharedOut(h))
	for i, w := range workers {
		if w.Status().Incarnation == before[i] {
			t.Errorf("w%d is the incarnation that it was", i)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cause := range h.causes {
		if !errors.Is(cause, lease.ErrAbsent) {
			t.Errorf("a hold ended with %v", cause)
		}
	}
}

// In the middle of a rollout some workers have a presence and others have none.
func TestAWorkerWithoutPresenceLivesBesideOnesThatHaveIt(t *testing.T) {
	t.Parallel()
	server := testpg.Shared(t)
	s := open(t, server, fast)
	h := &holders{held: map[string]string{}}
	h.run(t, "w0", s, steady)
	without := h.run(t, "w1", beside(t, server, Config{Application: "app", Schema: s.schema}), steady)
	until(t, "all is shared out", sharedOut(h))
	me := without.Status().Incarnation
	for range 4 { // roll calls
		wait := time.NewTimer(250 * time.Millisecond)
		select {
		case <-wait.C:
		case <-t.Context().Done():
		}
	}
	if now := without.Status().Incarnation; now != me || !sharedOut(h)() {
		t.Errorf("%s has become %s, and they hold %v", me, now, h.by())
	}
}

// A presence connection of a pool whose connections may not be idle for long.
func TestAPresenceOutlivesTheTimeThatConnectionsMayIdle(t *testing.T) {
	server := testpg.Shared(t)
	var version int
	if err := server.Pool(t).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version < 140000 {
		t.Skip("this server knows no idle_session_timeout")
	}
	s := beside(t, server, Config{Application: "app", Schema: open(t, server, fast).schema, FastFailover: true},
		func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["idle_session_timeout"] = "200" })
	_, lost := attend(t, s, "a")
	select {
	case err := <-lost:
		t.Error(err)
	case <-time.After(500 * time.Millisecond):
	}
}
