package leasetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/lease"
)

// none is the zero note: old to create, next to remove.
var none lease.Note

// born is the Version of notes that these tests create.
const born = 1_700_000_000_000

func (r *room) notes() []lease.Note {
	r.Helper()
	rows, err := r.store.Notes(r.ctx)
	if err != nil {
		r.Fatalf("notes: %v", err)
	}
	slices.SortFunc(rows, byName)
	return rows
}

func byName(a, b lease.Note) int { return compare(a.Name, b.Name) }

func (r *room) swapNote(old, next lease.Note) lease.Note {
	r.Helper()
	row, err := r.store.SwapNote(r.ctx, old, next)
	if err != nil {
		r.Fatalf("swap of note %.80q: %v", old.Name+next.Name, err)
	}
	return row
}

func (r *room) note(name string) lease.Note {
	r.Helper()
	return r.swapNote(none, lease.Note{Name: name, Version: born, Value: "of " + name})
}

// sameNotes ends the test unless the notes are want.
func (r *room) sameNotes(want ...lease.Note) {
	r.Helper()
	got := r.notes()
	slices.SortFunc(want, byName)
	if !slices.Equal(got, want) {
		r.Fatalf("notes:\n got %.500q\nwant %.500q", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// noteConflict ends the test unless a swap is refused, with that row.
func (r *room) noteConflict(what string, old, next, want lease.Note) {
	r.Helper()
	got, err := r.store.SwapNote(r.ctx, old, next)
	r.isConflict(what, err)
	if got != want {
		r.Fatalf("%s: the row with the conflict: got %+v, want %+v", what, got, want)
	}
}

var noting = []clause{
	{"ANoteIsCreatedWithTheVersionThatItCarries", func(r *room) {
		var want []lease.Note
		for i, value := range []string{"{}", "", "null", ` "köln" '\"% ` + "\n\t", strings.Repeat("東京🜁", 10_000)} {
			n := lease.Note{Name: fmt.Sprint("note ", i), Version: past53 + int64(i), Value: value}
			if got := r.swapNote(none, n); got != n {
				r.Fatalf("created: got %.200q, want %.200q", fmt.Sprint(got), fmt.Sprint(n))
			}
			want = append(want, n)
		}
		r.sameNotes(want...)
	}},

	{"ANoteCanBeCreatedOnceOnly", func(r *room) {
		first := r.note("a")
		r.noteConflict("second creation", none, lease.Note{Name: "a", Version: born + 5, Value: "other"}, first)
		r.sameNotes(first)
	}},

	{"ASwapReplacesANoteAndCounts", func(r *room) {
		row, other := r.note("a"), r.note("b")
		for _, value := range []string{"second", "", "third"} {
			want := lease.Note{Name: "a", Version: row.Version + 1, Value: value}
			if row = r.swapNote(row, lease.Note{Name: "a", Version: 1, Value: value}); row != want {
				r.Fatalf("swap: got %+v, want %+v", row, want)
			}
			r.sameNotes(row, other)
		}
	}},

	{"ASwapOfANoteNeedsTheVersion", func(r *room) {
		row := r.note("a")
		row = r.swapNote(row, row)
		for _, version := range []int64{0, -1, row.Version - 1, row.Version + 1} {
			old := lease.Note{Name: "a", Version: version, Value: row.Value}
			r.noteConflict("swap with another version", old, lease.Note{Name: "a", Value: "other"}, row)
			r.noteConflict("removal with another version", old, none, row)
		}
		r.sameNotes(row)
	}},

	{"ASwapOfANoteNeedsNothingButNameAndVersion", func(r *room) {
		row := r.note("a")
		want := lease.Note{Name: "a", Version: born + 1, Value: "other"}
		if got := r.swapNote(lease.Note{Name: "a", Version: row.Version}, lease.Note{Name: "b", Value: "other"}); got != want {
			r.Fatalf("swap: got %+v, want %+v", got, want)
		}
		r.sameNotes(want)
	}},

	{"ASwapOfAnAbsentNoteNeverCreatesIt", func(r *room) {
		for _, version := range []int64{0, 1, born} {
			absent := lease.Note{Name: "a", Version: version, Value: "v"}
			r.noteConflict("swap of an absent note", absent, absent, none)
		}
		r.sameNotes()
	}},

	{"ARemovedNoteIsGone", func(r *room) {
		row, other := r.note("a"), r.note("a/b")
		if got := r.swapNote(row, none); got != none {
			r.Fatalf("removal: got %+v, want the zero note", got)
		}
		r.noteConflict("swap after the removal", row, row, none)
		r.noteConflict("second removal", row, none, none)
		r.sameNotes(other)
		again := r.swapNote(none, lease.Note{Name: "a", Version: born + 7, Value: "again"})
		r.noteConflict("swap of one that came later", row, row, again)
		r.sameNotes(again, other)
	}},

	{"ASwapOfNoNoteForNoNoteIsAnErrorAndNoConflict", func(r *room) {
		if _, err := r.store.SwapNote(r.ctx, none, none); err == nil || errors.Is(err, lease.ErrConflict) {
			r.Fatalf("got error %v, want one that is no conflict", err)
		}
		r.sameNotes()
	}},

	{"NotesThatLookAlikeAreDifferentRows", func(r *room) {
		var rows []lease.Note
		for _, name := range lookAlikes() {
			rows = append(rows, r.note(name))
		}
		r.sameNotes(rows...)
	}},

	{"NotesMembersAndLeasesDoNotMeet", func(r *room) {
		r.create(full("same"))
		member, note := r.join("same"), r.note("same")
		r.same("leases", r.list(), full("same"))
		r.sameMembers(member)
		r.sameNotes(note)
		r.swapNote(note, none)
		r.sameMembers(member)
	}},

	{"OfRacingNoteSwapsOneWins", func(r *room) {
		r.note("contended")
		r.raceForNote(r.store)
	}},

	{"OfRacingNotesOneIsCreated", func(r *room) {
		wins := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				_, wins[i] = r.store.SwapNote(r.ctx, none, lease.Note{Name: "a", Version: born, Value: fmt.Sprint(i)})
			})
		}
		wg.Wait()
		winner := slices.Index(wins, nil)
		for i, err := range wins {
			if i != winner {
				r.isConflict("creation that came late", err)
			}
		}
		if winner < 0 {
			r.Fatal("nobody created it")
		}
		r.sameNotes(lease.Note{Name: "a", Version: born, Value: fmt.Sprint(winner)})
	}},

	{"NoNoteIsWrittenForAContextThatIsOver", func(r *room) {
		row := r.note("a")
		over, cancel := context.WithCancel(r.ctx)
		cancel()
		for what, call := range map[string]func() error{
			"notes":  func() error { _, err := r.store.Notes(over); return err },
			"create": func() error { _, err := r.store.SwapNote(over, none, lease.Note{Name: "b", Version: born}); return err },
			"swap":   func() error { _, err := r.store.SwapNote(over, row, row); return err },
			"remove": func() error { _, err := r.store.SwapNote(over, row, none); return err },
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				r.Fatalf("%s: got error %v, want one that is %v", what, err, context.Canceled)
			}
		}
		r.sameNotes(row)
	}},

	{"TwoHandlesRaceForANote", func(r *room) {
		other := r.second()
		r.note("contended")
		r.raceForNote(r.store, other)
	}},

	{"ApplicationsDoNotSeeEachOthersNotes", func(r *room) {
		if r.options.Other == nil {
			r.Skip("the backend holds one application")
		}
		other := r.through(r.options.Other(r, r.store))
		mine := r.note("a")
		other.sameNotes()
		other.swapNote(other.note("a"), none)
		r.sameNotes(mine)
	}},

	{"NotesOutliveARestart", func(r *room) {
		if r.options.Reopen == nil {
			r.Skip("the backend lives as long as its process")
		}
		row := r.note("a")
		row = r.swapNote(row, row)
		r = r.through(r.options.Reopen(r, r.store))
		r.sameNotes(row)
		if got := r.swapNote(row, row); got.Version != row.Version+1 {
			r.Fatalf("version after the restart: got %d, want one more than %d", got.Version, row.Version)
		}
	}},

	{"ChangesWakesAfterEveryNote", func(r *room) {
		notifier, ok := r.store.(lease.Notifier)
		if !ok {
			r.Skip("the store is no Notifier")
		}
		writer := r.through(r.second())
		ctx, cancel := context.WithCancel(r.ctx)
		woken := make(chan struct{}, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = notifier.Changes(ctx, func() {
				select {
				case woken <- struct{}{}:
				default:
				}
			})
		})
		defer wg.Wait()
		defer cancel()
		row := writer.note("a")
		r.soon(func() string { // it listens, once a write was heard
			row = writer.swapNote(row, row)
			select {
			case <-woken:
				return ""
			default:
				return "nobody was woken"
			}
		})
		for _, write := range []func(){
			func() { row = writer.swapNote(row, row) },
			func() { row = writer.swapNote(row, none) },
			func() { row = writer.note("b") },
		} {
			write()
			select {
			case <-woken:
			case <-r.ctx.Done():
				r.Fatal("nobody was woken")
			}
		}
	}},
}

// raceForNote lets goroutines swap and read one note through the given handles,
// and checks that what they saw is one history.
func (r *room) raceForNote(stores ...lease.Store) {
	r.Helper()
	start := r.notes()[0]
	r.race(start.Version, start.Value,
		func(i int) (version int64, value string, swap func(value string) (int64, string, error), err error) {
			store := stores[i%len(stores)]
			rows, err := store.Notes(r.ctx)
			if err != nil || len(rows) != 1 {
				return 0, "", nil, fmt.Errorf("notes: %d rows, %w", len(rows), err)
			}
			return rows[0].Version, rows[0].Value, func(value string) (int64, string, error) {
				next := rows[0]
				next.Value = value
				row, err := store.SwapNote(r.ctx, rows[0], next)
				return row.Version, row.Value, err
			}, nil
		})
}
