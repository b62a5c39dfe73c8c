package lease

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

// puppet is a store whose every call a test can hold up, follow or refuse. The
// zero functions let it through.
type puppet struct {
	Store
	beforeSwap       func(old, next Lease) error
	afterSwap        func(row Lease) error
	afterRead        func()
	unreadable       string       // a row that Read does not understand
	beforeList       func() error // Leases, Owned, Read and Members
	beforeLeases     func()
	owned            []Lease // what Owned answers, unless nil
	afterMembers     func()
	beforeSwapMember func(old, next Member) error
	afterSwapMember  func(row Member) error
}

func (p *puppet) Swap(ctx context.Context, old, next Lease) (Lease, error) {
	if p.beforeSwap != nil {
		if err := p.beforeSwap(old, next); err != nil {
			return Lease{}, err
		}
	}
	row, err := p.Store.Swap(ctx, old, next)
	if err == nil && p.afterSwap != nil {
		if err := p.afterSwap(row); errors.Is(err, ErrConflict) {
			return row, err
		} else if err != nil {
			return Lease{}, err
		}
	}
	return row, err
}

func (p *puppet) list() error {
	if p.beforeList == nil {
		return nil
	}
	return p.beforeList()
}

func (p *puppet) Leases(ctx context.Context) iter.Seq2[Lease, error] {
	if p.beforeLeases != nil {
		p.beforeLeases()
	}
	if err := p.list(); err != nil {
		return func(yield func(Lease, error) bool) { yield(Lease{}, err) }
	}
	return p.Store.Leases(ctx)
}

func (p *puppet) Owned(ctx context.Context, incarnation string) ([]Lease, error) {
	if err := p.list(); err != nil || p.owned != nil {
		return p.owned, err
	}
	return p.Store.Owned(ctx, incarnation)
}

func (p *puppet) Read(ctx context.Context, keys ...string) ([]Lease, error) {
	if err := p.list(); err != nil {
		return nil, err
	}
	if slices.Contains(keys, p.unreadable) {
		return nil, fmt.Errorf("read %d leases: %w", len(keys), ErrUnreadable)
	}
	rows, err := p.Store.Read(ctx, keys...)
	if p.afterRead != nil {
		p.afterRead()
	}
	return rows, err
}

func (p *puppet) Members(ctx context.Context) ([]Member, error) {
	if err := p.list(); err != nil {
		return nil, err
	}
	rows, err := p.Store.Members(ctx)
	if p.afterMembers != nil {
		p.afterMembers()
	}
	return rows, err
}

func (p *puppet) SwapMember(ctx context.Context, old, next Member) (Member, error) {
	if p.beforeSwapMember != nil {
		if err := p.beforeSwapMember(old, next); err != nil {
			return Member{}, err
		}
	}
	row, err := p.Store.SwapMember(ctx, old, next)
	if err == nil && p.afterSwapMember != nil {
		if err := p.afterSwapMember(row); err != nil {
			return Member{}, err
		}
	}
	return row, err
}

var errCut = errors.New("the connection is cut")

// noStream is a stream that cannot be reached: shard sync passes it over.
type noStream struct{}

func (noStream) Identity(context.Context) (stream.Identity, error) { return stream.Identity{}, errCut }
func (noStream) Shards(context.Context) ([]stream.Shard, error)    { return nil, errCut }
func (noStream) Pin(context.Context, string) (stream.Position, error) {
	return stream.Position{}, errCut
}
func (noStream) Open(context.Context, string, stream.Position) (stream.Reader, error) {
	return nil, errCut
}

// actor is a worker whose every step a test takes by hand; only its fuse and
// its holds run by themselves.
type actor struct {
	*session
	life context.Context

	mu    sync.Mutex // guards begun
	begun map[string]Hold
	ctxs  map[string]context.Context
}

const (
	testF = 10 * time.Second
	testH = 20 * time.Second
)

// newActor joins a worker. Its holds go on until they are cancelled, whatever
// they are asked.
func newActor(t *testing.T, name string, store Store) *actor {
	t.Helper()
	return newActorWith(t, Config{Worker: name, Store: store}, nil)
}

func newActorWith(t *testing.T, cfg Config, hold HoldFunc) *actor {
	t.Helper()
	cfg.Streams = []stream.Stream{noStream{}}
	cfg.FailoverTime, cfg.HandoffTimeout = testF, testH
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := NewCoordinator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{begun: map[string]Hold{}, ctxs: map[string]context.Context{}}
	if hold == nil {
		hold = func(ctx context.Context, h Hold) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}
	a.session = newSession(c, func(ctx context.Context, h Hold) error {
		a.mu.Lock()
		a.begun[h.Lease().Key], a.ctxs[h.Lease().Key] = h, ctx
		a.mu.Unlock()
		return hold(ctx, h)
	})
	if !a.join(t.Context()) {
		t.Fatal("cannot join")
	}
	life, end := context.WithCancel(context.Background())
	a.life = life
	var fuse sync.WaitGroup
	fuse.Go(func() { a.fuse(life) })
	t.Cleanup(func() {
		a.cancelAll(ErrDrained)
		a.holds.Wait()
		end()
		fuse.Wait()
	})
	return a
}

// holding reports whether a hold of the lease is under way and not cancelled.
func (a *actor) holding(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx := a.ctxs[key]
	return ctx != nil && ctx.Err() == nil
}

func (a *actor) cause(key string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctxs[key] == nil {
		return nil
	}
	return context.Cause(a.ctxs[key])
}

// owned creates leases that are given to somebody and not yet taken.
func owned(t *testing.T, store Store, owner string, shards ...string) (keys []string) {
	t.Helper()
	for _, shard := range shards {
		row := NewLease("s", "s:1", stream.Shard{ID: shard, Hash: stream.FullRange}, stream.TrimHorizon)
		row.Owner, row.Counter = owner, 100
		if err := store.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, row.Key)
	}
	return keys
}

func row(t *testing.T, store Store, key string) Lease {
	t.Helper()
	rows, err := store.Read(t.Context(), key)
	if err != nil || len(rows) != 1 {
		t.Fatalf("read %s: %v, %v", key, rows, err)
	}
	return rows[0]
}

func memberRow(t *testing.T, store Store, incarnation string) (Member, bool) {
	t.Helper()
	members, err := store.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.Incarnation == incarnation {
			return m, true
		}
	}
	return Member{}, false
}

// crew is workers on one store, who hold whatever they are given until the test
// is over.
type crew struct {
	t       *testing.T
	store   *Memory
	initial stream.Position

	mu     sync.Mutex // guards what follows
	leader string
	begun  int // reigns
}

func newCrew(t *testing.T) *crew { return &crew{t: t, store: NewMemory()} }

// reigns returns how often somebody began to lead.
func (c *crew) reigns() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

func (c *crew) start(name string, streams ...stream.Stream) *Coordinator {
	c.t.Helper()
	p := &puppet{Store: c.store, afterSwapMember: func(row Member) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if row.Incarnation == leaderKey && row.Worker != c.leader {
			if c.leader = row.Worker; row.Worker != "" {
				c.begun++
			}
		}
		return nil
	}}
	w, err := NewCoordinator(Config{
		Worker: name, Store: p, Streams: streams, Initial: c.initial, Seed: uint64(len(name)),
		FailoverTime: testF, HandoffTimeout: testH, Logger: quiet,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(c.t.Context(), untilDrained)
	}()
	c.t.Cleanup(func() { <-ended })
	return w
}
