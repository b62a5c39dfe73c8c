package leasetest

import (
	"errors"
	"strings"
	"time"

	"github.com/millrace/millrace/lease"
)

// nobody is the zero member: old to join, next to end.
var nobody lease.Member

func fullMember(incarnation string) lease.Member {
	return lease.Member{
		Incarnation: incarnation, Worker: "köln 1 '\"%", Beats: past53, Revision: past53 + 2, Fenced: true, Draining: true,
		Load:      lease.Load{BytesPerSecond: 1.0 / 3, RecordsPerSecond: 1e-300},
		MaxLeases: 250, FailoverTime: 10*time.Second + time.Millisecond, HandoffTimeout: 1000*time.Hour + time.Millisecond,
		Code: "v1.2.3+é", Zone: "eu-central-1a", Host: strings.Repeat("h", 500),
		Streams: lease.NewStreamSet("orders:1763877845000", "é, 1:2"),
		Blocked: lease.NewBlockedSet(lease.Blocked{Key: "orders:1763877845000/1", What: "process records", Attempts: 3, Err: "köln '\"%"}),
	}
}

var membership = []clause{
	{"AMemberJoinsAtVersionOneWithEveryField", func(r *room) {
		want := fullMember("w/1")
		joining := want
		joining.Version = 77 // the version is the store's to give
		want.Version = 1
		if got := r.swapMember(nobody, joining); got != want {
			r.Fatalf("join:\n got %+v\nwant %+v", got, want)
		}
		r.sameMembers(want)
	}},

	{"AMemberCanJoinOnceOnly", func(r *room) {
		first := r.join("w/1")
		got, err := r.store.SwapMember(r.ctx, nobody, fullMember("w/1"))
		r.isConflict("second join", err)
		if got != first {
			r.Fatalf("the row with the conflict: got %+v, want %+v", got, first)
		}
		r.sameMembers(first)
	}},

	{"ABeatReplacesEveryField", func(r *room) {
		row := r.join("w/1")
		other := r.join("w/2")
		for _, next := range []lease.Member{fullMember("w/1"), {Incarnation: "w/1"}, {Incarnation: "w/1", Beats: 1}, {Incarnation: "w/1", Draining: true}, {Incarnation: "w/1", Fenced: true}, {Incarnation: "w/1", FailoverTime: time.Millisecond}, {Incarnation: "w/1", HandoffTimeout: time.Millisecond}} {
			want := next
			want.Version = row.Version + 1
			if row = r.swapMember(row, next); row != want {
				r.Fatalf("swap:\n got %+v\nwant %+v", row, want)
			}
			r.sameMembers(row, other)
		}
	}},

	{"ABeatNeedsTheVersion", func(r *room) {
		row := r.join("w/1")
		row = r.swapMember(row, row)
		for _, version := range []int64{0, -1, row.Version - 1, row.Version + 1} {
			old, next := row, row
			old.Version = version
			next.Beats = 99
			got, err := r.store.SwapMember(r.ctx, old, next)
			r.isConflict("beat with another version", err)
			if got != row {
				r.Fatalf("the row with the conflict: got %+v, want %+v", got, row)
			}
			r.sameMembers(row)
		}
	}},

	{"ABeatNeedsNothingButIncarnationAndVersion", func(r *room) {
		row := r.join("w/1")
		got := r.swapMember(lease.Member{Incarnation: "w/1", Version: row.Version}, lease.Member{Incarnation: "w/1", Beats: 5, Version: 1000})
		want := lease.Member{Incarnation: "w/1", Beats: 5, Version: row.Version + 1}
		if got != want {
			r.Fatalf("beat: got %+v, want %+v", got, want)
		}
		r.sameMembers(want)
	}},

	{"ABeatOnAnAbsentRowNeverCreatesIt", func(r *room) {
		absent := fullMember("w/1")
		for _, version := range []int64{0, 1, 5} {
			absent.Version = version
			got, err := r.store.SwapMember(r.ctx, absent, absent)
			r.isConflict("beat on an absent row", err)
			if got != nobody {
				r.Fatalf("the row with the conflict: got %+v, want the zero member", got)
			}
			r.sameMembers()
		}
	}},

	{"ALateBeatCannotUndoAFence", func(r *room) {
		row := r.join("w/1")
		fence := row
		fence.Fenced = true
		fenced := r.swapMember(row, fence)

		beat := row
		beat.Beats++
		got, err := r.store.SwapMember(r.ctx, row, beat)
		r.isConflict("late beat", err)
		if got != fenced {
			r.Fatalf("the row with the conflict: got %+v, want %+v", got, fenced)
		}
		r.sameMembers(fenced)
	}},

	{"ALateFenceCannotHitAWorkerThatBeat", func(r *room) {
		row := r.join("w/1")
		beat := row
		beat.Beats++
		beaten := r.swapMember(row, beat)

		fence := row
		fence.Fenced = true
		got, err := r.store.SwapMember(r.ctx, row, fence)
		r.isConflict("late fence", err)
		if got != beaten {
			r.Fatalf("the row with the conflict: got %+v, want %+v", got, beaten)
		}
		r.sameMembers(beaten)
	}},

	{"ABumpAndABeatDoNotEatEachOther", func(r *room) {
		row := r.join("w/1")
		bump := row
		bump.Revision++
		bumped := r.swapMember(row, bump)

		beat := row
		beat.Beats++
		current, err := r.store.SwapMember(r.ctx, row, beat)
		r.isConflict("beat beside a bump", err)
		if current != bumped {
			r.Fatalf("the row with the conflict: got %+v, want %+v", current, bumped)
		}
		again := current
		again.Beats++
		if row = r.swapMember(current, again); row.Beats != 1 || row.Revision != 1 || row.Version != 3 {
			r.Fatalf("after a bump and a beat: got %+v", row)
		}
	}},

	{"TheIncarnationNeverChanges", func(r *room) {
		a, b := r.join("a"), r.join("b")
		next := a
		next.Incarnation, next.Beats = "b", 3
		want := lease.Member{Incarnation: "a", Worker: a.Worker, Beats: 3, Version: a.Version + 1}
		if got := r.swapMember(a, next); got != want {
			r.Fatalf("swap: got %+v, want %+v", got, want)
		}
		r.sameMembers(want, b)
	}},

	{"AnEndNeedsTheVersion", func(r *room) {
		row := r.join("w/1")
		row = r.swapMember(row, row)
		for _, version := range []int64{0, row.Version - 1, row.Version + 1} {
			old := row
			old.Version = version
			got, err := r.store.SwapMember(r.ctx, old, nobody)
			r.isConflict("end with another version", err)
			if got != row {
				r.Fatalf("the row with the conflict: got %+v, want %+v", got, row)
			}
		}
		r.sameMembers(row)
	}},

	{"AnEndedMemberIsGone", func(r *room) {
		row, other := r.join("w/1"), r.join("w/10")
		if got := r.swapMember(row, nobody); got != nobody {
			r.Fatalf("end: got %+v, want the zero member", got)
		}
		r.sameMembers(other)
		for what, next := range map[string]lease.Member{"beat after the end": row, "second end": nobody} {
			got, err := r.store.SwapMember(r.ctx, row, next)
			r.isConflict(what, err)
			if got != nobody {
				r.Fatalf("%s: the row with the conflict: got %+v, want the zero member", what, got)
			}
		}
		r.sameMembers(other)
	}},

	{"ASwapOfNobodyForNobodyIsAnErrorAndNoConflict", func(r *room) {
		if _, err := r.store.SwapMember(r.ctx, nobody, nobody); err == nil || errors.Is(err, lease.ErrConflict) {
			r.Fatalf("got error %v, want one that is no conflict", err)
		}
		r.sameMembers()
	}},

	{"MembersThatLookAlikeAreDifferentRows", func(r *room) {
		var rows []lease.Member
		for _, name := range lookAlikes() {
			rows = append(rows, r.join(name))
		}
		r.sameMembers(rows...)
	}},

	{"MembersAndLeasesDoNotMeet", func(r *room) {
		r.create(full("same"))
		row := r.join("same")
		r.same("leases", r.list(), full("same"))
		r.sameMembers(row)
	}},
}
