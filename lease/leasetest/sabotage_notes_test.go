package leasetest

import (
	"context"
	"runtime"
	"strings"
	"sync"

	"github.com/millrace/millrace/lease"
)

// swapsNotes makes every swap of a note go by worse.
func swapsNotes(worse func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error)) func(*broken) {
	return func(b *broken) {
		b.swapNote = func(ctx context.Context, old, next lease.Note) (lease.Note, error) { return worse(b, ctx, old, next) }
	}
}

// brokenNotes are careless about what people want.
var brokenNotes = []sabotage{
	{"a note begins at version one", "ANoteIsCreatedWithTheVersionThatItCarries", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if old == none && next != none {
			next.Version = 1
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a note's value is cut off", "ANoteIsCreatedWithTheVersionThatItCarries", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		next.Value = next.Value[:min(len(next.Value), 65535)]
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a note is written over its like", "ANoteCanBeCreatedOnceOnly", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if current, ok := b.currentNote(next.Name); ok && old == none {
			old = current
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a note's version is the caller's", "ASwapReplacesANoteAndCounts", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		row, err := b.Memory.SwapNote(ctx, old, next)
		if err == nil && old != none && next != none {
			row.Version = next.Version
		}
		return row, err
	})},
	{"a note ignores the version", "ASwapOfANoteNeedsTheVersion", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if current, ok := b.currentNote(old.Name); ok {
			old = current
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a removal ignores the version", "ASwapOfANoteNeedsTheVersion", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if current, ok := b.currentNote(old.Name); ok && next == none {
			old = current
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a note's conflict returns no row", "ASwapOfANoteNeedsTheVersion", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		row, err := b.Memory.SwapNote(ctx, old, next)
		if err != nil {
			row = none
		}
		return row, err
	})},
	{"a note compares its value", "ASwapOfANoteNeedsNothingButNameAndVersion", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if current, ok := b.currentNote(old.Name); ok && current != old {
			return current, lease.ErrConflict
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a swap creates its note", "ASwapOfAnAbsentNoteNeverCreatesIt", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if _, ok := b.currentNote(old.Name); !ok {
			old = none
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a removal leaves an empty note", "ARemovedNoteIsGone", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if next == none && old != none {
			next.Name = old.Name
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a removal of nothing succeeds", "ARemovedNoteIsGone", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if _, ok := b.currentNote(old.Name); !ok && next == none && old != none {
			return none, nil
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a swap of no note is a conflict", "ASwapOfNoNoteForNoNoteIsAnErrorAndNoConflict", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if old == none && next == none {
			return none, lease.ErrConflict
		}
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"names of notes know no case", "NotesThatLookAlikeAreDifferentRows", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		next.Name = strings.ToLower(next.Name)
		row, err := b.Memory.SwapNote(ctx, old, next)
		return row, ignored(err)
	})},
	{"notes are members", "NotesMembersAndLeasesDoNotMeet", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		b.Memory.SwapMember(ctx, nobody, lease.Member{Incarnation: "note " + next.Name, Worker: next.Value})
		return b.Memory.SwapNote(ctx, old, next)
	})},
	{"a note's swap is two steps", "OfRacingNoteSwapsOneWins", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		current, ok := b.currentNote(old.Name)
		if old == none || !ok || current.Version != old.Version {
			return b.Memory.SwapNote(ctx, old, next)
		}
		runtime.Gosched()
		if current, _ = b.currentNote(old.Name); current.Version == old.Version {
			b.Memory.SwapNote(ctx, current, next)
		}
		next.Version = old.Version + 1
		return next, nil
	})},
	{"a note's creation is two steps", "OfRacingNotesOneIsCreated", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		if _, ok := b.currentNote(next.Name); ok {
			return b.Memory.SwapNote(ctx, old, next)
		}
		runtime.Gosched()
		row, _ := b.Memory.SwapNote(ctx, old, next)
		return row, nil
	})},
	{"notes outlive their contexts", "NoNoteIsWrittenForAContextThatIsOver", swapsNotes(func(b *broken, ctx context.Context, old, next lease.Note) (lease.Note, error) {
		return b.Memory.SwapNote(context.WithoutCancel(ctx), old, next)
	})},
	{"the second handle remembers notes", "TwoHandlesRaceForANote", func(b *broken) {
		b.second = func() lease.Store {
			handle := newBroken()
			handle.Memory = b.Memory
			first := sync.OnceValues(func() ([]lease.Note, error) { return b.Memory.Notes(context.Background()) })
			handle.listNotes = func(context.Context) ([]lease.Note, error) { return first() }
			return handle
		}
	}},
	{"applications share their notes", "ApplicationsDoNotSeeEachOthersNotes", func(b *broken) {
		b.other = func() lease.Store { return b }
	}},
	{"a restart forgets the notes", "NotesOutliveARestart", func(b *broken) {
		b.reopened = func() lease.Store { return newBroken() }
	}},
	{"notes wake nobody", "ChangesWakesAfterEveryNote", func(b *broken) {
		b.changes = func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}},
}

// ignored takes conflicts for successes.
func ignored(error) error { return nil }
