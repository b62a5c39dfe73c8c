package postgres

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/internal/testpg"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

func anyPosition(t *rapid.T, label string) stream.Position {
	n := func() uint64 { return rapid.Uint64().Draw(t, label+" number") }
	sequence := stream.MakeSequence(n(), n(), n()).WithSub(n())
	return rapid.SampledFrom([]stream.Position{
		{}, stream.TrimHorizon, stream.ShardEnd, stream.At(sequence), stream.After(sequence),
		stream.AtTime(time.UnixMilli(rapid.Int64Range(-1e14, 1e14).Draw(t, label+" time"))),
	}).Draw(t, label)
}

func anyHash(t *rapid.T, label string) stream.Hash {
	return stream.Hash{Hi: rapid.Uint64().Draw(t, label+" hi"), Lo: rapid.Uint64().Draw(t, label+" lo")}
}

// anyText draws text with what is hard (quotes, braces, NULL), and now and then
// what cannot be stored.
func anyText(t *rapid.T, label string) string {
	if rapid.IntRange(0, 50).Draw(t, label+" is no text") == 50 {
		return rapid.SampledFrom([]string{"\x00", "a\x00b", "\xff", "\xed\xa0\x80"}).Draw(t, label)
	}
	return rapid.OneOf(
		rapid.StringOf(rapid.RuneFrom(nil, unicode.Letter, unicode.Punct, unicode.Symbol, unicode.Space, unicode.M)),
		rapid.SampledFrom([]string{"", " ", "NULL", "null", "{}", `{"a",b}`, `\`, `\\`, `"`, `'`, `\x00`, "é", "e\u0301", "\U0010ffff", "\x01", "$1", "a,b", "\n", "\u2028"}),
	).Draw(t, label)
}

func anyLease(t *rapid.T, key string) lease.Lease {
	texts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return anyText(t, "id") }), 0, 4)
	return lease.Lease{
		Key: key, Stream: anyText(t, "stream"), StreamID: anyText(t, "stream id"), Shard: anyText(t, "shard"),
		Owner: anyText(t, "owner"), CheckpointOwner: anyText(t, "checkpoint owner"),
		Counter: rapid.Int64Range(0, 1<<62).Draw(t, "counter"), Term: rapid.Int64().Draw(t, "term"),
		Checkpoint: checkpoint.State{
			Position: anyPosition(t, "position"),
			Pending:  checkpoint.Pending{Position: anyPosition(t, "pending"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "note")},
			Progress: rapid.SliceOf(rapid.Byte()).Draw(t, "progress"),
		},
		Parents: texts.Draw(t, "parents"), Children: texts.Draw(t, "children"),
		Hash: stream.HashRange{Start: anyHash(t, "start"), End: anyHash(t, "end")},
		Load: lease.Load{BytesPerSecond: rapid.Float64().Draw(t, "bytes"), RecordsPerSecond: rapid.Float64().Draw(t, "records")},
	}
}

var milliseconds = rapid.Map(rapid.Int64Range(0, math.MaxInt64/int64(time.Millisecond)), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })

func anyMember(t *rapid.T, incarnation string) lease.Member {
	return lease.Member{
		Incarnation: incarnation, Worker: anyText(t, "worker"),
		Beats: rapid.Int64().Draw(t, "beats"), Revision: rapid.Int64().Draw(t, "revision"),
		Fenced: rapid.Bool().Draw(t, "fenced"), Draining: rapid.Bool().Draw(t, "draining"),
		Load:      lease.Load{BytesPerSecond: rapid.Float64().Draw(t, "bytes"), RecordsPerSecond: rapid.Float64().Draw(t, "records")},
		MaxLeases: rapid.Int().Draw(t, "most"), Code: anyText(t, "code"), Zone: anyText(t, "zone"), Host: anyText(t, "host"),
		Streams:      lease.StreamSet(anyText(t, "streams")),
		FailoverTime: milliseconds.Draw(t, "failover"), HandoffTimeout: milliseconds.Draw(t, "handoff"),
	}
}

// fits says what the store has to say to a text.
func fits(texts ...string) bool {
	for _, text := range texts {
		if strings.Contains(text, "\x00") || !utf8.ValidString(text) {
			return false
		}
	}
	return true
}

