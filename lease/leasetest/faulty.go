package leasetest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
)

// ErrFault is the error of calls that [Faulty] lets fail. As with every error
// of a store, a write that ended with it may have taken place.
var ErrFault = errors.New("injected fault")

// Faults is what goes wrong between one worker and its store, all by itself
// and all the time. The zero value is a store in the same room. Chances are
// from 0 (never, the default) to 1 (always), and are drawn for each call.
type Faults struct {
	// Seed decides every draw, together with what is asked and how often that
	// was asked before. Give each worker a seed of its own: then a simulation
	// takes the same course each time, in whatever order goroutines run that
	// wake at one instant.
	Seed uint64
	// Latency is the longest time a request, and again its answer, is under
	// way. Each takes between none and all of it, to the nanosecond, so that
	// no two workers wake at one instant. Default: 0.
	Latency time.Duration
	// FailBefore is the chance that a call fails before it reached the store.
	FailBefore float64
	// LoseAnswer is the chance that a call takes place and fails all the same.
	// A listing breaks off half-way.
	LoseAnswer float64
	// Repeat is the chance that a write reaches the store twice, as when a
	// driver tries again by itself: the second answer, a conflict with the
	// caller's own write, is the one that is returned.
	Repeat float64
	// Late is the chance that a write is held up for up to LateBy more. Whoever
	// sent it may have given up, and others may have written, when it arrives.
	Late   float64
	LateBy time.Duration
	// OwnedLag is how long Owned may go on giving an answer that it gave
	// before. Default: 0: it never does.
	OwnedLag time.Duration
	// Silent switches notifications off: Changes wakes nobody.
	Silent bool
}

// Link is the state of the connection between a worker and its store.
type Link int32

const (
	// Up is a working connection.
	Up Link = iota
	// Refused makes every call fail at once: the store is down.
	Refused
	// RequestsLost makes every call wait for its context, with no effect.
	RequestsLost
	// AnswersLost lets every call take place, and wait for its context.
	AnswersLost
)

// Faulty is the view that one worker has of a [lease.Store] over a bad
// network. It is a Store and a [lease.Notifier].
//
// What was sent arrives, even when its sender no longer waits: a call whose
// context ends leaves a write that may still take place. Let [Faulty.Wait]
// return before a test, or its bubble, ends.
type Faulty struct {
	store   lease.Store
	faults  Faults
	flights sync.WaitGroup // requests under way

	mu            sync.Mutex // guards what follows; held for no longer than it takes to look
	link          Link
	answered      map[request]uint64 // calls that are over, by what they asked
	seen          map[string]ownedAnswer
	reads, writes int
}

type ownedAnswer struct {
	rows []lease.Lease
	at   time.Time
}

var (
	_ lease.Store    = (*Faulty)(nil)
	_ lease.Notifier = (*Faulty)(nil)
)

// NewFaulty returns the view of store that the faults give.
func NewFaulty(store lease.Store, faults Faults) *Faulty {
	return &Faulty{
		store:    store,
		faults:   faults,
		answered: map[request]uint64{},
		seen:     map[string]ownedAnswer{},
	}
}

// SetLink changes the connection, from the next request and the next answer
// on. Calls that wait for a lost answer go on waiting.
func (f *Faulty) SetLink(l Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.link = l
}

// Calls returns how many reads and writes have reached the store so far.
func (f *Faulty) Calls() (reads, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.writes
}

// Wait returns when nothing is under way any more. No call may be made
// meanwhile.
func (f *Faulty) Wait() { f.flights.Wait() }

// request is what a call asks for: the kind of call, and the rows that it is
// about.
type request uint64

func ask(kind string, keys ...string) request {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %q", kind, keys) // a hash never fails
	return request(h.Sum64())
}

// dice returns the random numbers of a call. They depend on how many calls with
// the same request are over, and on no other calls: so two goroutines that run
// at one instant draw the same in either order, even if both ask the same.
func (f *Faulty) dice(r request) *rand.Rand {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rand.New(rand.NewPCG(f.faults.Seed, uint64(r)+f.answered[r]*0x9e3779b97f4a7c15))
}

// over counts a call.
func (f *Faulty) over(r request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered[r]++
}

// trip is what the dice say about one call.
type trip struct {
	out, back                       time.Duration
	failBefore, loseAnswer, repeats bool
	link                            Link
}

// draw throws the same number of dice for every call, so that changing one
// fault leaves the draws of the others as they are.
func (f *Faulty) draw(r request, write bool) trip {
	random := f.dice(r)
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Float64() * float64(d)) }
	chance := func(p float64) bool { return random.Float64() < p }
	t := trip{
		out:        upTo(f.faults.Latency),
		back:       upTo(f.faults.Latency),
		failBefore: chance(f.faults.FailBefore),
		loseAnswer: chance(f.faults.LoseAnswer),
		repeats:    chance(f.faults.Repeat) && write,
	}
	if late := upTo(f.faults.LateBy); chance(f.faults.Late) && write {
		t.out += late
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.link = f.link
	return t
}

// answersLost is asked when an answer is about to be sent.
func (f *Faulty) answersLost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.link == AnswersLost
}

func (f *Faulty) count(write bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if write {
		f.writes++
	} else {
		f.reads++
	}
}

