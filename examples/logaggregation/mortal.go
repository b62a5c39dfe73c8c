package main

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/millrace/millrace/lease"
)

// errKilled is what a killed worker gets from everything that it still tries.
var errKilled = errors.New("this worker was killed")

// life is that of one worker. Goroutines can not be killed, so a worker dies by
// being cut off: from one moment on nothing that it does reaches the lease store
// or the tally any more. It sends no heartbeat, stores no checkpoint, hands over
// nothing and says no goodbye, and what it had in hand is lost, as if its
// process had got a kill -9. The others have to find out by themselves.
type life struct {
	mu    sync.Mutex
	over  bool
	after []func()
}

// end ends the life. It may be called twice.
func (l *life) end() {
	l.mu.Lock()
	after := l.after
	l.over, l.after = true, nil
	l.mu.Unlock()
	for _, f := range after {
		f()
	}
}

func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// onEnd has f called at the end, at once if that has come.
func (l *life) onEnd(f func()) {
	l.mu.Lock()
	over := l.over
	if !over {
		l.after = append(l.after, f)
	}
	l.mu.Unlock()
	if over {
		f()
	}
}

// mortal returns a store that answers for as long as the life lasts.
func mortal(s lease.Store, l *life) lease.Store {
	if n, ok := s.(lease.Notifier); ok {
		return &mortalNotifier{mortalStore{s, l}, n}
	}
	return &mortalStore{s, l}
}

type mortalStore struct {
	lease.Store
	life *life
}

type mortalNotifier struct {
	mortalStore
	lease.Notifier
}

func (m *mortalStore) Leases(ctx context.Context) iter.Seq2[lease.Lease, error] {
	if m.life.ended() {
		return func(yield func(lease.Lease, error) bool) { yield(lease.Lease{}, errKilled) }
	}
	return m.Store.Leases(ctx)
}

func (m *mortalStore) Owned(ctx context.Context, incarnation string) ([]lease.Lease, error) {
	if m.life.ended() {
		return nil, errKilled
	}
	return m.Store.Owned(ctx, incarnation)
}

func (m *mortalStore) Read(ctx context.Context, keys ...string) ([]lease.Lease, error) {
	if m.life.ended() {
		return nil, errKilled
	}
	return m.Store.Read(ctx, keys...)
}

func (m *mortalStore) Create(ctx context.Context, leases ...lease.Lease) error {
	if m.life.ended() {
		return errKilled
	}
	return m.Store.Create(ctx, leases...)
}

func (m *mortalStore) Swap(ctx context.Context, old, next lease.Lease) (lease.Lease, error) {
	if m.life.ended() {
		return lease.Lease{}, errKilled
	}
	return m.Store.Swap(ctx, old, next)
}

func (m *mortalStore) Delete(ctx context.Context, old lease.Lease) error {
	if m.life.ended() {
		return errKilled
	}
	return m.Store.Delete(ctx, old)
}

func (m *mortalStore) Members(ctx context.Context) ([]lease.Member, error) {
	if m.life.ended() {
		return nil, errKilled
	}
	return m.Store.Members(ctx)
}

func (m *mortalStore) SwapMember(ctx context.Context, old, next lease.Member) (lease.Member, error) {
	if m.life.ended() {
		return lease.Member{}, errKilled
	}
	return m.Store.SwapMember(ctx, old, next)
}
