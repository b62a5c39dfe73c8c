package leasetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
)

// brokenOptions let a broken store stand for a backend with two handles, two
// applications and a life after its end: all of them are one memory store.
var brokenOptions = Options{
	Second: func(_ testing.TB, store lease.Store) lease.Store { return store.(*broken).second() },
	Other: func(_ testing.TB, store lease.Store) lease.Store {
		b := store.(*broken)
		return b.other()
	},
	Reopen:   func(_ testing.TB, store lease.Store) lease.Store { return store.(*broken).reopened() },
	Begin:    beginPending,
	Spoil:    func(_ testing.TB, store lease.Store, key string) { store.(*broken).spoil(key) },
	OwnedLag: 20 * time.Millisecond,
}

// unbrokenOptions are the same with patience: what works must not fail because
// the machine is busy.
var unbrokenOptions = func() Options {
	o := brokenOptions
	o.OwnedLag = 0
	return o
}()

func openUnbroken(testing.TB) lease.Store { return newBroken() }

func newBroken() *broken {
	b := &broken{Memory: lease.NewMemory()}
	b.second = func() lease.Store { return b }
	b.other = func() lease.Store { return newBroken() }
	b.reopened = func() lease.Store { return b }
	b.spoil = (&spoilt{broken: b}).add
	return b
}

func (s sabotage) open(testing.TB) lease.Store {
	b := newBroken()
	s.breaks(b)
	return b
}

// behind is a handle that writes through and reads what it knew at first.
func behind(b *broken) *broken {
	handle := newBroken()
	handle.Memory = b.Memory
	var seen sync.Map
	handle.read = func(ctx context.Context, keys ...string) ([]lease.Lease, error) {
		if rows, ok := seen.Load(fmt.Sprint(keys)); ok {
			return rows.([]lease.Lease), nil
		}
		rows, err := b.Memory.Read(ctx, keys...)
		seen.Store(fmt.Sprint(keys), rows)
		return rows, err
	}
	handle.members = func(ctx context.Context) ([]lease.Member, error) {
		if rows, ok := seen.Load(""); ok {
			return rows.([]lease.Member), nil
		}
		rows, err := b.Memory.Members(ctx)
		seen.Store("", rows)
		return rows, err
	}
	return handle
}

// brokenHandles are alone with what they know.
var brokenHandles = []sabotage{
	{"the second handle has rows of its own", "TwoHandlesSeeEachOther", func(b *broken) {
		b.second = func() lease.Store { return newBroken() }
	}},
	{"the second handle remembers leases", "TwoHandlesRaceForARow", func(b *broken) {
		b.second = func() lease.Store { return behind(b) }
	}},
	{"the second handle remembers members", "TwoHandlesRaceForAMember", func(b *broken) {
		b.second = func() lease.Store { return behind(b) }
	}},
	{"applications share their rows", "ApplicationsDoNotSeeEachOther", func(b *broken) {
		b.other = func() lease.Store { return b }
	}},
	{"a restart forgets", "RowsOutliveARestart", func(b *broken) {
		b.reopened = func() lease.Store { return newBroken() }
	}},
}
