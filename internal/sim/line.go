package sim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/actor"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/leasetest"
)

// line is a machine's connection to the store, on which a script can lie in
// wait for single writes.
//
//	worker ── write ──► ambush? ── passes ──► network ──► store
//	                       │ refused, requestLost
//	                       └ answerLost, late: takes place, ──────────────► store
//	                         and nobody hears of it
type line struct {
	*leasetest.Faulty
	store   lease.Store // behind the network
	machine *machine

	mu     sync.Mutex    // guards what follows; ambush is called under it
	clock  time.Duration // by how much the machine's wall clock is wrong
	ambush func(write) fate
}

// write is one write of a worker: of a lease, when next or old has a Key; else
// of a member.
type write struct {
	old, next             lease.Lease
	oldMember, nextMember lease.Member
	creates               bool // rows that were not there; next is the first
}

// takes, handsOff, letsGo and saves tell what a write of a lease is for.
func (w write) takes() bool { return w.next.Term != 0 && w.next.Term != w.old.Term && !w.creates }
func (w write) handsOff() bool {
	return w.old.CheckpointOwner == "" && w.next.CheckpointOwner != ""
}
func (w write) letsGo() bool {
	return w.old.CheckpointOwner != "" && w.next.CheckpointOwner == "" && !w.next.Finished()
}
func (w write) saves() bool {
	return w.old.Term != 0 && w.old.Term == w.next.Term && w.old.Checkpoint.Position != w.next.Checkpoint.Position
}

// fate is what becomes of a write.
type fate int

const (
	passes      fate = iota
	refused          // fails at once and has no effect
	requestLost      // has no effect, and is not answered
	answerLost       // takes place, and is not answered
	late             // takes place after lateBy, when nobody waits any more
	slow             // takes place after nearly failover, and is answered
)

// lateBy is how long a late write is under way, in failover times: until others
// have taken over from its sender, though that was the leader.
const lateBy = 4

var errRefused = errors.New("the store refuses every write")

// lieInWait sets what happens to the writes to come.
func (l *line) lieInWait(ambush func(write) fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ambush = ambush
}

// setClock sets by how much the machine's wall clock is wrong from now on.
func (l *line) setClock(wrong time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock = wrong
}

// carry takes a write to its fate.
func (l *line) carry(ctx context.Context, w write, do func(context.Context, lease.Store) error) error {
	l.mu.Lock()
	fate := passes
	if l.ambush != nil {
		fate = l.ambush(w)
	}
	l.mu.Unlock()
	switch fate {
	case passes:
		return do(ctx, l.Faulty)
	case refused:
		return errRefused
	case answerLost:
		_ = do(context.WithoutCancel(ctx), l.store) // whatever the answer is, it is lost
	case slow:
		if !actor.Sleep(ctx, l.machine.fleet.Failover*9/10) {
			return context.Cause(ctx)
		}
		return do(ctx, l.Faulty)
	case late:
		f := l.machine.fleet
		f.lives.Go(func() {
			time.Sleep(lateBy * f.Failover)
			_ = do(context.WithoutCancel(ctx), l.store) // though the machine may be dead by now
		})
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// Create implements [lease.Store]. The counters of new rows are the one thing
// in which a wall clock shows.
func (l *line) Create(ctx context.Context, rows ...lease.Lease) error {
	l.mu.Lock()
	wrong := l.clock.Milliseconds()
	l.mu.Unlock()
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Counter += wrong
	}
	w := write{creates: true}
	if len(rows) > 0 {
		w.next = rows[0]
	}
	return l.carry(ctx, w, func(ctx context.Context, s lease.Store) error { return s.Create(ctx, rows...) })
}

// Swap implements [lease.Store].
func (l *line) Swap(ctx context.Context, old, next lease.Lease) (row lease.Lease, err error) {
	err = l.carry(ctx, write{old: old, next: next}, func(ctx context.Context, s lease.Store) (err error) {
		row, err = s.Swap(ctx, old, next)
		return err
	})
	return row, err
}

// Delete implements [lease.Store].
func (l *line) Delete(ctx context.Context, old lease.Lease) error {
	return l.carry(ctx, write{old: old}, func(ctx context.Context, s lease.Store) error { return s.Delete(ctx, old) })
}

// SwapMember implements [lease.Store].
func (l *line) SwapMember(ctx context.Context, old, next lease.Member) (row lease.Member, err error) {
	err = l.carry(ctx, write{oldMember: old, nextMember: next}, func(ctx context.Context, s lease.Store) (err error) {
		row, err = s.SwapMember(ctx, old, next)
		return err
	})
	return row, err
}