func leaseFits(l lease.Lease) bool {
	return fits(l.Key, l.Stream, l.StreamID, l.Shard, l.Owner, l.CheckpointOwner) && fits(l.Parents...) && fits(l.Children...)
}

// flat is a row as a value to compare, with nothing and empty for the same.
func flat(l lease.Lease) any {
	parents, children := list(l.Parents), list(l.Children)
	data, progress := string(l.Checkpoint.Pending.Data), string(l.Checkpoint.Progress)
	position, pending := l.Checkpoint.Position, l.Checkpoint.Pending.Position
	return [...]any{l.Key, l.Stream, l.StreamID, l.Shard, l.Owner, l.CheckpointOwner, l.Counter, l.Term, position, pending, data, progress, parents, children, l.Hash, l.Load}
}

func TestAnyRowComesBackAsItWasOrIsRefused(t *testing.T) {
	server := testpg.Shared(t)
	for _, name := range []string{"Prepared", "Exec", "Simple"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, server, Config{Application: "app"}, in(modes[name]))
			ctx := t.Context()
			rapid.Check(t, func(t *rapid.T) {
				row, next := anyLease(t, anyText(t, "key")), anyLease(t, "next")
				switch err := s.Create(ctx, row); {
				case leaseFits(row) != (err == nil) || err != nil && !errors.Is(err, ErrText):
					t.Fatalf("create %+v: %v", row, err)
				case err != nil:
					if _, err := s.Read(ctx, row.Key); fits(row.Key) != (err == nil) {
						t.Fatalf("read of %q: %v", row.Key, err)
					}
					return
				}
				same := func(what string, rows []lease.Lease, err error) {
					if err != nil || len(rows) != 1 || flat(rows[0]) != flat(row) {
						t.Fatalf("%s: got %+v, error %v; want %+v", what, rows, err, row)
					}
				}
				rows, err := s.Read(ctx, row.Key)
				same("read", rows, err)

				swapped, err := s.Swap(ctx, row, next)
				if fits := leaseFits(next); fits != (err == nil) || err != nil && !errors.Is(err, ErrText) {
					t.Fatalf("swap for %+v: %v", next, err)
				} else if fits {
					next.Key, next.Stream, next.StreamID, next.Shard, next.Counter = row.Key, row.Stream, row.StreamID, row.Shard, row.Counter+1
					row = next
					same("swap", []lease.Lease{swapped}, nil)
				}
				rows, err = s.Read(ctx, row.Key)
				same("read after the swap", rows, err)
				if row.Owner != "" {
					rows, err = s.Owned(ctx, row.Owner)
					same("owned", rows, err)
				}
				if err := s.Delete(ctx, row); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAnyMemberComesBackAsItWasOrIsRefused(t *testing.T) {
	server := testpg.Shared(t)
	for _, name := range []string{"Prepared", "Exec", "Simple"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, server, Config{Application: "app"}, in(modes[name]))
			ctx := t.Context()
			rapid.Check(t, func(t *rapid.T) {
				name := "w" + anyText(t, "incarnation")
				row, next := anyMember(t, name), anyMember(t, name)
				memberFits := func(m lease.Member) bool {
					return fits(m.Incarnation, m.Worker, m.Code, m.Zone, m.Host, string(m.Streams))
				}
				got, err := s.SwapMember(ctx, lease.Member{}, row)
				if !memberFits(row) {
					if !errors.Is(err, ErrText) {
						t.Fatalf("join of %+v: %v", row, err)
					}
					return
				}
				row.Version = 1
				if err != nil || got != row {
					t.Fatalf("join: got %+v, error %v; want %+v", got, err, row)
				}
				switch got, err = s.SwapMember(ctx, row, next); {
				case !memberFits(next):
					if !errors.Is(err, ErrText) {
						t.Fatalf("swap for %+v: %v", next, err)
					}
				default:
					next.Version = 2
					if row = next; err != nil || got != row {
						t.Fatalf("swap: got %+v, error %v; want %+v", got, err, row)
					}
				}
				if all, err := s.Members(ctx); err != nil || len(all) != 1 || all[0] != row {
					t.Fatalf("members: got %+v, error %v; want %+v", all, err, row)
				}
				if _, err := s.SwapMember(ctx, row, lease.Member{}); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