// send takes one call to the store and its answer back.
func send[T any](ctx context.Context, f *Faulty, r request, write bool, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	trip := f.draw(r, write)
	defer f.over(r)
	if trip.link == Refused {
		return none, ErrFault
	}
	answers := make(chan answer, 1)
	if trip.link != RequestsLost {
		// What has left no longer depends on whoever sent it.
		sent := context.WithoutCancel(ctx)
		f.flights.Go(func() {
			time.Sleep(trip.out)
			if trip.failBefore {
				answers <- answer{err: ErrFault}
				return
			}
			f.count(write)
			value, err := call(sent)
			if trip.repeats {
				f.count(write)
				value, err = call(sent)
			}
			time.Sleep(trip.back)
			switch {
			case f.answersLost():
			case trip.loseAnswer:
				answers <- answer{err: ErrFault}
			default:
				answers <- answer{value, err}
			}
		})
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Leases implements [lease.Store]. The faults strike before the first row, or
// half-way when the answer is lost.
func (f *Faulty) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	return func(yield func(lease.Lease, error) bool) {
		var rows []lease.Lease // written in flight, read after a loss only when the flight is over
		listed := make(chan struct{})
		_, err := send(ctx, f, ask("leases"), false, func(ctx context.Context) (struct{}, error) {
			defer close(listed)
			for l, err := range f.store.Leases(ctx) {
				if err != nil {
					return struct{}{}, err
				}
				rows = append(rows, l)
			}
			return struct{}{}, nil
		})
		if err != nil {
			select {
			case <-listed:
				rows = rows[:len(rows)/2]
			default:
				rows = nil
			}
		}
		for _, l := range rows {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
				break
			}
			if !yield(l, nil) {
				return
			}
		}
		if err != nil {
			yield(lease.Lease{}, err)
		}
	}
}

// Owned implements [lease.Store].
func (f *Faulty) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	return send(ctx, f, ask("owned", incarnation), false, func(ctx context.Context) ([]lease.Lease, error) {
		if rows, ok := f.ownedBefore(incarnation); ok {
			return rows, nil
		}
		asked := time.Now()
		rows, err := f.store.Owned(ctx, incarnation)
		if err == nil && f.faults.OwnedLag > 0 {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seen[incarnation] = ownedAnswer{rows, asked}
		}
		return rows, err
	})
}

// ownedBefore returns, every other time, an older answer that may still be given.
func (f *Faulty) ownedBefore(incarnation string) ([]lease.Lease, bool) {
	r := ask("owned again", incarnation)
	again := f.dice(r).IntN(2) == 0
	f.over(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.seen[incarnation]
	return before.rows, ok && again && time.Since(before.at) < f.faults.OwnedLag
}

// Read implements [lease.Store].
func (f *Faulty) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	return send(ctx, f, ask("read", keys...), false, func(ctx context.Context) ([]lease.Lease, error) {
		return f.store.Read(ctx, keys...)
	})
}

// Create implements [lease.Store].
func (f *Faulty) Create(ctx context.Context, leases ...lease.Lease) error {
	keys := make([]string, len(leases))
	for i := range leases {
		keys[i] = leases[i].Key
	}
	_, err := send(ctx, f, ask("create", keys...), true, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.store.Create(ctx, leases...)
	})
	return err
}

// Swap implements [lease.Store].
func (f *Faulty) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	return send(ctx, f, ask("swap", old.Key), true, func(ctx context.Context) (lease.Lease, error) {
		return f.store.Swap(ctx, old, next)
	})
}

// Delete implements [lease.Store].
func (f *Faulty) Delete(ctx context.Context, old lease.Lease) error {
	_, err := send(ctx, f, ask("delete", old.Key), true, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.store.Delete(ctx, old)
	})
	return err
}

// Members implements [lease.Store].
func (f *Faulty) Members(ctx context.Context) ([]lease.Member, error) {
	return send(ctx, f, ask("members"), false, f.store.Members)
}

// SwapMember implements [lease.Store].
func (f *Faulty) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	return send(ctx, f, ask("member", old.Incarnation, next.Incarnation), true, func(ctx context.Context) (lease.Member, error) {
		return f.store.SwapMember(ctx, old, next)
	})
}

// Notes implements [lease.Store].
func (f *Faulty) Notes(ctx context.Context) ([]lease.Note, error) {
	return send(ctx, f, ask("notes"), false, f.store.Notes)
}

// SwapNote implements [lease.Store].
func (f *Faulty) SwapNote(ctx context.Context, old, next lease.Note) (lease.Note, error) {
	return send(ctx, f, ask("note", old.Name, next.Name), true, func(ctx context.Context) (lease.Note, error) {
		return f.store.SwapNote(ctx, old, next)
	})
}

// Changes implements [lease.Notifier]. Nobody is woken over a connection that
// is not up, or when the store is no Notifier.
func (f *Faulty) Changes(ctx context.Context, wake func()) error {
	notifier, ok := f.store.(lease.Notifier)
	if !ok || f.faults.Silent {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return notifier.Changes(ctx, func() {
		r := ask("changes")
		trip := f.draw(r, false)
		f.over(r)
		if trip.link != Up || trip.loseAnswer {
			return
		}
		select {
		case <-time.After(trip.back):
			wake()
		case <-ctx.Done():
		}
	})
}
