// Package actor is what the actors of a simulation share: randomness that is
// their own, and waiting in virtual time.
//
//	seed, name, number ──► Source ──► Between ──► Sleep
//
// None of it depends on the order in which other actors run, and no two of them
// wake at one instant: that is why a seed replays.
package actor

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"
)

// Source returns the randomness of one actor, which its name and number tell
// from all others of the seed.
func Source(seed uint64, name string, i int) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(name + strconv.Itoa(i)) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

// Between draws a time, to the nanosecond: at least least, and less than most.
func Between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// Sleep lets d pass. It returns false when ctx was done first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
