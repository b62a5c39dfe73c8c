package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/internal/fleet"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// A fleet under chaos: worker processes, each with a link of its own to the store,
// a stream that is put to and resharded all the time, and somebody who disturbs.
const (
	slots      = 4
	streamName = "orders"
	// failoverTime is long enough for a store that takes a second for a call: the
	// worker gives it a third.
	failoverTime = 4 * time.Second
	fewestShards = 3
	mostShards   = 8
	// recovery is how long a fleet may stand still when nothing disturbs it any more:
	// some failover times, on a machine that is busy.
	recovery = 20 * failoverTime
	// mostRequests is how many requests all workers together may send in a second
	// when the store is back after an outage: it must not be run over by those who
	// waited for it. Much of that is what they have to catch up with.
	mostRequests = 150 * slots
)

// backend is a lease store as the arena needs it.
type backend struct {
	name   string
	target string // where it listens; "" where there is no wire between it and a worker
	// reach sets where a worker finds it.
	reach  func(cfg *fleet.Config, address string)
	store  lease.Store // past all links
	booked func(ctx context.Context) (map[string]booking, error)
	// tidy is called each second, when it is not nil.
	tidy func(ctx context.Context) error
	// globals can be done to this store besides: PostgreSQL restarts, for example,
	// which the emulators of DynamoDB cannot without forgetting everything.
	globals []global
	// served says that the stream is that of a server in a process of its own.
	served bool
	// spoil makes a way to the store on which requests go wrong one by one; nil
	// where the wire is just bytes. before is put before it, in place of target.
	spoil func(t *testing.T) spoiler
}

