package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

// quietEnd is a stream that tells where its end is as a time, as that of Kinesis
// does when nothing has come for a while.
type quietEnd struct{ *streamtest.Memory }

func (quietEnd) Pin(context.Context, string) (stream.Position, error) {
	return stream.AtTime(time.Now().Add(-5 * time.Second)), nil
}

// lastEnd tells its end as the last record, which carries several.
type lastEnd struct {
	*streamtest.Memory
	last stream.Sequence
}

func (s lastEnd) Pin(context.Context, string) (stream.Position, error) {
	return stream.After(s.last), nil
}

func TestASeekBeyondTheEndOfAShardIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		memory := streamtest.NewMemory("orders", 1)
		entries := make([]stream.Entry, 10)
		for i := range entries {
			entries[i].PartitionKey = "k"
		}
		results, err := memory.Put(ctx, entries...)
		if err != nil {
			t.Fatal(err)
		}
		id, err := memory.Identity(ctx)
		if err != nil {
			t.Fatal(err)
		}
		shards, err := memory.Shards(ctx)
		if err != nil {
			t.Fatal(err)
		}
		first, last := results[0].Sequence, results[len(results)-1].Sequence
		for _, test := range []struct {
			name   string
			s      stream.Stream
			to     stream.Position
			beyond bool
		}{
			{"the first record", memory, stream.At(first), false},
			{"behind the last record", memory, stream.After(last), false},
			{"inside of the last record", memory, stream.After(last.WithSub(3)), false},
			{"a wrong digit", memory, stream.After(last.Add(1000)), true},
			{"a little beyond the next record", memory, stream.At(last.Add(4)), true},
			{"behind the last record, by its number", lastEnd{memory, last}, stream.After(last), false},
			{"inside of the last record, by its number", lastEnd{memory, last}, stream.After(last.WithSub(3)), false},
			{"a wrong digit, by the last number", lastEnd{memory, last}, stream.After(last.Add(1000)), true},
			{"the first record of a quiet shard", quietEnd{memory}, stream.At(first), false},
			{"behind the last record of a quiet shard", quietEnd{memory}, stream.After(last), false},
			{"a wrong digit on a quiet shard", quietEnd{memory}, stream.After(last.Add(1000)), true},
		} {
			store := lease.NewMemory()
			if err := store.Create(ctx, lease.NewLease(id.Name, id.ID(), shards[0], stream.TrimHorizon)); err != nil {
				t.Fatal(err)
			}
			ops, err := lease.NewOperator(store, lease.OperatorConfig{Actor: "ada", Streams: []stream.Stream{test.s}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			seek := lease.Action{Kind: lease.ActionSeek, Scope: lease.Scope{Stream: "orders", Shard: shards[0].ID}, To: test.to}
			_, dry := ops.DryRun(ctx, seek)
			_, done := ops.Do(ctx, seek)
			for what, err := range map[string]error{"dry": dry, "done": done} {
				if (err != nil) != test.beyond || err != nil && (!errors.Is(err, lease.ErrNotPossible) || !strings.Contains(err.Error(), "beyond the end")) {
					t.Errorf("%s, %s: error %v, beyond the end: %v", test.name, what, err, test.beyond)
				}
			}
			rows, err := store.Read(ctx, lease.Key(id.ID(), shards[0].ID))
			if err != nil || test.beyond == (rows[0].Checkpoint.Position == test.to) {
				t.Errorf("%s: the row says %v, %v", test.name, rows[0].Checkpoint.Position, err)
			}
		}
	})
}

func TestASeekToAFutureTimeIsRefused(t *testing.T) {
	store, orders := leftBehind()
	ops, err := lease.NewOperator(store, lease.OperatorConfig{Actor: "ada", Streams: []stream.Stream{orders}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	seek := lease.Action{Kind: lease.ActionSeek, To: stream.AtTime(time.Now().Add(5 * time.Hour))}
	for what, do := range map[string]func(context.Context, lease.Action) (lease.Change, error){"dry": ops.DryRun, "done": ops.Do} {
		if c, err := do(t.Context(), seek); err == nil || !strings.Contains(err.Error(), "mind the time zone") || len(c.Leases) > 0 {
			t.Errorf("%s: %+v, error %v", what, c, err)
		}
	}
	seek.To = stream.AtTime(time.Now())
	if c, err := ops.Do(t.Context(), seek); err != nil || len(c.Leases) != 2 {
		t.Errorf("to now: %+v, error %v", c, err)
	}
}

func TestAPauseOfAMistypedStreamOrShardIsRefused(t *testing.T) {
	store, _ := leftBehind()
	ops, err := lease.NewOperator(store, lease.OperatorConfig{Actor: "ada", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []lease.Scope{{Stream: "oders"}, {Stream: "orders", Shard: "shardId-7"}} {
		for _, kind := range []lease.ActionKind{lease.ActionPause, lease.ActionResume, lease.ActionSeek} {
			a := lease.Action{Kind: kind, Scope: scope}
			if kind == lease.ActionSeek {
				a.To = stream.TrimHorizon
			}
			if _, err := ops.DryRun(t.Context(), a); !errors.Is(err, lease.ErrNotPossible) {
				t.Errorf("dry run of %v: error %v", a, err)
			}
			if _, err := ops.Do(t.Context(), a); !errors.Is(err, lease.ErrNotPossible) || !strings.Contains(err.Error(), "it has ") {
				t.Errorf("%v: error %v", a, err)
			}
		}
	}
	if notes, err := store.Notes(t.Context()); err != nil || len(notes) > 0 {
		t.Errorf("notes are left: %v, %v", notes, err)
	}
	if _, err := ops.Do(t.Context(), lease.Action{Kind: lease.ActionPause}); err != nil {
		t.Errorf("a pause of the application: %v", err)
	}
}