// leases returns all of them.
func (b *backend) leases(ctx context.Context) (rows []lease.Lease, err error) {
	for row, err := range b.store.Leases(ctx) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// spoiler spoils requests one by one.
type spoiler struct {
	address string
	// kinds are what can go wrong.
	kinds []string
	set   func(kind string) // "" for nothing
}

// slot is a place for a worker process: when one ends another takes it.
type slot struct {
	n          int
	link       *link
	spoil      spoiler
	process    *fleet.Process
	generation int
}

// source is a stream as producers and whoever reshards it need it.
type source interface {
	stream.Stream
	stream.Putter
	stream.Resharder
}

type arena struct {
	t       *testing.T
	backend backend
	host    *fleet.Host
	stream  source
	service *service // nil: the stream is that of an engine in this process
	slots   []*slot

	mu     sync.Mutex
	put    []put
	faults []fault
	failed error

	rate    []count
	deploys int
	orders  map[lease.ActionKind]int // what the operator did
	seeks   []seek
	spread  atomic.Int32 // faults of single workers under way
}

// journals makes a folder for what the processes tell. It stays when the test fails.
func journals(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journals of the processes are in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newArena(t *testing.T, b backend) *arena {
	t.Helper()
	a := &arena{t: t, backend: b, orders: map[lease.ActionKind]int{}}
	if b.served {
		a.service = newService(t)
		a.stream = a.service.stream
	} else {
		a.stream = inProcess(t)
	}
	var err error
	if a.host, err = fleet.NewHost(journals(t), a.stream); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.host.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range slots {
		sl := &slot{n: i}
		target := b.target
		if b.spoil != nil {
			sl.spoil = b.spoil(t)
			target = sl.spoil.address
		}
		if sl.link, err = newLink(target); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sl.link.close)
		a.slots = append(a.slots, sl)
		a.start(sl)
	}
	return a
}

// inProcess is the stream of an engine in this process.
func inProcess(t *testing.T) *engine.Stream {
	t.Helper()
	e, err := engine.OpenMemory(engine.Config{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := e.EnsureStream(t.Context(), streamName, engine.StreamConfig{Shards: fewestShards})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts a process in a slot. Its clock jumps to and fro by an hour.
func (a *arena) start(s *slot) {
	s.generation++
	cfg := fleet.Config{
		FailoverTime: failoverTime, CheckpointEvery: between(0.02, 0.5), Drain: failoverTime,
		Observe: true, Book: true, Slow: 300 * time.Millisecond,
		Code: fmt.Sprint("r", 1+rand.IntN(3)), Astray: time.Hour, FastFailover: rand.IntN(2) == 0,
	}
	a.backend.reach(&cfg, s.link.addr())
	if a.service != nil {
		a.service.reach(&cfg)
	}
	p, err := a.host.Start(fmt.Sprintf("w%d.%d", s.n, s.generation), cfg)
	if err != nil {
		a.fail(err)
		return
	}
	s.process = p
}

func (a *arena) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = errors.Join(a.failed, err)
}

// harm is one thing that can be done to the process of a slot. It lasts until the
// function returns, or until ctx ends.
type harm struct {
	kind string
	do   func(ctx context.Context, a *arena, s *slot)
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// between returns a time between two multiples of the failover time.
func between(least, most float64) time.Duration {
	return time.Duration((least + (most-least)*rand.Float64()) * float64(failoverTime))
}

// weatherFor holds a link in some weather for a while.
func weatherFor(w weather, least, most float64) func(context.Context, *arena, *slot) {
	return func(ctx context.Context, _ *arena, s *slot) {
		s.link.set(w)
		rest(ctx, between(least, most))
		s.link.set(weather{})
	}
}

var harms = []harm{
	{killed, func(_ context.Context, a *arena, s *slot) {
		select {
		case <-s.process.Ended():
			a.fail(fmt.Errorf("%s ended by itself:\n%s", s.process.Name, last(s.process.Log(), 50)))
		default:
		}
		if err := s.process.Kill(); err != nil {
			a.fail(err)
		}
	}},
	{paused, func(ctx context.Context, a *arena, s *slot) {
		if err := s.process.Pause(); err != nil {
			a.fail(err)
		}
		rest(ctx, between(0.3, 1.8))
		if err := s.process.Resume(); err != nil {
			a.fail(err)
		}
	}},
}

// weathers are what the wire between a worker and the store can do to it.
var weathers = []harm{
	{"cut off", weatherFor(weather{deaf: true, mute: true}, 0.2, 1.6)},
	{"requests cut off", weatherFor(weather{mute: true}, 0.2, 1.6)},
	{"answers cut off", weatherFor(weather{deaf: true}, 0.2, 1.6)},
	{"refused connections", weatherFor(weather{refuse: true}, 0.2, 1.3)},
	{"a second for each call", weatherFor(weather{delay: time.Second}, 0.5, 1.5)},
	{"lost answers", weatherFor(weather{lose: 0.2}, 0.5, 1.5)},
}

// global is one thing that can be done to all workers at once.
type global struct {
	kind string
	do   func(ctx context.Context, a *arena)
}

// outage is when the store is away for longer than FailoverTime.
const outage = "store away for longer than FailoverTime"

var storms = []global{
	{"store away for a moment", allIn(weather{deaf: true, mute: true}, 0.2, 0.8)},
	{outage, allIn(weather{deaf: true, mute: true}, 1.2, 1.6)},
	{"store slow for all", allIn(weather{delay: time.Second}, 0.5, 1)},
}

func allIn(w weather, least, most float64) func(context.Context, *arena) {
	return func(ctx context.Context, a *arena) {
		for _, s := range a.slots {
			s.link.set(w)
		}
		rest(ctx, between(least, most))
		for _, s := range a.slots {
			s.link.set(weather{})
		}
	}
}

// done takes note of a fault.
func (a *arena) done(kind, who string, from time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fault{kind, who, from.UnixNano(), time.Now().UnixNano()})
}

// disturb does one thing after the other to a slot, until ctx ends.
func (a *arena) disturb(ctx context.Context, s *slot) {
	harms := slices.Clone(harms)
	if a.backend.target != "" {
		harms = append(harms, weathers...)
	}
	for rest(ctx, between(0.1, 0.5)); ctx.Err() == nil; rest(ctx, between(0.05, 0.4)) {
		if a.spread.Add(1) > slots/2 { // somebody should be well
			a.spread.Add(-1)
			continue
		}
		began, who := time.Now(), s.process.Name
		switch n := rand.IntN(len(harms) + len(s.spoil.kinds) + 2); {
		case n < len(harms):
			harms[n].do(ctx, a, s)
			a.done(harms[n].kind, who, began)
			if harms[n].kind == killed {
				rest(ctx, between(0, 0.5))
				a.start(s)
			}
		case n < len(harms)+len(s.spoil.kinds):
			kind := s.spoil.kinds[n-len(harms)]
			s.spoil.set(kind)
			rest(ctx, between(0.5, 2))
			s.spoil.set("")
			a.done(kind, who, began)
		default: // a deploy, which is no fault
			a.stop(s)
			a.mu.Lock()
			a.deploys++
			a.mu.Unlock()
			a.start(s)
		}
		a.spread.Add(-1)
	}
}

// stop stops the process of a slot in good order.
func (a *arena) stop(s *slot) {
	if err := s.process.Stop(recovery); err != nil {
		a.fail(err)
	}
}

// disturbAll does one thing after the other to all.
func (a *arena) disturbAll(ctx context.Context) {
	globals := slices.Clone(a.backend.globals)
	if a.backend.target != "" {
		globals = append(globals, storms...)
	}
	order := rand.Perm(len(globals))
	for n := 0; ; n++ {
		if rest(ctx, between(1.5, 3)); ctx.Err() != nil {
			return
		}
		g := globals[order[n%len(order)]]
		began := time.Now()
		g.do(ctx, a)
		a.done(g.kind, "", began)
	}
}

// produce puts numbered records until ctx ends.
func (a *arena) produce(ctx context.Context, who, producers int) {
	for n := who; ctx.Err() == nil; {
		var entries []stream.Entry
		for range 1 + rand.IntN(4) {
			entries = append(entries, stream.Entry{
				PartitionKey: "key-" + strconv.Itoa(n%keys),
				Data:         []byte(strconv.Itoa(n) + strings.Repeat(" ", rand.IntN(100))),
			})
			n += producers
		}
		if err := a.putAll(entries...); err != nil {
			a.fail(err)
			return
		}
		rest(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
	}
}

func (a *arena) putAll(entries ...stream.Entry) error {
	results, err := a.stream.Put(context.Background(), entries...)
	if err != nil && a.service != nil {
		return nil // the server is away: who knows what became of them
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, r := range results {
		if r.Err != nil && a.service != nil {
			continue
		}
		if r.Err != nil {
			return r.Err
		}
		a.put = append(a.put, put{strings.TrimRight(string(entries[i].Data), " "), r.Shard, r.Sequence})
	}
	return nil
}

// reshard changes the shards now and then, one or two at a time: a term should
// last for longer than it takes to disturb it.
func (a *arena) reshard(ctx context.Context) {
	for rest(ctx, between(0.2, 0.6)); ctx.Err() == nil; rest(ctx, between(0.2, 0.6)) {
		if err := a.reshardOnce(); err != nil && a.service == nil {
			a.fail(err)
			return
		}
	}
}

func (a *arena) reshardOnce() error {
	shards, err := a.stream.Shards(context.Background())
	if err != nil {
		return err
	}
	rows, err := a.backend.leases(context.Background())
	if err != nil {
		return nil // the store is restarted just now
	}
	ended := map[string]bool{}
	for _, row := range rows {
		ended[row.Shard] = row.Finished()
	}
	behind := 0
	for _, s := range shards {
		if done, there := ended[s.ID]; s.Closed && there && !done {
			behind++
		}
	}
	if behind > mostShards {
		return nil // one shard has to end before the next begins: no fleet would ever catch up
	}
	open := slices.DeleteFunc(shards, func(s stream.Shard) bool { return s.Closed })
	slices.SortFunc(open, func(x, y stream.Shard) int { return x.Hash.Start.Compare(y.Hash.Start) })
	n := len(open)
	if i := rand.IntN(n); n <= fewestShards || n < mostShards && rand.IntN(2) == 0 {
		r := open[i].Hash
		middle := stream.Hash{Hi: r.Start.Hi + (r.End.Hi-r.Start.Hi)/2 + 1}
		return a.stream.Split(context.Background(), open[i].ID, middle)
	}
	i := rand.IntN(n - 1)
	return a.stream.Merge(context.Background(), open[i].ID, open[i+1].ID)
}

// operate does now and then what operators do: it moves shards from one live worker to
// another, since a fleet that is disturbed all the time hardly gets as far as moving
// any for balance; it pauses a shard, or all of them, and drains a worker, for a
// while; it has a shard begin again at an earlier place. What the store refuses is
// tried with another shard.
func (a *arena) operate(ctx context.Context) {
	operator, err := lease.NewOperator(a.backend.store, lease.OperatorConfig{FailoverTime: failoverTime, Logger: quiet()})
	if err != nil {
		a.fail(err)
		return
	}
	for rest(ctx, between(0.1, 0.4)); ctx.Err() == nil; rest(ctx, between(0.1, 0.4)) {
		calling, cancel := context.WithTimeout(ctx, 2*failoverTime)
		action, undo, err := a.order(calling)
		if err == nil {
			_, err = operator.Do(calling, action)
		}
		cancel()
		if action.Kind == lease.ActionSeek {
			a.seeks[len(a.seeks)-1].end = time.Now().Add(failoverTime).UnixNano() // by then it is done or given up
		}
		if err == nil {
			a.orders[action.Kind]++
		}
		if undo.Kind != "" { // though it failed, since it may take place a moment later
			rest(context.Background(), between(0.2, 0.6))
			a.takeBack(operator, undo)
		}
	}
}

// order returns something that an operator may do, and what takes it back, if it has
// to be.
func (a *arena) order(ctx context.Context) (action, undo lease.Action, err error) {
	rows, err := a.backend.leases(ctx)
	if err != nil {
		return action, undo, err
	}
	rows = slices.DeleteFunc(rows, func(l lease.Lease) bool { return l.Finished() || l.Owner == "" })
	members, err := a.backend.store.Members(ctx)
	if err != nil {
		return action, undo, err
	}
	members = slices.DeleteFunc(members, func(m lease.Member) bool { return m.Fenced || strings.HasPrefix(m.Incarnation, "@") })
	if len(rows) == 0 || len(members) == 0 {
		return action, undo, errors.New("there is nothing to move, or nobody to move it to")
	}
	row, to := rows[rand.IntN(len(rows))], members[rand.IntN(len(members))]
	scope := lease.Scope{Stream: row.Stream, Shard: row.Shard}
	resume := lease.Action{Kind: lease.ActionResume, Scope: scope}
	switch rand.IntN(14) {
	case 10, 11, 12, 13:
		to, ok := a.earlier(row)
		if !ok {
			return action, undo, errors.New("there is nothing to begin again")
		}
		a.seeks = append(a.seeks, seek{shard: row.Shard, to: to, counter: row.Counter, from: time.Now().UnixNano()})
		return lease.Action{Kind: lease.ActionSeek, Scope: scope, To: to}, resume, nil
	case 0:
		resume.Scope = lease.Scope{}
		return lease.Action{Kind: lease.ActionPause}, resume, nil
	case 1, 2:
		return lease.Action{Kind: lease.ActionPause, Scope: scope}, resume, nil
	case 3, 4:
		return lease.Action{Kind: lease.ActionDrain, Worker: to.Worker}, lease.Action{Kind: lease.ActionUndrain, Worker: to.Worker}, nil
	default:
		return lease.Action{Kind: lease.ActionMove, Scope: scope, Worker: to.Incarnation}, undo, nil
	}
}

// earlier returns a place in a shard at or before its checkpoint. Of a shard whose
// records are booked there is none: they would be booked a second time.
func (a *arena) earlier(row lease.Lease) (to stream.Position, ok bool) {
	if fleet.Booked(row.Shard) {
		return to, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	covered := slices.DeleteFunc(slices.Clone(a.put), func(p put) bool {
		return p.shard != row.Shard || !row.Checkpoint.Position.Includes(p.seq)
	})
	if len(covered) == 0 {
		return to, false
	}
	return stream.After(covered[rand.IntN(len(covered))].seq), true
}

// takeBack takes an order back, whatever is done to the store meanwhile: what stays
// paused is never covered.
func (a *arena) takeBack(operator *lease.Operator, undo lease.Action) {
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	for {
		calling, called := context.WithTimeout(ctx, failoverTime)
		_, err := operator.Do(calling, undo)
		called()
		if err == nil || errors.Is(err, lease.ErrNotPossible) { // it never came to pass
			return
		}
		if ctx.Err() != nil {
			a.fail(fmt.Errorf("%v: %w", undo, err))
			return
		}
		rest(ctx, between(0.02, 0.05))
	}
}

// count is how many requests all workers had sent at a moment.
type count struct{ at, requests int64 }

// measure counts the requests of all, four times a second.
func (a *arena) measure(ctx context.Context) {
	for ; ctx.Err() == nil; rest(ctx, time.Second/4) {
		now := count{at: time.Now().UnixNano()}
		for _, s := range a.slots {
			now.requests += s.link.requests.Load()
		}
		a.rate = append(a.rate, now)
	}
}

// most is the greatest number of requests in a second that begins in a stretch of time.
func (a *arena) most(from, to int64) (most int64) {
	for i := 4; i < len(a.rate); i++ {
		if begin, end := a.rate[i-4], a.rate[i]; from <= begin.at && begin.at <= to {
			most = max(most, (end.requests-begin.requests)*int64(time.Second)/(end.at-begin.at))
		}
	}
	return most
}

// mostAfterOutage is the greatest number of requests in a second when the store was
// back, after a time in which all gave each other up.
func (a *arena) mostAfterOutage() (most int64) {
	for _, f := range a.faults {
		if f.kind == outage {
			most = max(most, a.most(f.to-int64(time.Second/4), f.to+int64(failoverTime)))
		}
	}
	return most
}

// tidy keeps house while the fleet works.
func (a *arena) tidy(ctx context.Context) {
	for a.backend.tidy != nil && ctx.Err() == nil {
		if err := a.backend.tidy(context.WithoutCancel(ctx)); err != nil {
			a.fail(err)
			return
		}
		rest(ctx, time.Second)
	}
}

// run lets chaos be for so long, lets the fleet recover, and returns what is known
// of it.
func (a *arena) run(lasts time.Duration) *ledger {
	var disturbers, all sync.WaitGroup
	ctx, enough := context.WithTimeout(a.t.Context(), lasts)
	defer enough()
	const producers = 2
	for i := range producers {
		all.Go(func() { a.produce(ctx, i, producers) })
	}
	all.Go(func() { a.reshard(ctx) })
	all.Go(func() { a.operate(ctx) })
	all.Go(func() { a.measure(ctx) })
	all.Go(func() { a.tidy(ctx) })
	for _, s := range a.slots {
		disturbers.Go(func() { a.disturb(ctx, s) })
	}
	disturbers.Go(func() { a.disturbAll(ctx) })
	if a.service != nil {
		disturbers.Go(func() { a.service.disturb(ctx) })
	}
	all.Wait()
	disturbers.Wait()
	a.covered()

	// After a stop in good order nothing comes again.
	for _, s := range a.slots {
		a.stop(s)
	}
	a.start(a.slots[0])
	for n := range 100 {
		if err := a.putAll(stream.Entry{PartitionKey: strconv.Itoa(n), Data: []byte("late-" + strconv.Itoa(n))}); err != nil {
			a.t.Fatal(err)
		}
	}
	a.covered()
	a.stop(a.slots[0])
	if a.failed != nil {
		a.t.Error(a.failed)
	}
	return a.ledger()
}

// covered waits until everything that was put is covered by a checkpoint, for as
// long as the fleet gets on. Time in which the store takes long to answer us does
// not count: a machine that is busy with much else is no fault of the fleet's.
func (a *arena) covered() {
	a.t.Helper()
	fewest, still := math.MaxInt, time.Duration(0)
	for {
		asked := time.Now()
		rows, err := a.backend.leases(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		busy := time.Since(asked) > failoverTime/20
		missing, n := a.uncovered(rows)
		switch {
		case n == 0:
			return
		case n < fewest:
			fewest, still = n, 0
		case still > recovery:
			for _, s := range a.slots {
				a.t.Logf("%s:\n%s", s.process.Name, last(s.process.Log(), 20))
			}
			a.t.Fatalf("L2: for %v, in which nothing was done to it, the fleet has not got on: %s, and %d like it", recovery, missing, n-1)
		}
		if rest(a.t.Context(), time.Second/2); !busy {
			still += time.Since(asked)
		}
	}
}

func last(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// uncovered counts the records that no checkpoint covers yet and the shards that
// have not ended though they are closed, and names one of them. A shard without a
// row has ended and is forgotten, if it is closed.
func (a *arena) uncovered(rows []lease.Lease) (missing string, n int) {
	at := map[string]lease.Lease{}
	for _, row := range rows {
		at[row.Shard] = row
	}
	shards, err := a.stream.Shards(a.t.Context())
	if err != nil {
		return err.Error(), 1
	}
	for _, s := range shards {
		row, there := at[s.ID]
		if there && s.Closed && !row.Finished() || !there && !s.Closed {
			missing = fmt.Sprintf("%s has not ended: %+v", s.ID, row)
			n++
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.put {
		if row, there := at[p.shard]; there && !row.Finished() && !row.Checkpoint.Position.Includes(p.seq) {
			missing = fmt.Sprintf("record %s at %v of %s is not covered: %+v", p.record, p.seq, p.shard, row)
			n++
		}
	}
	return missing, n
}

// ledger gathers everything.
func (a *arena) ledger() *ledger {
	a.t.Helper()
	l := &ledger{put: a.put, faults: a.faults, seeks: a.seeks, parents: map[string][]string{}}
	var err error
	if l.events, err = a.host.Events(); err != nil {
		a.t.Fatal(err)
	}
	if l.leases, err = a.backend.leases(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	if l.booked, err = a.backend.booked(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	shards, err := a.stream.Shards(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	for _, s := range shards {
		l.parents[s.ID] = s.Parents
	}
	if a.service != nil {
		l.put = a.service.kept(a.put)
	}
	return l
}
